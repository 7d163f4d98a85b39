"""Which account the database servers run as, and whether that account can reach a path.

PostgreSQL refuses to run as root, so root starts it as `nobody`. No account is ever created.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """An existing account without privileges."""

    name: str
    uid: int
    gid: int


def service_account() -> Account | None:
    """Returns `nobody` for root, and None (stay who we are) for everybody else."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def enterable(folder: Path, account: Account | None) -> bool:
    """Whether `account` may traverse `folder` and every folder above it."""
    if account is None:
        return os.access(folder, os.X_OK)
    real = folder.resolve()
    return all(_allows(part, account, 0o1) for part in (real, *real.parents))


def reachable(file: Path, account: Account | None) -> bool:
    """Whether `account` may read `file` where it is."""
    if account is None:
        return os.access(file, os.R_OK)
    real = file.resolve()
    return enterable(real.parent, account) and _allows(real, account, 0o4)


def hand_over(path: Path, account: Account | None) -> None:
    """Makes `account` the owner of `path` and of everything below it."""
    if account is None:
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(os.path.join(folder, name), account.uid, account.gid, follow_symlinks=False)


def make_readable(folder: Path) -> None:
    """Lets every account read `folder`, enter its folders, and run the programs in it."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644)


def _allows(path: Path, account: Account, bits: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == account.uid:
        mode >>= 6
    elif status.st_gid == account.gid:
        mode >>= 3
    return mode & bits == bits
