"""A run's points as CSV, JSON lines or Parquet, and a whole project as one archive.

What is sent is made piece by piece; no tenant's scope stays open between two pieces.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO, Any, TypeVar

import numpy as np
import orjson
from django.db import connections
from django.utils import timezone

from models_core.events import encode_float
from stillroom.core.tenancy import APP, tenant_tx
from stillroom.runs.models import CheckpointRecord, Project, Run, Study
from stillroom.telemetry.archive import CHUNK, FORMAT, MANIFEST, RUNS, STUDIES, VERSION
from stillroom.telemetry.models import LogChunk
from stillroom.telemetry.selectors.artifacts import artifacts
from stillroom.telemetry.selectors.logs import read_chunk
from stillroom.telemetry.selectors.visible import visible_parts
from stillroom.telemetry.store import store

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
ROWS_A_GROUP = 250_000
IN_MEMORY = 4 * 1024 * 1024
Found = TypeVar("Found")


def points_file(run_id: str, kind: str, keys: list[str] | None) -> IO[bytes]:
    """Every visible point of the open tenant's run, key after key, as a file to read from its start. Two queries.

    Columns key, step, time (seconds since 1970) and value; NaN and infinities are spelled out in CSV and JSON lines.
    """
    file: IO[bytes] = TemporaryFile()  # noqa: SIM115  (the reader closes it)
    if kind == "parquet":
        write_parquet(run_id, file, keys)
    elif kind == "csv":
        file.write(b"key,step,time,value\n")
        for key, points in visible_parts(run_id, keys):
            quoted = io.StringIO()
            csv.writer(quoted, lineterminator="").writerow([key])
            name = quoted.getvalue()
            columns = zip(points.step.tolist(), points.time.tolist(), points.value.tolist(), strict=True)
            file.write("".join(f"{name},{s},{t!r},{encode_float(v)}\n" for s, t, v in columns).encode())
    else:
        for key, points in visible_parts(run_id, keys):
            columns = zip(points.step.tolist(), points.time.tolist(), points.value.tolist(), strict=True)
            for step, time, value in columns:
                file.write(orjson.dumps({"key": key, "step": step, "time": time, "value": encode_float(value)}) + b"\n")
    file.seek(0)
    return file


def write_parquet(run_id: str, file: IO[bytes], keys: list[str] | None = None) -> int:
    """The same as Parquet with zstd; returns the number of points."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        [
            ("key", pa.dictionary(pa.int32(), pa.string())),
            ("step", pa.int64()),
            ("time", pa.float64()),
            ("value", pa.float64()),
        ]
    )
    total = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        pending: list[Any] = []
        rows = 0
        for key, points in visible_parts(run_id, keys):
            names = pa.DictionaryArray.from_arrays(np.zeros(len(points), np.int32), [key])
            pending.append(pa.table([names, points.step, points.time, points.value], schema=schema))
            rows += len(points)
            total += len(points)
            if rows >= ROWS_A_GROUP:
                writer.write_table(pa.concat_tables(pending).unify_dictionaries())
                pending, rows = [], 0
        if pending:
            writer.write_table(pa.concat_tables(pending).unify_dictionaries())
    return total


def in_pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file's content, closed at the end."""
    with file:
        while piece := file.read(CHUNK):
            yield piece


class _Pipe(io.RawIOBase):
    """What zipfile writes into and the answer is taken from."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def project_archive(*, tenant_id: str, org: str, project_id: str, by: str) -> Iterator[bytes]:
    """The archive of a project, piece by piece. Runs that are in the trash stay out. A handful of queries a run."""

    def inside(work: Callable[[], Found]) -> Found:
        try:
            with tenant_tx(tenant_id):
                return work()
        finally:
            connections[APP].close()

    project = inside(lambda: Project.objects.get(id=project_id))
    run_ids = inside(lambda: list(_runs(project_id).values_list("id", flat=True)))
    pipe, files = _Pipe(), {}
    content: dict[str, int] = {}
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:

        def member(name: str, pieces: Iterator[bytes], *, packed: bool = True) -> Iterator[bytes]:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            digest, size = hashlib.sha256(), 0
            with archive.open(info, "w", force_zip64=True) as out:
                for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    out.write(piece)
                    yield pipe.take()
            files[name] = {"size_bytes": size, "sha256": digest.hexdigest()}
            yield pipe.take()

        studies = inside(lambda: [_study(row) for row in Study.objects.filter(project_id=project_id).order_by("id")])
        yield from member(STUDIES, iter([b"".join(orjson.dumps(row) + b"\n" for row in studies)]))
        with SpooledTemporaryFile(max_size=IN_MEMORY) as lines:
            for run_id in run_ids:
                made = inside(partial(_written, run_id))
                if made is None:
                    continue  # thrown away meanwhile
                record, points, log = made
                lines.write(orjson.dumps(record, option=orjson.OPT_UTC_Z) + b"\n")
                content |= {item["sha256"]: item["size_bytes"] for item in record["artifacts"]}
                yield from member(f"metrics/{run_id}.parquet", in_pieces(points), packed=False)
                yield from member(f"logs/{run_id}.jsonl", in_pieces(log))
            lines.seek(0)
            yield from member(RUNS, iter(lambda: lines.read(CHUNK), b""))
        for sha256 in sorted(content):
            pieces = store().read(tenant_id, sha256, 0, content[sha256])
            yield from member(f"artifacts/{sha256}", pieces, packed=False)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "org": org,
            "project": project.slug,
            "project_name": project.name,
            "exported_at": timezone.now(),
            "exported_by": by,
            "files": files,
        }
        archive.writestr(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_UTC_Z))
    yield pipe.take()


def _runs(project_id: str) -> Any:
    return Run.objects.filter(project_id=project_id).order_by("created_at", "id")


def _study(row: Study) -> dict[str, Any]:
    names = ("id", "name", "recipe", "arms", "seeds", "created_at")
    return {name: getattr(row, name) for name in names}


def _written(run_id: str) -> tuple[dict[str, Any], IO[bytes], IO[bytes]] | None:
    """A run's record, its points and its lines."""
    run = Run.objects.select_related("fence", "created_by").filter(id=run_id).first()
    if run is None:
        return None
    points: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  (the reader closes it)
    log: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
    total, lines = write_parquet(run_id, points), 0
    for chunk in LogChunk.objects.filter(run_id=run_id).order_by("first_line").iterator(chunk_size=50):
        for line in read_chunk(chunk):
            kept = {name: line[name] for name in ("time", "level", "stream", "message")}
            log.write(orjson.dumps(kept) + b"\n")
            lines += 1
    points.seek(0)
    log.seek(0)
    return {**_record(run), "points": total, "lines": lines}, points, log


def _record(run: Run) -> dict[str, Any]:
    same = (
        "id", "arm", "name", "notes", "tags", "external", "recipe", "recipe_version", "spec", "spec_hash", "seed",
        "state", "reason_code", "reason", "exit_code", "priority", "created_at", "started_at", "ended_at", "origin",
    )  # fmt: skip
    newest: dict[int, CheckpointRecord] = {}
    for row in CheckpointRecord.objects.filter(run=run).order_by("epoch"):
        newest[row.step] = row
    files = artifacts(run.id)
    shown = {(item.path, item.sha256) for item in files}
    names = ("path", "name", "sha256", "size_bytes")
    return {
        **{name: getattr(run, name) for name in same},
        "study": run.study_id,
        "parent": run.parent_id,
        "node": run.node_name,
        "progress": run.fence.progress,
        "created_by": run.created_by.get_short_name() if run.created_by else "",
        "resources": {"kind": run.req_kind, "devices": run.req_devices, "time_limit_s": run.time_limit_s},
        "artifacts": [{name: getattr(item, name) for name in ("path", "sha256", "size_bytes")} for item in files],
        "checkpoints": [
            {
                "step": row.step,
                "status": row.status,
                "files": [{name: file[name] for name in names} for file in row.files],
            }
            for _, row in sorted(newest.items())
            if all((file["path"], file["sha256"]) in shown for file in row.files)
        ],
    }
