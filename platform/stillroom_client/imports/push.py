"""Brings a source's runs here: each becomes one external run, however often it is imported.

The run is found again by a key made of project and source id. Of each series only the points that are not there yet are
sent, in batches; a kill at any moment is mended by importing again.
"""

from __future__ import annotations

import hashlib
import io
import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import quote

from stillroom_client.errors import ApiError
from stillroom_client.folder import artifact_name
from stillroom_client.imports.source import BadSource, Column, FileOf, SourceRun
from stillroom_client.points import AttemptApi, LogLine, Series, encode_batch, sha256_of
from stillroom_client.transport import Transport
from stillroom_client.values import plain

BATCH_POINTS = 20_000
BATCH_LINES = 2_000
MAX_TAGS = 50


@dataclass
class Pushed:
    """What became of one run: how much was new."""

    run: str
    source: str
    name: str
    points: int = 0
    lines: int = 0
    files: int = 0

    @property
    def changed(self) -> bool:
        return bool(self.points or self.lines or self.files)


class Pusher:
    """Imports into one project. Raises ApiError, ConnectionFailed, and BadSource when a run's past has changed."""

    def __init__(self, transport: Transport, project: str, kind: str) -> None:
        self._transport = transport
        self._project = project
        self._kind = kind

    def push(self, source: SourceRun, *, finish: bool = True) -> Pushed:
        """Create or complete the run of `source`. finish False leaves it running, for more to come."""
        run = self._find_or_make(source)
        done = Pushed(run["id"], source.id, source.name)
        fresh = {key: _after(source, key, run["metrics"].get(key)) for key in source.columns}
        fresh = {key: column for key, column in fresh.items() if len(column)}
        lines = source.logs if source.logs and not self._has_log(run["id"]) else []
        known = {(one["path"], one["sha256"]) for one in self._items(f"/runs/{run['id']}/artifacts")}
        files = [one for one in source.files if (artifact_name(one.path), _digest(one)) not in known]
        if fresh or lines or files:
            writer = _Writer(self._transport, run)
            for series in _batches(fresh):
                writer.send(series=series)
                done.points += sum(len(one.step) for one in series)
            for start in range(0, len(lines), BATCH_LINES):
                part = lines[start : start + BATCH_LINES]
                writer.send(logs=[LogLine(time, "info", "log", text[:8000]) for time, text in part])
                done.lines += len(part)
            for one in files:
                writer.put(one)
                done.files += 1
            run["state"] = "RUNNING"
        self._describe(run, source)
        if finish and run["state"] == "RUNNING":
            self._transport.call("POST", f"/runs/{run['id']}/finish", json={"state": source.state})
        return done

    def _find_or_make(self, source: SourceRun) -> dict[str, Any]:
        origin = {"import.source": self._kind, "import.id": source.id[:200]}
        key = hashlib.sha256(f"{self._project}\n{self._kind}\n{source.id}".encode()).hexdigest()
        org, _, project = self._project.partition("/")
        made = self._transport.call(
            "POST",
            f"/orgs/{quote(org, safe='')}/projects/{quote(project, safe='')}/runs",
            json={"external": True, "tags": origin, "name": "import"},
            headers={"Idempotency-Key": f"import-{key}"},
        )
        return dict(made.data)

    def _describe(self, run: Mapping[str, Any], source: SourceRun) -> None:
        """Name, configuration, tags and notes as in the source; what people changed here since stays."""
        if run["name"] != "import":
            return
        origin = {name: value for name, value in run["tags"].items() if name.startswith("import.")}
        kept = [(str(name)[:100], str(value)[:200]) for name, value in source.tags.items() if str(name)]
        tags = {**dict(kept[: MAX_TAGS - len(origin)]), **origin}
        changes = {
            "name": source.name[:200] or source.id[:200],
            "spec": plain(source.config),
            "tags": {name.replace("\x00", ""): value.replace("\x00", "") for name, value in tags.items()},
            "notes": source.notes[:20_000].replace("\x00", ""),
        }
        self._transport.call("PATCH", f"/runs/{run['id']}", json=changes)

    def _has_log(self, run: str) -> bool:
        return bool(self._transport.call("GET", f"/runs/{run}/logs", params={"limit": 1}).data["items"])

    def _items(self, path: str) -> Iterator[dict[str, Any]]:
        params: dict[str, Any] = {"limit": 500}
        while True:
            page = self._transport.call("GET", path, params=params).data
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]


class _Writer:
    """Numbers batches in the run's open epoch, and opens another when this one is not ours to write in."""

    def __init__(self, transport: Transport, run: Mapping[str, Any]) -> None:
        self._transport = transport
        self._run = str(run["id"])
        self._epoch, self._seq = int(run["epoch"]), 0
        self._ours = False
        if run["state"] != "RUNNING":
            self._take_over()

    def send(self, series: Optional[list[Series]] = None, logs: Optional[list[LogLine]] = None) -> None:
        """One batch, stored when this returns."""
        try:
            self._post(series or [], logs or [])
        except ApiError as error:
            if self._ours or error.code not in ("ingest.gap", "ingest.seq_conflict", "ingest.stale_epoch"):
                raise
            self._take_over()
            self._post(series or [], logs or [])

    def put(self, one: FileOf) -> None:
        if not self._ours and not self._seq:
            self._take_over()
        api = AttemptApi(self._transport, self._run, self._epoch)
        path = artifact_name(one.path)
        if one.file is None:
            api.put_artifact(path, io.BytesIO(one.content))
            return
        with one.file.open("rb") as source:
            api.put_artifact(path, source)

    def _post(self, series: list[Series], logs: list[LogLine]) -> None:
        body = encode_batch(self._epoch, self._seq + 1, series, logs)
        ack = AttemptApi(self._transport, self._run, self._epoch).post(body)
        if ack.last_seq != self._seq + 1:  # an earlier import came further under this number: nothing was written
            raise ApiError(409, "ingest.seq_conflict", "Another import has written here.")
        self._seq += 1

    def _take_over(self) -> None:
        body = {"writer": f"import-{uuid.uuid4().hex}"}
        answer = self._transport.call("POST", f"/runs/{self._run}/reopen", json=body).data
        self._epoch, self._seq, self._ours = int(answer["epoch"]), 0, True


def _after(source: SourceRun, key: str, summary: Optional[Mapping[str, Any]]) -> Column:
    """The points that are not here yet. Raises BadSource when what is here is not the source's beginning."""
    column = source.columns[key]
    if summary is None:
        return column
    n = int(summary["n"])
    if n == 0:
        return column
    if n <= len(column):
        last = float(summary["last"])
        same = column.value[n - 1] == last or (math.isnan(last) and math.isnan(column.value[n - 1]))
        if same and column.step[n - 1] == summary["last_step"]:
            return Column(column.step[n:], column.value[n:], column.time[n:])
    raise BadSource(
        f"{source.id}: {key}: the {n} points imported earlier are not the first ones of the source any more. "
        "Import into another project."
    )


def _batches(columns: Mapping[str, Column]) -> Iterator[list[Series]]:
    batch: list[Series] = []
    room = BATCH_POINTS
    for key, column in columns.items():
        start = 0
        while start < len(column):
            end = min(start + room, len(column))
            batch.append(Series(key, column.step[start:end], column.value[start:end], column.time[start:end]))
            room -= end - start
            start = end
            if room == 0:
                yield batch
                batch, room = [], BATCH_POINTS
    if batch:
        yield batch


def _digest(one: FileOf) -> str:
    if one.file is None:
        return hashlib.sha256(one.content).hexdigest()
    try:
        with one.file.open("rb") as source:
            return sha256_of(source)[0]
    except OSError as error:
        raise BadSource(f"{one.file}: {error.strerror or error}.") from None
