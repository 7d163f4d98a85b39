"""One log file for each process, kept small.

Children write to their file themselves: nothing is lost when the supervisor is killed. So a full file is copied and
emptied in place (they append), which may lose a line that is written between the two.
"""

import os
import re
import shutil
from pathlib import Path
from typing import IO

MAX_BYTES = 10 * 1024 * 1024
KEPT = 3
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def log_file(folder: Path, name: str) -> IO[bytes]:
    """Opens the log of one process for appending, readable by us only."""
    path = folder / f"{name}.log"
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def rotate(path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Moves what is in a full log to `path`.1, that to `path`.2, and so on. Returns whether the log was full."""
    try:
        if path.stat().st_size < max_bytes:
            return False
    except OSError:
        return False
    for number in range(kept, 1, -1):
        older, newer = (path.with_name(f"{path.name}.{number}"), path.with_name(f"{path.name}.{number - 1}"))
        if newer.exists():
            newer.replace(older)
    shutil.copy2(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)
    return True


def tail(path: Path, lines: int = 40, *, since_bytes: int = 0) -> str:
    """Returns the last lines of a log without colours; `since_bytes` leaves out what an earlier start wrote."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16_384, since_bytes if since_bytes <= size else 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(_COLOUR.sub("", text).splitlines()[-lines:])
