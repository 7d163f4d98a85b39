"""What one attempt of one run may do: post numbered batches, put artifacts, read its own artifacts back.

A batch is encoded once and its bytes are repeated as they are: the platform can so tell a repetition from a conflict.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import msgpack

from stillroom_client.errors import ApiError, ChecksumMismatch
from stillroom_client.transport import Retries, Transport

GZIP_FROM_BYTES = 16 * 1024
CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Series:
    """Points of one key, as columns of equal length. time: seconds since 1970."""

    key: str
    step: Sequence[int]
    value: Sequence[float]
    time: Sequence[float]


@dataclass(frozen=True)
class LogLine:
    """time: seconds since 1970. level: debug, info, warning or error. stream: log, stdout or stderr."""

    time: float
    level: str
    stream: str
    message: str


@dataclass(frozen=True)
class Ack:
    """The answer to a stored batch. flush_ms: how long to collect before the next one."""

    last_seq: int
    intent: str
    flush_ms: int


def encode_batch(
    epoch: int,
    seq: int,
    series: Sequence[Series] = (),
    logs: Sequence[LogLine] = (),
    progress: Mapping[str, Any] | None = None,
) -> bytes:
    """One numbered batch as msgpack. Values that are not finite travel as strings, as in JSON."""
    batch: dict[str, Any] = {
        "epoch": epoch,
        "seq": seq,
        "series": [
            {"key": one.key, "step": list(one.step), "value": [_number(v) for v in one.value], "time": list(one.time)}
            for one in series
        ],
        "logs": [
            {"time": line.time, "level": line.level, "stream": line.stream, "message": line.message} for line in logs
        ],
    }
    if progress is not None:
        batch["progress"] = dict(progress)
    return pack_batch(batch)


def pack_batch(batch: Mapping[str, Any]) -> bytes:
    """A batch of plain data as it travels; the inverse of `decode_batch`."""
    packed: bytes = msgpack.packb(batch, use_bin_type=True)
    return packed


def decode_batch(body: bytes) -> dict[str, Any]:
    """A batch as plain data; non-finite values stay strings."""
    batch: dict[str, Any] = msgpack.unpackb(body, raw=False)
    return batch


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    """Digest as hex and size in bytes of what follows in the file."""
    digest = hashlib.sha256()
    size_bytes = 0
    while block := file.read(CHUNK_BYTES):
        digest.update(block)
        size_bytes += len(block)
    return digest.hexdigest(), size_bytes


class AttemptApi:
    """The calls of one (run, epoch).

    token: gives the newest run token at each call, or None to use the transport's own.
    """

    def __init__(self, transport: Transport, run: str, epoch: int, token: Callable[[], str] | None = None) -> None:
        self._transport = transport
        self._token = token
        self._path = f"/runs/{quote(run, safe='')}"
        self.run = run
        self.epoch = epoch

    def post(self, body: bytes, *, retries: Retries | None = None) -> Ack:
        """Post an encoded batch. Raises ApiError: ingest.gap, ingest.stale_epoch, ingest.seq_conflict, ..."""
        headers = {"Content-Type": "application/msgpack"}
        if len(body) >= GZIP_FROM_BYTES:
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        reply = self._transport.call(
            "POST", f"{self._path}/points", content=body, headers=headers, token=self._bearer(), retries=retries
        )
        return Ack(
            int(reply.data["last_seq"]), str(reply.data.get("intent", "run")), int(reply.data.get("flush_ms", 1000))
        )

    def put_artifact(
        self, path: str, file: BinaryIO, *, media_type: str = "application/octet-stream", retries: Retries | None = None
    ) -> tuple[str, int]:
        """Upload a seekable file under this path and give (sha256, size in bytes). Repeating it changes nothing."""
        file.seek(0)
        digest, size_bytes = sha256_of(file)

        def blocks() -> Iterator[bytes]:
            file.seek(0)
            while block := file.read(CHUNK_BYTES):
                yield block

        self._transport.call(
            "PUT",
            f"{self._path}/artifacts/{quote(path)}",
            params={"epoch": self.epoch, "sha256": digest},
            content=blocks,
            headers={"Content-Type": media_type, "Content-Length": str(size_bytes)},
            token=self._bearer(),
            retries=retries,
        )
        return digest, size_bytes

    def get_artifact(self, path: str, destination: Path, *, sha256: str, size_bytes: int) -> None:
        """Download to `destination`, whole and verified or not at all. Raises ChecksumMismatch, ApiError."""
        partial = destination.with_name(destination.name + ".part")

        def take(blocks: Iterator[bytes]) -> None:
            digest = hashlib.sha256()
            received = 0
            with partial.open("wb") as out:
                for block in blocks:
                    digest.update(block)
                    received += len(block)
                    out.write(block)
            if received != size_bytes or not _same_digest(digest.hexdigest(), sha256):
                raise ChecksumMismatch(
                    f"{path}: {received} bytes with sha256 {digest.hexdigest()} arrived, "
                    f"{size_bytes} bytes with {sha256} were promised."
                )

        try:
            self._transport.download(
                f"{self._path}/artifacts/{quote(path)}", take, params={"sha256": sha256}, token=self._bearer()
            )
            os.replace(partial, destination)
        finally:
            partial.unlink(missing_ok=True)

    def _bearer(self) -> str | None:
        return self._token() if self._token is not None else None


def is_stale(error: ApiError) -> bool:
    """Does this answer mean that the attempt is over and must write nothing more?"""
    return error.status == 409 and error.code in ("ingest.stale_epoch", "run.stale", "run.not_claimable")


def without_refused(payload: bytes, error: ApiError) -> bytes | None:
    """The same batch without what the platform refused, and a log line that says so; None when it is already empty.

    Where the answer names series, only those go; otherwise all series, logs and progress do, in the end the line too.
    """
    batch = decode_batch(payload)
    if not batch["series"] and len(batch["logs"]) <= 1 and "progress" not in batch:
        return encode_batch(batch["epoch"], batch["seq"]) if batch["logs"] else None
    named = _named_series(error, len(batch["series"]))
    note = LogLine(time.time(), "warning", "log", f"The platform refused a part of this run's data: {error}"[:2000])
    if not named:
        return encode_batch(batch["epoch"], batch["seq"], logs=[note])
    batch["series"] = [one for number, one in enumerate(batch["series"]) if number not in named]
    batch["logs"].append(asdict(note))
    return pack_batch(batch)


def is_gone(error: ApiError) -> bool:
    """Has the run been deleted? A 404 of a proxy or of a platform that is being replaced does not count."""
    return error.status == 404 and not error.code.startswith("http.")


def _named_series(error: ApiError, count: int) -> set[int]:
    """The positions N of every location `series.N...` in the answer."""
    named = set()
    for location in error.fields:
        parts = location.split(".")
        if len(parts) > 1 and parts[0] == "series" and parts[1].isdigit() and int(parts[1]) < count:
            named.add(int(parts[1]))
    return named


def _same_digest(left: str, right: str) -> bool:
    return left.lower() == right.lower()


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
