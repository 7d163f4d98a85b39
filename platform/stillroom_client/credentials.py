"""Where the address and the token come from: arguments, then the environment, then what `stillroom login` stored."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stillroom_client.errors import NotSignedIn

URL_VARIABLE = "STILLROOM_URL"
TOKEN_VARIABLE = "STILLROOM_TOKEN"


@dataclass(frozen=True)
class Credentials:
    """url: of the platform. token: an API token, `sr_api_...`."""

    url: str
    token: str


def credentials_path() -> Path:
    """The file that `stillroom login` writes, readable by its owner only."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "stillroom" / "credentials"


def find_credentials(url: str | None = None, token: str | None = None) -> Credentials:
    """Each of the two from the first place that has it. A stored token goes only to the address it was stored for.

    Raises NotSignedIn, which says what to do.
    """
    stored = _stored()
    url = url or os.environ.get(URL_VARIABLE) or (stored.url if stored else None)
    token = token or os.environ.get(TOKEN_VARIABLE)
    if not url:
        raise NotSignedIn(f"No platform is known. Run `stillroom login`, or set {URL_VARIABLE} and {TOKEN_VARIABLE}.")
    if not token and stored and stored.url == url.rstrip("/"):
        token = stored.token
    if not token:
        raise NotSignedIn(f"No token is known for {url}. Run `stillroom login --url {url}`, or set {TOKEN_VARIABLE}.")
    return Credentials(url.rstrip("/"), token)


def store_credentials(credentials: Credentials) -> Path:
    """Write the file with mode 600, whole or not at all, and give its path."""
    path = credentials_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")
    try:
        with os.fdopen(descriptor, "w") as out:
            json.dump({"url": credentials.url.rstrip("/"), "token": credentials.token}, out)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    return path


def _stored() -> Credentials | None:
    path = credentials_path()
    try:
        record = json.loads(path.read_text())
        return Credentials(str(record["url"]), str(record["token"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotSignedIn(f"{path} cannot be read ({error}). Run `stillroom login` again.") from None
