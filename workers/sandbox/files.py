"""Opens files that a run's process has made, without following it out of its folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotInside(Exception):
    """The path is no regular file below the folder."""


def open_inside(folder: Path, relative: str) -> BinaryIO:
    """Open for reading. Raises NotInside for links, devices and anything outside; OSError when it is not there.

    The check is on the opened file, so that a link swapped in meanwhile changes nothing.
    """
    path = folder / relative
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        where = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not where.is_relative_to(folder.resolve()) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotInside(f"{relative} is not a file of this run.")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_plain_path(path: str) -> bool:
    """Relative, with forward slashes, and going nowhere but down."""
    parts = path.split("/")
    return all(part not in ("", ".", "..") for part in parts) and "\\" not in path and path.isprintable()
