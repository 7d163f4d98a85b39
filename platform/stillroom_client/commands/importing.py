"""import: runs of other trackers, files, and the platform's own archives."""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stillroom_client.commands.requests import client, project_of
from stillroom_client.commands.terminal import UsageError, clean, show_json
from stillroom_client.errors import ApiError
from stillroom_client.imports.push import Pushed, Pusher
from stillroom_client.imports.source import SourceRun
from stillroom_client.points import CHUNK_BYTES
from stillroom_client.transport import Transport

FOLLOW_S = 5.0
ALIVE_S = 60.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("import", help="bring runs from elsewhere; again adds only what is new")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="SOURCE")
    place = argparse.ArgumentParser(add_help=False, parents=[common])
    place.add_argument("--project", metavar="ORG/PROJECT", help="where to; default STILLROOM_PROJECT")
    place.add_argument("--create", action="store_true", help="make the project when there is none")
    place.add_argument("--dry-run", action="store_true", help="read everything, send nothing")

    mlflow = kinds.add_parser("mlflow", parents=[place], help="a tracking server (http...) or an mlruns folder")
    mlflow.add_argument("source", metavar="URL|FOLDER")
    mlflow.add_argument("--experiment", action="append", default=[], metavar="NAME|ID", help="default all")
    mlflow.set_defaults(do=_mlflow)
    board = kinds.add_parser("tensorboard", parents=[place], help="a folder with event files, each folder a run")
    board.add_argument("source", metavar="FOLDER")
    board.add_argument("--follow", action="store_true", help="go on while the files grow, until interrupted")
    board.set_defaults(do=_tensorboard)
    wandb = kinds.add_parser("wandb", parents=[place], help="offline runs: run-*.wandb files below a folder")
    wandb.add_argument("source", metavar="FOLDER|FILE.wandb")
    wandb.set_defaults(do=_wandb)
    neptune = kinds.add_parser("neptune", parents=[place], help="Parquet of neptune-exporter (needs pyarrow)")
    neptune.add_argument("source", metavar="FOLDER")
    neptune.add_argument("--files", metavar="FOLDER", help="the exporter's files, to bring them too")
    neptune.add_argument("--step-multiplier", type=int, default=1, metavar="N", help="for steps that are not whole")
    neptune.set_defaults(do=_neptune)
    table = kinds.add_parser("table", parents=[place], help="CSV or JSON lines: a row a step, a column a metric")
    table.add_argument("source", metavar="FILE")
    for name, meaning in (
        ("step", "column of steps; default step, global_step, ... or the row's number"),
        ("time", "column of times: seconds, milliseconds or ISO 8601"),
        ("run", "column that tells runs apart"),
        ("key", "column of metric names, when a row is one point"),
        ("value", "column of its value; default value"),
    ):
        table.add_argument(f"--{name}", metavar="COLUMN", help=meaning)
    table.add_argument(
        "--map", action="append", default=[], metavar="COLUMN=KEY", help="name of a metric; COLUMN= leaves it out"
    )
    table.set_defaults(do=_table)
    archive = kinds.add_parser("archive", parents=[place], help="an archive made by `stillroom export ORG/PROJECT`")
    archive.add_argument("source", metavar="FILE")
    archive.set_defaults(do=_archive)


def _mlflow(options: argparse.Namespace) -> int:
    from stillroom_client.imports.mlflow import read_folder, read_server

    if options.source.startswith(("http://", "https://")):
        return _push(options, "mlflow", read_server(options.source, options.experiment))
    return _push(options, "mlflow", read_folder(Path(options.source), options.experiment))


def _wandb(options: argparse.Namespace) -> int:
    from stillroom_client.imports.wandb import read_wandb

    return _push(options, "wandb", read_wandb(_existing(options.source)))


def _neptune(options: argparse.Namespace) -> int:
    from stillroom_client.imports.neptune import read_neptune

    if options.step_multiplier < 1:
        raise UsageError("--step-multiplier: at least 1.")
    files = _existing(options.files) if options.files else None
    return _push(
        options, "neptune", read_neptune(_existing(options.source), files, step_multiplier=options.step_multiplier)
    )


def _table(options: argparse.Namespace) -> int:
    from stillroom_client.imports.tables import Mapped, read_table

    wrong = next((one for one in options.map if "=" not in one), None)
    if wrong is not None:
        raise UsageError(f"--map: expected COLUMN=KEY, not {wrong!r}.")
    rename = dict(one.partition("=")[::2] for one in options.map)
    mapped = Mapped(options.step, options.time, options.run, options.key, options.value, rename)
    return _push(options, "table", read_table(_existing(options.source), mapped))


def _tensorboard(options: argparse.Namespace) -> int:
    from stillroom_client.imports.tensorboard import read_tensorboard

    if options.follow:
        return _follow(options)
    return _push(options, "tensorboard", read_tensorboard(_existing(options.source)))


def _place(options: argparse.Namespace) -> str:
    """ORG/PROJECT, made first when --create asks for it and it is not there."""
    place = project_of(options)
    if options.create:
        org, _, project = place.partition("/")
        try:
            client().transport.call("POST", f"/orgs/{quote(org, safe='')}/projects", json={"slug": project})
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
    return place


def _follow(options: argparse.Namespace) -> int:
    """Read on while the files grow; every run is ended when the person interrupts."""
    from stillroom_client.imports.source import BadSource
    from stillroom_client.imports.tensorboard import EventFolder, event_folders

    root = _existing(options.source)
    transport = client().transport
    pusher = Pusher(transport, _place(options), "tensorboard")
    known: dict[Path, EventFolder] = {}
    alive: dict[str, float] = {}
    try:
        while True:
            try:
                found = event_folders(root)
            except BadSource:
                found = []
            for folder in found:
                one = known.setdefault(folder.path, folder)
                if one.read():
                    done = pusher.push(one.run, finish=False)
                    alive[done.run] = time.monotonic()
                    _tell(done, options.json)
            for run in [run for run, at in alive.items() if time.monotonic() - at > ALIVE_S]:
                transport.call("POST", f"/runs/{run}/heartbeat", json={})
                alive[run] = time.monotonic()
            time.sleep(FOLLOW_S)
    except KeyboardInterrupt:
        for one in known.values():
            pusher.push(one.run)
        return 0


def _archive(options: argparse.Namespace) -> int:
    path = _existing(options.source)
    if options.dry_run:
        raise UsageError("--dry-run: the platform reads archives itself; it cannot be asked to read without storing.")
    org, _, project = _place(options).partition("/")
    size_bytes = path.stat().st_size

    def blocks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while block := file.read(CHUNK_BYTES):
                yield block

    answer = client().transport.call(
        "POST",
        f"/orgs/{quote(org, safe='')}/projects/{quote(project, safe='')}/import",
        content=blocks,
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size_bytes),
            "Idempotency-Key": uuid.uuid4().hex,
        },
        timeout_s=600.0,
    )
    show_json(answer.data)
    return 0


def _push(options: argparse.Namespace, kind: str, sources: Iterable[SourceRun]) -> int:
    if options.dry_run:
        return _show_only(options, sources)
    transport: Transport = client().transport
    pusher = Pusher(transport, _place(options), kind)
    done = []
    for source in sources:
        one = pusher.push(source)
        done.append(one)
        _tell(one, options.json)
    if not options.json:
        new = sum(one.changed for one in done)
        print(f"{len(done)} runs read, {new} with something new.", file=sys.stderr)
    return 0


def _tell(done: Pushed, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(vars(done)), flush=True)
    else:
        what = f"{done.points} points, {done.lines} lines, {done.files} files" if done.changed else "nothing new"
        print(f"{done.run}  {clean(done.name)}  {what}", flush=True)


def _show_only(options: argparse.Namespace, sources: Iterable[SourceRun]) -> int:
    seen: list[dict[str, Any]] = [
        {
            "id": source.id,
            "name": source.name,
            "state": source.state,
            "metrics": {key: len(column) for key, column in sorted(source.columns.items())},
            "config": source.config,
            "lines": len(source.logs),
        }
        for source in sources
    ]
    if options.json:
        show_json(seen)
        return 0
    for one in seen:
        points = sum(one["metrics"].values())
        print(f"{clean(one['name'])}  {len(one['metrics'])} metrics, {points} points, {one['lines']} lines")
    return 0


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise UsageError(f"{text}: there is no such file or folder.")
    return path
