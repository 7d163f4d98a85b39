"""Uploads in pieces: they survive breaks, know where they stand, and publish the right content or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings

from stillroom.core.tenancy import tenant_tx
from stillroom.telemetry.models import Blob, Upload
from stillroom.telemetry.services import uploads
from stillroom.telemetry.services.artifacts import stored_file
from stillroom.telemetry.store import StorageFull
from support.cast import Answer, Cast, Running, running
from support.threads import at_once

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def run(cast: Cast) -> Running:
    return running(cast.ada)


def begin(run: Running, **more: Any) -> str:
    payload = {"path": "model.bin", "epoch": 1, "size_bytes": len(CONTENT), **more}
    answer = run.http.post(f"/runs/{run.id}/uploads", payload)
    assert answer.status == 201, answer.text
    return f"/runs/{run.id}/uploads/{answer.body['id']}"


def append(run: Running, place: str, offset: int, piece: bytes) -> Answer:
    return run.http.call("PATCH", place, raw=piece, headers={"Upload-Offset": str(offset)})


def test_an_upload_goes_on_where_it_broke_off(cast: Cast, run: Running) -> None:
    place = begin(run, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert append(run, place, 0, CONTENT[:3000]).body == {"offset": 3000}
    head = run.http.call("HEAD", place)
    assert (head.status, head.headers["Upload-Offset"], head.headers["Upload-Length"]) == (200, "3000", "10240")
    early = run.http.post(f"{place}/complete")
    assert (early.status, early.body["code"], early.body["offset"]) == (409, "upload.incomplete", 3000)
    twice = append(run, place, 0, CONTENT[:3000])
    assert (twice.status, twice.body["code"], twice.body["offset"]) == (409, "upload.offset", 3000)
    assert append(run, place, 3000, CONTENT[3000:]).body == {"offset": len(CONTENT)}
    for _ in range(2):
        done = run.http.post(f"{place}/complete")
        assert (done.status, done.body["size_bytes"]) == (200, len(CONTENT))
    assert cast.ada.http.get(f"/runs/{run.id}/artifacts").body["items"][0]["path"] == "model.bin"
    assert stored_file(cast.ada.tenant, done.body["sha256"]).read_bytes() == CONTENT
    assert run.http.get(place).body["done"] is True


def test_a_break_inside_a_piece_keeps_what_came(cast: Cast, run: Running) -> None:
    place = begin(run)

    def broken() -> Any:
        yield CONTENT[:1000]
        raise ConnectionResetError

    with tenant_tx(cast.ada.tenant):
        upload = Upload.objects.get()
    with pytest.raises(StorageFull):
        uploads.upload_append(upload=upload, offset=0, chunks=broken())
    assert run.http.get(place).body["offset"] == 1000
    assert append(run, place, 1000, CONTENT[1000:]).status == 200
    assert run.http.post(f"{place}/complete").body["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_parts_come_in_any_order_at_once_and_again(cast: Cast, run: Running) -> None:
    place = begin(run)
    pieces = {1: CONTENT[:4000], 2: CONTENT[4000:8000], 3: CONTENT[8000:]}
    assert run.http.put(f"{place}/parts/3", pieces[3]).body == {"number": 3, "size_bytes": len(pieces[3])}
    gap = run.http.post(f"{place}/complete")
    assert (gap.status, gap.body["missing"]) == (409, 1)
    answers: list[int] = []
    at_once(4, lambda: answers.extend(run.http.put(f"{place}/parts/{n}", pieces[n]).status for n in (2, 1)))
    assert set(answers) == {200}
    assert run.http.get(place).body["parts"] == {str(n): len(piece) for n, piece in pieces.items()}
    assert run.http.post(f"{place}/complete").body["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_wrong_content_and_too_much_of_it_are_refused(cast: Cast, run: Running) -> None:
    place = begin(run, sha256="0" * 64)
    over = append(run, place, 0, CONTENT + b"x")
    assert (over.status, over.body["code"], over.body["limit"]) == (413, "upload.too_large", len(CONTENT))
    assert append(run, place, run.http.get(place).body["offset"], CONTENT).status == 200
    wrong = run.http.post(f"{place}/complete")
    assert (wrong.status, wrong.body["code"]) == (422, "artifact.hash")
    assert cast.ada.http.get(f"/runs/{run.id}/artifacts").body["items"] == []
    assert run.http.delete(place).status == 204
    assert run.http.get(place).status == 404


@pytest.mark.parametrize("change", [{"path": "../up"}, {"sha256": "zz"}, {"size_bytes": -1}])
def test_a_bad_beginning_is_refused(run: Running, change: dict[str, Any]) -> None:
    answer = run.http.post(f"/runs/{run.id}/uploads", {"path": "a", "epoch": 1, "size_bytes": 1, **change})
    assert (answer.status, list(answer.body["fields"])) == (422, list(change))


def test_an_upload_belongs_to_its_run(cast: Cast, run: Running) -> None:
    place = begin(run)
    other = running(cast.ada)
    assert other.http.get(place).status in (403, 404)
    assert other.http.get(place.replace(run.id, other.id)).status == 404


def test_the_organisations_bytes_are_limited_and_counted_once(
    cast: Cast, run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, org_artifact_bytes=1000))
    assert run.http.put(f"/runs/{run.id}/artifacts/a?epoch=1", b"x" * 600).status == 201
    assert run.http.put(f"/runs/{run.id}/artifacts/b?epoch=1", b"x" * 600).status == 201, "the same content"
    refused = run.http.put(f"/runs/{run.id}/artifacts/c?epoch=1", b"y" * 600)
    assert (refused.status, refused.body["code"]) == (413, "artifact.quota")
    assert (refused.body["limit"], refused.body["used"]) == (1000, 600)
    early = run.http.post(f"/runs/{run.id}/uploads", {"path": "d", "epoch": 1, "size_bytes": 401})
    assert (early.status, early.body["code"]) == (413, "artifact.quota")
    assert cast.ada.http.get("/orgs/aster/storage").body["artifact_bytes"] == 600
    with tenant_tx(cast.ada.tenant):
        assert Blob.objects.count() == 1
