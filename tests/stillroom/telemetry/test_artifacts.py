"""Artifacts: streamed, hashed, published once, read in ranges, never outside their place."""

from __future__ import annotations

import hashlib

import pytest

from support.cast import Cast, Running, running


@pytest.fixture
def run(cast: Cast) -> Running:
    return running(cast.ada)


def test_a_file_comes_back_as_it_went_in(cast: Cast, run: Running) -> None:
    content = bytes(range(256)) * 5000
    digest = hashlib.sha256(content).hexdigest()
    path = f"/runs/{run.id}/artifacts/samples/übung 1.bin"
    for _ in range(2):
        stored = run.http.put(f"{path}?epoch=1&sha256={digest}", content)
        assert (stored.status, stored.body["sha256"], stored.body["size_bytes"]) == (201, digest, len(content))
    listed = cast.ada.http.get(f"/runs/{run.id}/artifacts").body["items"]
    assert [item["path"] for item in listed] == ["samples/übung 1.bin"]


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("", 200, b"0123456789"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=x", 200, b"0123456789"),
    ],
)
async def test_ranges(cast: Cast, run: Running, header: str, status: int, expected: bytes) -> None:
    from asgiref.sync import sync_to_async
    from django.test import AsyncClient

    await sync_to_async(run.http.put)(f"/runs/{run.id}/artifacts/digits?epoch=1", b"0123456789")
    headers = {"Authorization": f"Bearer {cast.ada.http.token}", **({"Range": header} if header else {})}
    answer = await AsyncClient().get(f"/api/v1/runs/{run.id}/artifacts/digits", headers=headers)
    assert answer.status_code == status
    assert b"".join([chunk async for chunk in answer.streaming_content]) == expected
    assert answer["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer["Content-Security-Policy"]


def test_a_range_outside_is_416(cast: Cast, run: Running) -> None:
    run.http.put(f"/runs/{run.id}/artifacts/digits?epoch=1", b"0123456789")
    assert cast.ada.http.get(f"/runs/{run.id}/artifacts/digits", headers={"Range": "bytes=10-"}).status == 416


@pytest.mark.parametrize("path", ["..", "a/../b", "/etc/passwd", "a//b", "a\\b", "%2e%2e/x", "a%00b", "x" * 501])
def test_a_path_that_leaves_its_place_is_refused(run: Running, path: str) -> None:
    assert run.http.put(f"/runs/{run.id}/artifacts/{path}?epoch=1", b"x").status in (404, 422)


def test_wrong_hash_and_wrong_epoch_store_nothing(cast: Cast, run: Running) -> None:
    wrong = run.http.put(f"/runs/{run.id}/artifacts/a?epoch=1&sha256={'0' * 64}", b"x")
    assert (wrong.status, wrong.body["code"]) == (422, "artifact.hash")
    assert run.http.put(f"/runs/{run.id}/artifacts/a?epoch=9", b"x").status == 409
    assert cast.ada.http.get(f"/runs/{run.id}/artifacts").body["items"] == []


def test_the_newest_attempts_file_is_shown(cast: Cast, run: Running) -> None:
    run.http.put(f"/runs/{run.id}/artifacts/a?epoch=1", b"old")
    run.http.put(f"/runs/{run.id}/artifacts/a?epoch=1", b"newer")
    (item,) = cast.ada.http.get(f"/runs/{run.id}/artifacts").body["items"]
    assert item["size_bytes"] == 5
