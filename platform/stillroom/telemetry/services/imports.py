"""Taking in a project archive: checked whole, then written in one transaction. New ids; where it came from is kept.

The archive is hostile: members are known by name, sizes and hashes are compared while unpacking, nothing is ever
written to a path that the archive chose, and points and lines pass the same checks as any ingest batch.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from django.conf import settings
from django.utils import timezone

from stillroom.core.errors import TooLarge
from stillroom.core.tenancy import tenant_tx
from stillroom.runs.lifecycle import TERMINAL, State
from stillroom.runs.models import Attempt, CheckpointRecord, Project, Run, RunFence, Study
from stillroom.runs.services.transition import announce_run, run_event
from stillroom.telemetry import archive as layout
from stillroom.telemetry.archive import Manifest, RunRecord, StudyRecord, refuse, unpack
from stillroom.telemetry.batches import parse_batch
from stillroom.telemetry.services.artifacts import artifact_link, blob_put, path_check
from stillroom.telemetry.services.ingest import ingest
from stillroom.telemetry.store import incoming
from stillroom.tenants.callers import Member
from stillroom.tenants.services import audit

POINTS_A_BATCH = 100_000
LINES_A_BATCH = 5_000
COLUMNS = {
    "key": "dictionary<values=string, indices=int32, ordered=0>",
    "step": "int64",
    "time": "double",
    "value": "double",
}
MAX_COLUMN_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Imported:
    """What came in: new ids by old ones, and counts."""

    runs: dict[str, str] = field(default_factory=dict)
    studies: dict[str, str] = field(default_factory=dict)
    points: int = 0
    artifacts: int = 0


def archive_receive(*, tenant_id: str, chunks: Iterable[bytes]) -> IO[bytes]:
    """The sent archive as a temporary file; raises TooLarge."""
    limit = settings.ENV.max_import_bytes
    file = tempfile.TemporaryFile(dir=incoming(tenant_id))  # noqa: SIM115  (the caller closes it)
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            file.close()
            message = f"An archive may have at most {limit} bytes."
            raise TooLarge(message, code="import.too_large", fields={"": message}, limit=limit)
        file.write(chunk)
    file.seek(0)
    return file


def project_import(*, member: Member, project_id: str, file: IO[bytes]) -> Imported:
    """Write an archive's studies and runs into a project; all or nothing. Outside of any tenant's scope.

    A run that had not ended comes in as CANCELLED. Raises Invalid with the place, TooLarge.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise refuse("", f"It is not a zip: {error}.") from None
    with archive:
        manifest = layout.read_manifest(archive, max_bytes=settings.ENV.max_import_bytes)
        reading = _Reading(archive, manifest, member)
        runs, studies = reading.records()
        reading.take_artifacts(runs)
        with tenant_tx(member.tenant_id):
            return reading.write(Project.objects.get(id=project_id), runs, studies)


@dataclass(slots=True)
class _Reading:
    """One archive on its way in."""

    archive: zipfile.ZipFile
    manifest: Manifest
    member: Member
    done: Imported = field(default_factory=Imported)

    def _member(self, name: str) -> IO[bytes]:
        """A member, unpacked and checked, as a temporary file; close it."""
        expected = self.manifest.files.get(name)
        if expected is None:
            raise refuse(name, "It is missing.")
        file: IO[bytes] = tempfile.TemporaryFile(dir=incoming(self.member.tenant_id))  # noqa: SIM115
        try:
            unpack(self.archive, name, expected, file)
        except BaseException:
            file.close()
            raise
        return file

    def records(self) -> tuple[list[RunRecord], list[StudyRecord]]:
        """The runs and studies, each id once, and every reference inside the archive."""
        with self._member(layout.RUNS) as file:
            runs = layout.records(RunRecord, file, layout.RUNS)
        with self._member(layout.STUDIES) as file:
            studies = layout.records(StudyRecord, file, layout.STUDIES)
        ids, known = {run.id for run in runs}, {study.id for study in studies}
        if len(ids) != len(runs) or len(known) != len(studies):
            raise refuse(layout.RUNS, "An id is there twice.")
        for number, run in enumerate(runs, 1):
            at = f"{layout.RUNS}:{number}"
            if run.study is not None and run.study not in known:
                raise refuse(f"{at}.study", "There is no such study in the archive.")
            if run.state not in State.__members__:
                raise refuse(f"{at}.state", "There is no such state.")
            for item in run.artifacts:
                path_check(item.path)
                stored = self.manifest.files.get(f"artifacts/{item.sha256}")
                if stored is None or stored.sha256 != item.sha256 or stored.size_bytes != item.size_bytes:
                    raise refuse(f"{at}.artifacts", f"{item.path} is not what the archive holds.")
            held = {(item.path, item.sha256) for item in run.artifacts}
            for checkpoint in run.checkpoints:
                if any((part.path, part.sha256) not in held for part in checkpoint.files):
                    raise refuse(f"{at}.checkpoints", "A checkpoint's file is not among the run's artifacts.")
        return runs, studies

    def take_artifacts(self, runs: list[RunRecord]) -> None:
        """Content into the store; without a run that names it, the sweep removes it again."""
        tenant = self.member.tenant_id
        for sha256 in sorted({item.sha256 for run in runs for item in run.artifacts}):
            expected = self.manifest.files[f"artifacts/{sha256}"]
            with tempfile.NamedTemporaryFile(dir=incoming(tenant), delete=False) as out:
                path = Path(out.name)
                try:
                    unpack(self.archive, f"artifacts/{sha256}", expected, out)
                    out.flush()
                    blob_put(tenant_id=tenant, sha256=sha256, size_bytes=expected.size_bytes, file=path)
                finally:
                    path.unlink(missing_ok=True)
            self.done.artifacts += 1

    def write(self, project: Project, runs: list[RunRecord], studies: list[StudyRecord]) -> Imported:
        """All rows, in the open tenant."""
        for study in studies:
            row = Study.objects.create(
                tenant_id=self.member.tenant_id,
                project=project,
                created_by_id=self.member.user_id,
                arms=[arm.model_dump() for arm in study.arms],
                **{name: getattr(study, name) for name in ("name", "recipe", "seeds")},
            )
            Study.objects.filter(id=row.id).update(created_at=study.created_at)
            self.done.studies[study.id] = row.id
        for record in runs:
            self.done.runs[record.id] = self._run(project, record)
        for record in runs:
            if record.parent in self.done.runs:
                Run.objects.filter(id=self.done.runs[record.id]).update(parent_id=self.done.runs[record.parent])
        audit(
            actor=self.member.email,
            action="project.import",
            object_id=project.id,
            tenant_id=self.member.tenant_id,
            after={"runs": len(runs), "from": f"{self.manifest.org}/{self.manifest.project}"},
        )
        return self.done

    def _run(self, project: Project, record: RunRecord) -> str:
        tenant = self.member.tenant_id
        ended = State(record.state) in TERMINAL
        state = State(record.state) if ended else State.CANCELLED
        reason = (record.reason_code, record.reason)
        if not ended:
            reason = ("import.unfinished", f"It was {record.state} when it was exported.")
        same = (
            "arm", "name", "notes", "tags", "external", "recipe", "recipe_version", "spec", "spec_hash", "seed",
            "exit_code", "priority", "started_at",
        )  # fmt: skip
        run = Run.objects.create(
            tenant_id=tenant,
            project=project,
            study_id=self.done.studies[record.study] if record.study else None,
            state=state,
            epoch=1,
            attempt=1,
            reason_code=reason[0],
            reason=reason[1],
            node_name=record.node[:100],
            req_kind=record.resources.kind,
            req_devices=record.resources.devices,
            time_limit_s=record.resources.time_limit_s,
            ended_at=record.ended_at or timezone.now(),
            created_by_id=self.member.user_id,
            origin=self._origin(record),
            **{name: getattr(record, name) for name in same},
        )
        Run.objects.filter(id=run.id).update(created_at=record.created_at)
        fence = RunFence.objects.create(tenant_id=tenant, run=run, epoch=1, open=True)
        Attempt.objects.create(
            tenant_id=tenant,
            run=run,
            epoch=1,
            number=1,
            node_name=record.node[:100],
            assigned_at=record.created_at,
            claimed_at=record.started_at or record.created_at,
            started_at=record.started_at,
            ended_at=run.ended_at,
            outcome="imported",
        )
        self._telemetry(run.id, record)
        for item in record.artifacts:
            artifact_link(run_id=run.id, epoch=1, path=item.path, sha256=item.sha256, size_bytes=item.size_bytes)
        for checkpoint in record.checkpoints:
            files = [file.model_dump() for file in checkpoint.files]
            CheckpointRecord.objects.create(
                tenant_id=tenant, run=run, epoch=1, step=checkpoint.step, files=files, status=checkpoint.status
            )
        RunFence.objects.filter(run_id=fence.run_id).update(
            open=False, progress=record.progress.model_dump() if record.progress else None
        )
        run_event(run, actor=self.member.email, from_state=None, to_state=state, code="imported", detail=run.origin)
        announce_run(run)
        return run.id

    def _origin(self, record: RunRecord) -> dict[str, Any]:
        return {
            "org": self.manifest.org,
            "project": self.manifest.project,
            "run": record.id,
            "created_by": record.created_by,
            "exported_at": self.manifest.exported_at.isoformat(),
            "exported_by": self.manifest.exported_by,
            **({"before": record.origin} if record.origin else {}),
        }

    def _telemetry(self, run_id: str, record: RunRecord) -> None:
        name = f"metrics/{record.id}.parquet"
        seq = points = 0
        with self._member(name) as file:
            for series in _batches(file, name):
                seq += 1
                batch = parse_batch({"epoch": 1, "seq": seq, "series": series}, max_points=POINTS_A_BATCH)
                points += batch.points
                ingest(run_id=run_id, batch=batch)
        if points != record.points:
            raise refuse(name, f"It has {points} points, not {record.points}.")
        self.done.points += points
        name = f"logs/{record.id}.jsonl"
        lines = 0
        with self._member(name) as file:
            for logs in _lines(file, name):
                seq += 1
                lines += len(logs)
                payload = {"epoch": 1, "seq": seq, "logs": logs}
                ingest(run_id=run_id, batch=parse_batch(payload, max_points=POINTS_A_BATCH))
        if lines != record.lines:
            raise refuse(name, f"It has {lines} lines, not {record.lines}.")


def _batches(file: IO[bytes], name: str) -> Iterator[list[dict[str, Any]]]:
    """Ingest batches of a Parquet file of points: keys in a row, raw columns."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file, read_dictionary=["key"])
        found = {column.name: str(column.type) for column in table.schema_arrow}
        if found != COLUMNS:
            raise refuse(name, f"Its columns are {found}.")
        meta = table.metadata
        for group in range(meta.num_row_groups):
            row_group = meta.row_group(group)
            sizes = [row_group.column(place).total_uncompressed_size for place in range(meta.num_columns)]
            if max(sizes) > MAX_COLUMN_BYTES or row_group.num_rows * 24 > settings.ENV.max_import_bytes:
                raise refuse(name, "A row group is too large.")
        for batch in table.iter_batches(batch_size=POINTS_A_BATCH):
            yield _series(batch, name)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise refuse(name, f"It is not such a Parquet file: {str(error)[:200]}.") from None


def _series(batch: Any, name: str) -> list[dict[str, Any]]:
    if any(column.null_count for column in batch.columns):
        raise refuse(name, "A value is missing.")
    keys = batch.column("key")
    codes = keys.indices.to_numpy(zero_copy_only=False)
    names = keys.dictionary.to_pylist()
    step, time, value = (batch.column(column).to_numpy(zero_copy_only=False) for column in ("step", "time", "value"))
    if not len(codes):
        return []
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1]))).tolist()
    series = []
    for start, stop in zip(starts, [*starts[1:], len(codes)], strict=True):
        part = slice(start, stop)
        columns = {
            "step": step[part].astype("<i8"),
            "time": time[part].astype("<f8"),
            "value": value[part].astype("<f8"),
        }
        series.append({"key": names[codes[start]], **{name: column.tobytes() for name, column in columns.items()}})
    return series


def _lines(file: IO[bytes], name: str) -> Iterator[list[dict[str, Any]]]:
    logs: list[dict[str, Any]] = []
    number = 0
    while line := file.readline(layout.MAX_LINE_BYTES + 1):
        number += 1
        try:
            logs.append(orjson.loads(line))
        except ValueError as error:
            raise refuse(f"{name}:{number}", str(error)) from None
        if len(logs) >= LINES_A_BATCH:
            yield logs
            logs = []
    if logs:
        yield logs
