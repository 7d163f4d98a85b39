"""Artifacts in an S3-compatible bucket, over real HTTP to moto's server in a thread of this process."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from django.conf import settings

from stillroom.core.tenancy import tenant_tx
from stillroom.telemetry.services.artifacts import blobs_release
from stillroom.telemetry.store import BucketStore, StoreAway, fetched, store
from support.cast import Cast, running

BUCKET = "stillroom-test"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> BucketStore:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
    env = replace(settings.ENV, s3_bucket=BUCKET, s3_endpoint=endpoint, s3_prefix="lab/")
    monkeypatch.setattr(settings, "ENV", env)
    found = store()
    assert isinstance(found, BucketStore)
    return found


def test_a_file_goes_into_the_bucket_comes_back_and_is_removed(cast: Cast, bucket: BucketStore) -> None:
    run = running(cast.ada)
    content = bytes(range(256)) * 9000
    digest = hashlib.sha256(content).hexdigest()
    assert run.http.put(f"/runs/{run.id}/artifacts/a.bin?epoch=1&sha256={digest}", content).status == 201
    assert bucket.has(cast.ada.tenant, digest)
    assert not (settings.ENV.artifacts / cast.ada.tenant / digest[:2]).exists(), "nothing stays on this machine"
    assert b"".join(bucket.read(cast.ada.tenant, digest, 5, 1_500_000)) == content[5:1_500_000]
    with fetched(cast.ada.tenant, digest, 1000) as head:
        assert head.read() == content[:1000]
    with tenant_tx(cast.ada.tenant):
        assert blobs_release([digest]) == 0, "a run still names it"
    assert run.http.put(f"/runs/{run.id}/artifacts/a.bin?epoch=1", b"other").status == 201
    with tenant_tx(cast.ada.tenant):
        assert blobs_release([digest]) == len(content)
    assert not bucket.has(cast.ada.tenant, digest)


def test_downloads_may_go_by_presigned_address(
    cast: Cast, bucket: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    run = running(cast.ada)
    run.http.put(f"/runs/{run.id}/artifacts/page.html?epoch=1", b"<script>")
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, s3_redirect=True))
    answer = cast.ada.http.get(f"/runs/{run.id}/artifacts/page.html")
    assert answer.status == 302
    direct = httpx.get(answer.headers["Location"])
    assert (direct.status_code, direct.content) == (200, b"<script>")
    assert direct.headers["Content-Disposition"].startswith("attachment")
    assert cast.olga.http.get(f"/runs/{run.id}/artifacts/page.html").status == 404


def test_a_bucket_that_is_away_is_503(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    gone = BucketStore("nowhere", endpoint="http://127.0.0.1:1")
    with pytest.raises(StoreAway):
        gone.has("o_x", "0" * 64)
