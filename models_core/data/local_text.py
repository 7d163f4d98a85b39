"""Texts of your own: .txt, .jsonl and .parquet files below one folder. Never reads outside of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from models_core.data._dataset import DataInvalid, Document, local_folder

_LARGEST_FILE = 4 << 30
SUFFIXES = (".txt", ".jsonl", ".parquet")


def documents(
    path: str, *, folder: str | Path | None = None, text_field: str = "text", group_field: str | None = None
) -> list[Document]:
    """The texts of a file, or of all files with a known suffix in a folder, in the order of their names.

    path: relative to `folder` (default: `local_text` below the data folder, see `_dataset.local_folder`). A .txt file
    is one document; each line of .jsonl and each row of .parquet is one, its text in `text_field`, and its group in
    `group_field` (default: the file's name). Raises DataInvalid when the path leaves the folder, links included, and
    for files that are not of their format; it names file and line.
    """
    root = local_folder("local_text", folder).resolve()
    target = (root / path).resolve()
    if not target.is_relative_to(root):
        raise DataInvalid(f"{path} is not below the data folder.", fields={"data.path": "Leaves the data folder."})
    if not target.exists():
        raise DataInvalid(f"There is no {path} below the data folder.", fields={"data.path": "Does not exist."})
    files = sorted(target.rglob("*")) if target.is_dir() else [target]
    found: list[Document] = []
    for file in files:
        if not file.is_file() or file.suffix not in SUFFIXES or not file.resolve().is_relative_to(root):
            continue
        if file.stat().st_size > _LARGEST_FILE:
            raise DataInvalid(f"{file.name} is larger than {_LARGEST_FILE} bytes.")
        found += _read(file, file.relative_to(root).as_posix(), text_field, group_field)
    if not found:
        raise DataInvalid(f"{path} holds no text in files of {', '.join(SUFFIXES)}.")
    return found


def _read(file: Path, name: str, text_field: str, group_field: str | None) -> Iterator[Document]:
    if file.suffix == ".txt":
        try:
            yield Document(name, name, file.read_text("utf-8"))
        except UnicodeDecodeError as error:
            raise DataInvalid(f"{name} is not UTF-8: {error}") from None
        return
    rows = _json_rows(file, name) if file.suffix == ".jsonl" else _parquet_rows(file, name, text_field, group_field)
    for number, row in enumerate(rows, 1):
        text = row.get(text_field) if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise DataInvalid(f"Row {number} of {name} has no text in its field {text_field!r}.")
        group = row.get(group_field, name) if group_field else name
        yield Document(f"{name}:{number}", str(group), text)


def _json_rows(file: Path, name: str) -> Iterator[dict[str, object]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataInvalid(f"Line {number} of {name} is not JSON: {error}") from None


def _parquet_rows(file: Path, name: str, text_field: str, group_field: str | None) -> Iterator[dict[str, object]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataInvalid(f"{name} is read with pyarrow, which is not installed.") from None
    columns = [text_field, *([group_field] if group_field else [])]
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            unknown = set(columns) - set(table.schema_arrow.names)
            if unknown:
                raise DataInvalid(f"{name} has no column {', '.join(sorted(unknown))}.")
            for batch in table.iter_batches(batch_size=1024, columns=columns):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataInvalid(f"{name} cannot be read as Parquet: {error}") from None
