"""A first look into a file. The file is hostile: sizes are bounded before anything is decoded."""

from __future__ import annotations

import csv
import io
import math
import wave
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from models_core.events import encode_float
from stillroom.core.errors import Invalid
from stillroom.telemetry.models import ArtifactFile
from stillroom.telemetry.store import fetched

HEAD_BYTES = 256 * 1024
MAX_IMAGE_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 64_000_000
MAX_TABLE_BYTES = 256 * 1024 * 1024
MAX_GROUP_BYTES = 128 * 1024 * 1024
MAX_ROWS, MAX_COLUMNS, MAX_CELL = 100, 200, 2000
IMAGES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP"}
AUDIO = (".wav", ".mp3", ".ogg", ".flac", ".m4a")
THUMBNAIL_PX = (16, 1024)


def preview(tenant_id: str, row: ArtifactFile) -> dict[str, Any]:
    """What a page shows of a file: kind, and the fields of that kind. No query."""
    fields = ("path", "media_type", "size_bytes", "sha256")
    base = {"kind": "none", **{name: getattr(row, name) for name in fields}}
    suffix = Path(row.path).suffix.lower()
    try:
        if suffix in IMAGES:
            return {**base, "kind": "image", **_image(tenant_id, row)}
        if suffix in AUDIO:
            return {**base, "kind": "audio", **_audio(tenant_id, row, suffix)}
        if suffix in (".csv", ".tsv"):
            return {**base, "kind": "table", **_csv(tenant_id, row, "\t" if suffix == ".tsv" else ",")}
        if suffix == ".jsonl":
            return {**base, "kind": "table", **_jsonl(tenant_id, row)}
        if suffix == ".parquet":
            return {**base, "kind": "table", **_parquet(tenant_id, row)}
        return {**base, **_text(tenant_id, row)}
    except Invalid as error:
        return {**base, "kind": "none", "reason": error.message}


def thumbnail(tenant_id: str, row: ArtifactFile, size_px: int) -> bytes:
    """The image, at most `size_px` wide and high, as PNG. Raises Invalid for what is no image or too large."""
    from PIL import Image

    if not THUMBNAIL_PX[0] <= size_px <= THUMBNAIL_PX[1]:
        raise Invalid("A thumbnail has 16 to 1024 pixels.", fields={"size": "16 to 1024."})
    with fetched_image(tenant_id, row) as picture:
        try:
            picture.draft("RGB", (size_px, size_px))
            picture.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
            kept = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise _unreadable("image", error) from None
    out = io.BytesIO()
    kept.save(out, "PNG")
    return out.getvalue()


def fetched_image(tenant_id: str, row: ArtifactFile) -> Any:
    """The opened picture, not decoded yet; raises Invalid before a bomb goes off."""
    from PIL import Image, UnidentifiedImageError

    suffix = Path(row.path).suffix.lower()
    if suffix not in IMAGES:
        raise Invalid("This file is not an image that can be shown.", fields={"path": "Not an image."})
    if row.size_bytes > MAX_IMAGE_BYTES:
        raise Invalid(f"Images of more than {MAX_IMAGE_BYTES} bytes are not previewed.", fields={"path": "Too large."})
    with fetched(tenant_id, row.sha256, row.size_bytes) as file:
        content = io.BytesIO(file.read())
    try:
        picture = Image.open(content, formats=[IMAGES[suffix]])
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise _unreadable("image", error) from None
    width, height = picture.size
    if width * height > MAX_PIXELS:
        message = f"The image has {width} x {height} pixels; at most {MAX_PIXELS} are decoded."
        raise Invalid(message, fields={"path": message})
    return picture


def _unreadable(kind: str, error: Exception) -> Invalid:
    return Invalid(f"The {kind} cannot be read: {str(error)[:200]}.", fields={"path": f"Not a readable {kind}."})


def _image(tenant_id: str, row: ArtifactFile) -> dict[str, Any]:
    with fetched_image(tenant_id, row) as picture:
        return {"width": picture.width, "height": picture.height}


def _audio(tenant_id: str, row: ArtifactFile, suffix: str) -> dict[str, Any]:
    if suffix != ".wav":
        return {}
    with fetched(tenant_id, row.sha256, row.size_bytes) as file:
        try:
            with wave.open(file) as sound:
                rate, frames, channels = sound.getframerate(), sound.getnframes(), sound.getnchannels()
        except (wave.Error, EOFError, ValueError) as error:
            raise _unreadable("sound", error) from None
    return {"sample_rate": rate, "channels": channels, "seconds": frames / rate if rate else None}


def _head(tenant_id: str, row: ArtifactFile) -> tuple[bytes, bool]:
    """The first bytes, and whether there are more."""
    with fetched(tenant_id, row.sha256, min(row.size_bytes, HEAD_BYTES)) as file:
        return file.read(HEAD_BYTES), row.size_bytes > HEAD_BYTES


def _text(tenant_id: str, row: ArtifactFile) -> dict[str, Any]:
    head, more = _head(tenant_id, row)
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if not more or error.start < len(head) - 4:
            return {"kind": "none", "reason": "The file is not text."}
        text = head[: error.start].decode("utf-8")
    if "\x00" in text:
        return {"kind": "none", "reason": "The file is not text."}
    return {"kind": "text", "text": text, "truncated": more}


def _lines(tenant_id: str, row: ArtifactFile) -> tuple[str, bool]:
    head, more = _head(tenant_id, row)
    text = head.decode("utf-8", "replace").removeprefix("\ufeff")
    if not more:
        return text, False
    whole, newline, _ = text.rpartition("\n")
    return whole if newline else text, True


def _csv(tenant_id: str, row: ArtifactFile, delimiter: str) -> dict[str, Any]:
    text, more = _lines(tenant_id, row)
    rows: list[list[str]] = []
    try:
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append([cell[:MAX_CELL] for cell in line[:MAX_COLUMNS]])
            if len(rows) > MAX_ROWS + 1:
                break
    except csv.Error as error:
        raise _unreadable("table", error) from None
    return {
        "columns": rows[0] if rows else [],
        "rows": rows[1 : MAX_ROWS + 1],
        "truncated": more or len(rows) > MAX_ROWS + 1,
    }


def _jsonl(tenant_id: str, row: ArtifactFile) -> dict[str, Any]:
    text, more = _lines(tenant_id, row)
    found: list[dict[str, Any]] = []
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines[:MAX_ROWS]:
        try:
            value = orjson.loads(line)
        except ValueError as error:
            raise _unreadable("table", error) from None
        found.append(value if isinstance(value, dict) else {"value": value})
    columns = list(dict.fromkeys(name for item in found for name in item))[:MAX_COLUMNS]
    rows = [[_cell(item.get(name)) for name in columns] for item in found]
    return {"columns": columns, "rows": rows, "truncated": more or len(lines) > MAX_ROWS}


def _parquet(tenant_id: str, row: ArtifactFile) -> dict[str, Any]:
    if row.size_bytes > MAX_TABLE_BYTES:
        raise Invalid(f"Tables of more than {MAX_TABLE_BYTES} bytes are not previewed.")
    with fetched(tenant_id, row.sha256, row.size_bytes) as file:
        return _parquet_head(file)


def _parquet_head(file: BinaryIO) -> dict[str, Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file, thrift_string_size_limit=10_000_000, thrift_container_size_limit=1_000_000)
        meta = table.metadata
        names = table.schema_arrow.names[:MAX_COLUMNS]
        rows: list[list[Any]] = []
        if meta.num_row_groups and meta.num_rows:
            if meta.row_group(0).total_byte_size > MAX_GROUP_BYTES:
                raise Invalid("The table's first row group is too large to look into.")
            batch = next(table.iter_batches(batch_size=MAX_ROWS, row_groups=[0], columns=names), None)
            rows = [[_cell(item[name]) for name in names] for item in batch.to_pylist()] if batch is not None else []
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _unreadable("table", error) from None
    return {"columns": names, "rows": rows, "rows_total": meta.num_rows, "truncated": meta.num_rows > len(rows)}


def _cell(value: Any) -> Any:
    """A value as JSON can carry it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else encode_float(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return (value if isinstance(value, str) else str(value))[:MAX_CELL]
