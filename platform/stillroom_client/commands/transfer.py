"""sync, export, import."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from stillroom_client.commands.requests import client
from stillroom_client.commands.terminal import UsageError, show_json, size
from stillroom_client.folder import runs_root
from stillroom_client.start import sync_all


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    sync = commands.add_parser("sync", parents=[common], help="send what offline or interrupted scripts left here")
    sync.add_argument("folder", nargs="?", help="default STILLROOM_DIR or the user's state folder")
    sync.set_defaults(do=_sync)
    export = commands.add_parser("export", parents=[common], help="download a run's points or a whole project")
    export.add_argument("what", metavar="RUN|ORG/PROJECT")
    export.add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv", help="of a run; default csv")
    export.add_argument("-o", "--output", metavar="FILE", help="default standard output for text, NAME.* otherwise")
    export.set_defaults(do=_export)


def _sync(options: argparse.Namespace) -> int:
    root = Path(options.folder) if options.folder else runs_root()
    if options.folder and not root.is_dir():
        raise UsageError(f"folder: {root} is not a folder.")
    if (root / "run.json").is_file():
        raise UsageError(f"folder: {root} is one run's folder; give the one above it.")
    done = []
    for one in sync_all(root, tell=lambda text: print(f"stillroom: {text}", file=sys.stderr)):
        done.append({"folder": str(one.path), "run": one.run, "outcome": one.outcome, "message": one.message})
        if not options.json:
            print(f"{one.outcome:<7} {one.message}", file=sys.stdout if one.outcome == "sent" else sys.stderr)
    if options.json:
        show_json(done)
    elif not done:
        print(f"Nothing waits in {root}.", file=sys.stderr)
    return 1 if any(one["outcome"] == "failed" for one in done) else 0


def _export(options: argparse.Namespace) -> int:
    platform = client()
    if "/" in options.what:
        org, _, project = options.what.partition("/")
        if not org or not project or "/" in project:
            raise UsageError(f"what: expected RUN or ORG/PROJECT, not {options.what!r}.")
        path, params = f"/orgs/{quote(org, safe='')}/projects/{quote(project, safe='')}/export", {}
        target = options.output or f"{org}-{project}.stillroom.zip"
    else:
        path, params = f"/runs/{quote(options.what, safe='')}/export", {"format": options.format}
        binary = options.format == "parquet"
        target = options.output or (f"{options.what}.parquet" if binary else "-")
    if target == "-":
        platform.transport.download(path, _to_stdout, params=params)
        return 0
    file = Path(target)
    # A device or a pipe is written to as it is; a file is replaced when everything has come.
    special = file.exists() and not file.is_file()
    partial = file if special else file.with_name(file.name + ".part")

    def take(blocks: Iterator[bytes]) -> None:
        with partial.open("wb") as out:
            for block in blocks:
                out.write(block)

    try:
        platform.transport.download(path, take, params=params)
        if not special:
            os.replace(partial, file)
    except OSError as error:
        raise UsageError(f"--output: {file}: {error.strerror or error}.") from None
    finally:
        if not special:
            partial.unlink(missing_ok=True)
    if options.json:
        show_json({"file": str(file), "size_bytes": file.stat().st_size})
    else:
        print(f"{file} ({size(file.stat().st_size)})", file=sys.stderr)
    return 0


def _to_stdout(blocks: Iterator[bytes]) -> None:
    for block in blocks:
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
