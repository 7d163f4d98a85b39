"""Neptune: the Parquet folders that `neptune-exporter` wrote. Needs pyarrow.

One row an attribute or point: project_id, run_id, attribute_path, attribute_type, step, timestamp and typed values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Optional

from stillroom_client.imports.source import BadSource, FileOf, SourceRun

COLUMNS = (
    "project_id",
    "run_id",
    "attribute_path",
    "attribute_type",
    "step",
    "timestamp",
    "int_value",
    "float_value",
    "string_value",
    "bool_value",
    "datetime_value",
    "string_set_value",
    "file_value",
)
SCALARS = {"int": "int_value", "float": "float_value", "bool": "bool_value", "string": "string_value"}
BATCH_ROWS = 50_000


def read_neptune(root: Path, files: Optional[Path] = None, *, step_multiplier: int = 1) -> Iterator[SourceRun]:
    """Every run below `root`. files: the exporter's files folder, to bring artifacts too.

    step_multiplier: Neptune's steps are decimals with six places; each becomes step * multiplier, which must be whole.
    Raises BadSource.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise BadSource("Reading Neptune's Parquet needs pyarrow: pip install pyarrow.") from None
    paths = sorted(root.rglob("*.parquet"))
    if not paths:
        raise BadSource(f"{root}: no Parquet files below it.")
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(str(path.parent / _stem(path)), []).append(path)
    for group in groups.values():
        runs: dict[str, SourceRun] = {}
        found: list[FileOf] = []
        for path in sorted(group, key=lambda one: (len(one.name), one.name)):
            try:
                table = parquet.ParquetFile(path)
                missing = sorted(set(COLUMNS[:4]) - set(table.schema_arrow.names))
                if missing:
                    raise BadSource(f"{path}: no column {missing[0]}; not a file of neptune-exporter.")
                wanted = [name for name in COLUMNS if name in table.schema_arrow.names]
                for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                    for row in batch.to_pylist():
                        _take(runs, found, row, files, step_multiplier, path)
            except (OSError, ValueError) as error:
                raise BadSource(f"{path}: not a Parquet file: {' '.join(str(error).split())[:200]}.") from None
        for run in runs.values():
            run.files = found
            yield run


def _take(
    runs: dict[str, SourceRun],
    found: list[FileOf],
    row: Mapping[str, Any],
    files: Optional[Path],
    multiplier: int,
    path: Path,
) -> None:
    name, kind = str(row["attribute_path"]), str(row["attribute_type"])
    identity = f"{row['project_id']}/{row['run_id']}"
    run = runs.get(identity)
    if run is None:
        run = runs[identity] = SourceRun(id=identity, name=str(row["run_id"]), tags={"neptune": str(row["project_id"])})
    if kind == "float_series":
        run.add(name, _step(row["step"], multiplier, f"{path}: {name}"), float(row["float_value"]), _time(row))
    elif kind == "string_series":
        run.logs.append((_time(row), f"{name} [{row['step']}]: {row['string_value']}"))
    elif kind in SCALARS:
        value = row[SCALARS[kind]]
        if name == "sys/name" and value:
            run.name = str(value)
        elif name == "sys/failed" and value:
            run.state = "FAILED"
        elif not name.startswith("sys/"):
            run.config[name] = value
    elif kind == "string_set":
        run.tags.update({str(tag): "" for tag in row["string_set_value"] or []})
    elif kind in ("file", "file_series") and files is not None and row.get("file_value"):
        file = files / str(row["file_value"]["path"])
        if not file.resolve().is_relative_to(files.resolve()):
            raise BadSource(f"{path}: {name}: its file lies outside of {files}.")
        suffix = f"/{row['step']}" if kind == "file_series" else ""
        if file.is_file():
            found.append(FileOf(name + suffix, file))


def _step(step: Optional[Decimal], multiplier: int, where: str) -> int:
    scaled = (step or Decimal(0)) * multiplier
    if scaled != scaled.to_integral_value():
        raise BadSource(f"{where}: step {step} is not whole. Give --step-multiplier, for example 1000.")
    return int(scaled)


def _time(row: Mapping[str, Any]) -> float:
    stamp = row.get("timestamp")
    return float(stamp.timestamp()) if stamp is not None else 0.0


def _stem(path: Path) -> str:
    """What the parts of one run have in common."""
    return path.stem.rpartition("part_")[0].rstrip("_") or path.parent.name
