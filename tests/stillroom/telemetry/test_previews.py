"""Previews: the right first look, and nothing that a hostile file can do."""

from __future__ import annotations

import io
import wave
import zlib
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from support.cast import Cast, Running, running


@pytest.fixture
def run(cast: Cast) -> Running:
    return running(cast.ada)


def look(cast: Cast, run: Running, path: str, content: bytes) -> dict[str, Any]:
    assert run.http.put(f"/runs/{run.id}/artifacts/{path}?epoch=1", content).status == 201
    answer = cast.ada.http.get(f"/runs/{run.id}/previews/{path}")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.body
    return found


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (width, height), (200, 30, 30, 128)).save(out, "PNG")
    return out.getvalue()


def test_an_image_and_its_thumbnail(cast: Cast, run: Running) -> None:
    found = look(cast, run, "samples/a.png", png(600, 300))
    assert (found["kind"], found["width"], found["height"]) == ("image", 600, 300)
    answer = cast.ada.http.get(f"/runs/{run.id}/thumbnails/samples/a.png?size=100")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(answer.response.content)).size == (100, 50)
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = cast.ada.http.get(
        f"/runs/{run.id}/thumbnails/samples/a.png?size=100", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status == 304


def test_an_image_bomb_is_not_decoded(cast: Cast, run: Running) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
        + chunk(b"IEND", b"")
    )
    found = look(cast, run, "bomb.png", bomb)
    assert found["kind"] == "none"
    assert cast.ada.http.get(f"/runs/{run.id}/thumbnails/bomb.png").status == 422


@pytest.mark.parametrize("path", ["a.png", "a.wav", "a.parquet", "a.jsonl", "a.gif"])
def test_a_file_that_is_not_what_its_name_says(cast: Cast, run: Running, path: str) -> None:
    found = look(cast, run, path, b"\x00{not at all" * 10)
    assert found["kind"] == "none"
    assert found["reason"]


def test_sound_text_and_tables(cast: Cast, run: Running) -> None:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0" * 4 * 4000)
    found = look(cast, run, "a.wav", out.getvalue())
    assert (found["kind"], found["seconds"], found["channels"], found["sample_rate"]) == ("audio", 0.5, 2, 8000)
    long = look(cast, run, "long.txt", "für ".encode() * 100_000)
    assert (long["kind"], long["truncated"], long["text"][:4]) == ("text", True, "für ")
    assert look(cast, run, "raw.bin", b"\xff\xfe\x00")["kind"] == "none"
    table = look(cast, run, "a.csv", b'a,b\n1,x\n2,"y,z"\n')
    assert (table["columns"], table["rows"]) == (["a", "b"], [["1", "x"], ["2", "y,z"]])
    lines = look(cast, run, "a.jsonl", b'{"a": 1}\n{"b": [1, 2]}\n')
    assert (lines["columns"], lines["rows"]) == (["a", "b"], [[1, None], [None, "[1, 2]"]])
    out = io.BytesIO()
    parquet.write_table(pa.table({"n": list(range(500)), "v": [float("nan")] + [0.5] * 499}), out)
    columns = look(cast, run, "a.parquet", out.getvalue())
    assert (columns["columns"], columns["rows_total"], columns["truncated"]) == (["n", "v"], 500, True)
    assert (len(columns["rows"]), columns["rows"][:2]) == (100, [[0, "NaN"], [1, 0.5]])


async def test_a_sound_is_played_in_ranges(cast: Cast) -> None:
    from asgiref.sync import sync_to_async
    from django.test import AsyncClient

    run = await sync_to_async(running)(cast.ada)
    await sync_to_async(run.http.put)(f"/runs/{run.id}/artifacts/a.mp3?epoch=1", bytes(1000))
    headers = {"Authorization": f"Bearer {cast.ada.http.token}", "Range": "bytes=100-199"}
    answer = await AsyncClient().get(f"/api/v1/runs/{run.id}/artifacts/a.mp3", headers=headers)
    assert (answer.status_code, answer["Content-Range"]) == (206, "bytes 100-199/1000")
    assert answer["X-Content-Type-Options"] == "nosniff"
