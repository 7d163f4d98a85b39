"""Back-pressure: too fast is 429 with the limit and when to come back, and nothing is stored or used up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.conf import settings

from stillroom.core.errors import TooMany
from stillroom.telemetry.services import throttle as module
from stillroom.telemetry.services.throttle import throttle
from support.cast import Cast, running


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches at once and one each second after; three points a second."""
    slow = replace(settings.ENV, ingest_batches_per_s=1, ingest_points_per_s=3, ingest_burst_s=2)
    monkeypatch.setattr(settings, "ENV", slow)


def test_a_sender_that_is_too_fast_is_told_when_to_come_back(cast: Cast, slow: None) -> None:
    run = running(cast.ada)
    assert run.points(1).status == 200
    throttle(f"run:{run.id}", tenant=cast.ada.tenant, batches=50)
    refused = run.points(2)
    assert (refused.status, refused.body["code"]) == (429, "ingest.too_fast")
    assert list(refused.body["fields"]) == ["batches_per_s"]
    assert refused.body["limit"] == 1
    assert 40 <= int(refused.headers["Retry-After"]) <= 50
    assert cast.ada.http.get(f"/runs/{run.id}").body["metrics"]["train/loss"]["n"] == 1


def test_a_large_batch_passes_and_the_next_one_pays(cast: Cast, slow: None) -> None:
    run = running(cast.ada)
    assert run.points(1, steps=list(range(60))).status == 200
    refused = run.points(2)
    assert (refused.status, list(refused.body["fields"])) == (429, ["points_per_s"])
    assert int(refused.headers["Retry-After"]) >= 15, "60 points at 3 a second, 6 in the bucket"


def test_organisations_do_not_slow_each_other(slow: None) -> None:
    throttle("user:a", tenant="one", points=600)
    with pytest.raises(TooMany):
        throttle("user:b", tenant="one", points=1)
    throttle("user:c", tenant="two", points=1)


def test_without_valkey_nobody_is_held_back(slow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_buckets", lambda: module._Buckets("redis://127.0.0.1:1/0"))
    for _ in range(10):
        throttle("user:d", tenant="three", batches=1)
