"""Batches as bytes, and files that arrive whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import pytest

from stillroom_client.errors import ApiError, ChecksumMismatch
from stillroom_client.points import AttemptApi, LogLine, Series, decode_batch, encode_batch, is_stale
from stillroom_client.transport import Transport
from tests.stillroom_client.faulty_server import RESET, Answer, FaultyServer, reply, serving


def attempt(server: FaultyServer, token: str = "sr_run_1") -> AttemptApi:
    return AttemptApi(Transport(server.url, sleep=lambda s: None), "r_1", 3, lambda: token)


def test_a_batch_has_the_shape_of_the_wire_contract() -> None:
    series = [Series("train/loss", [1, 2, 3], [0.5, float("nan"), float("-inf")], [9.0, 9.5, 10.0])]
    batch = decode_batch(encode_batch(2, 17, series, [LogLine(9.0, "info", "log", "hi")], {"step": 1, "total": 2}))
    assert batch == {
        "epoch": 2,
        "seq": 17,
        "series": [
            {"key": "train/loss", "step": [1, 2, 3], "value": [0.5, "NaN", "-Infinity"], "time": [9.0, 9.5, 10.0]}
        ],
        "logs": [{"time": 9.0, "level": "info", "stream": "log", "message": "hi"}],
        "progress": {"step": 1, "total": 2},
    }


def test_the_same_content_gives_the_same_bytes() -> None:
    series = [Series("a", [1], [2.0], [3.0])]
    assert encode_batch(1, 1, series) == encode_batch(1, 1, series)


def test_a_small_batch_travels_plain_and_a_large_one_compressed() -> None:
    small, large = encode_batch(1, 1), encode_batch(1, 2, [Series("a", list(range(5000)), [1.0] * 5000, [2.0] * 5000)])
    with serving(otherwise=lambda asked: reply({"last_seq": 2, "intent": "pause", "flush_ms": 200})) as server:
        api = attempt(server)
        ack = api.post(small)
        api.post(large)
    assert (ack.last_seq, ack.intent, ack.flush_ms) == (2, "pause", 200)
    assert server.asked[0].body == small
    assert server.asked[0].path == "/api/v1/runs/r_1/points"
    assert server.asked[1].headers["Content-Encoding"] == "gzip"
    assert len(server.asked[1].body) < len(large) / 3
    assert gzip.decompress(server.asked[1].body) == large


def test_an_artifact_is_streamed_with_its_hash_and_survives_a_reset() -> None:
    content = bytes(range(256)) * 4000
    with serving(RESET, reply({}, 201)) as server:
        digest, size_bytes = attempt(server).put_artifact("plots/a b.png", io.BytesIO(content), media_type="image/png")
    asked = server.asked[-1]
    assert digest == hashlib.sha256(content).hexdigest()
    assert size_bytes == len(content)
    assert asked.body == content
    assert asked.path == f"/api/v1/runs/r_1/artifacts/plots/a%20b.png?epoch=3&sha256={digest}"
    assert asked.headers["Content-Length"] == str(len(content))
    assert asked.headers["Authorization"] == "Bearer sr_run_1"


def test_a_download_is_verified(tmp_path: Path) -> None:
    content = b"weights" * 1000
    with serving(Answer(200, content, cut_at=10), Answer(200, content)) as server:
        attempt(server).get_artifact(
            "c/w", tmp_path / "w", sha256=hashlib.sha256(content).hexdigest().upper(), size_bytes=len(content)
        )
    assert (tmp_path / "w").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("content", [b"weightz", b"weights and more", b""])
def test_other_bytes_than_promised_leave_no_file(tmp_path: Path, content: bytes) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    with serving(Answer(200, content)) as server, pytest.raises(ChecksumMismatch, match="promised"):
        attempt(server).get_artifact("c/w", tmp_path / "w", sha256=digest, size_bytes=7)
    assert list(tmp_path.iterdir()) == []


def test_only_a_conflict_about_the_attempt_means_that_it_is_over() -> None:
    assert is_stale(ApiError(409, "ingest.stale_epoch", ""))
    assert is_stale(ApiError(409, "run.stale", ""))
    assert not is_stale(ApiError(409, "ingest.gap", ""))
    assert not is_stale(ApiError(503, "run.stale", ""))
