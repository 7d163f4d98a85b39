"""Ingest: exactly once, in order, fenced; garbage is refused at its place and changes nothing."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from support.cast import Cast, Running, running
from support.threads import at_once


@pytest.fixture
def run(cast: Cast) -> Running:
    return running(cast.ada)


def n_points(cast: Cast, run: Running, key: str = "train/loss") -> int:
    metrics = cast.ada.http.get(f"/runs/{run.id}").body["metrics"]
    return int(metrics[key]["n"]) if key in metrics else 0


def test_a_repeated_batch_changes_nothing(cast: Cast, run: Running) -> None:
    assert run.points(1).body["last_seq"] == 1
    assert run.points(1).body["last_seq"] == 1
    assert n_points(cast, run) == 1


def test_the_same_number_with_other_content_is_a_conflict(run: Running) -> None:
    run.points(1)
    answer = run.points(1, steps=[5])
    assert (answer.status, answer.body["code"]) == (409, "ingest.seq_conflict")


def test_a_gap_is_answered_with_the_last_number(run: Running) -> None:
    run.points(1)
    answer = run.points(3)
    assert (answer.status, answer.body["code"], answer.body["last_seq"]) == (409, "ingest.gap", 1)


def test_another_epoch_is_refused(run: Running) -> None:
    answer = run.http.post(f"/runs/{run.id}/points", {"epoch": 2, "seq": 1})
    assert (answer.status, answer.body["code"]) == (409, "ingest.stale_epoch")


def test_many_senders_of_the_same_batch_store_it_once(cast: Cast, run: Running) -> None:
    answers: list[int] = []
    at_once(8, lambda: answers.append(run.points(1, steps=[1, 2, 3]).status))
    assert answers == [200] * 8
    assert n_points(cast, run) == 3


def test_messagepack_and_raw_columns_and_gzip_mean_the_same(cast: Cast, run: Running) -> None:
    raw = {
        "epoch": 1,
        "seq": 1,
        "series": [
            {
                "key": "train/loss",
                "step": np.array([1, 2], "<i8").tobytes(),
                "value": np.array([0.5, np.nan], "<f8").tobytes(),
                "time": np.array([1.7e9, 1.7e9], "<f8").tobytes(),
            }
        ],
    }
    path = f"/runs/{run.id}/points"
    assert run.http.post(path, raw=msgpack.packb(raw), content_type="application/msgpack").status == 200
    plain = {
        "epoch": 1,
        "seq": 1,
        "series": [{"key": "train/loss", "step": [1, 2], "value": [0.5, "NaN"], "time": [1.7e9, 1.7e9]}],
    }
    again = run.http.post(path, raw=gzip.compress(orjson.dumps(plain)), headers={"Content-Encoding": "gzip"})
    assert again.body["last_seq"] == 1, "the same content, so a repetition"
    assert n_points(cast, run) == 2


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"seq": 0}, "seq"),
        ({"seq": True}, "seq"),
        ({"epoch": "1"}, "epoch"),
        ({"colour": 1}, "colour"),
        ({"series": {}}, "series"),
        ({"series": [1]}, "series.0"),
        ({"series": [{"key": "", "step": [], "value": [], "time": []}]}, "series.0.key"),
        ({"series": [{"key": "a\x00", "step": [], "value": [], "time": []}]}, "series.0.key"),
        ({"series": [{"key": "a", "step": [1.5], "value": [1], "time": [1]}]}, "series.0.step.0"),
        ({"series": [{"key": "a", "step": [2**63], "value": [1], "time": [1]}]}, "series.0.step"),
        ({"series": [{"key": "a", "step": [1], "value": ["wat"], "time": [1]}]}, "series.0.value.0"),
        ({"series": [{"key": "a", "step": [1, 2], "value": [1, None], "time": [1, 1]}]}, "series.0.value.1"),
        ({"series": [{"key": "a", "step": [1], "value": [1], "time": ["NaN"]}]}, "series.0.time"),
        ({"series": [{"key": "a", "step": [1, 2], "value": [1], "time": [1]}]}, "series.0"),
        ({"logs": [{"time": 1, "message": 5}]}, "logs.0.message"),
        ({"logs": [{"time": 1, "message": "x", "level": "loud"}]}, "logs.0.level"),
        ({"logs": [{"time": 1, "message": "x", "level": []}]}, "logs.0.level"),
        ({"logs": [{"time": 1, "message": "x", "stream": {}}]}, "logs.0.stream"),
        ({"progress": {"step": -1, "total": 3}}, "progress.step"),
    ],
)
def test_garbage_is_refused_at_its_place(cast: Cast, run: Running, change: dict[str, Any], place: str) -> None:
    payload = {"epoch": 1, "seq": 1, **change}
    answer = run.http.post(f"/runs/{run.id}/points", raw=json.dumps(payload).encode())
    assert answer.status == 422
    assert list(answer.body["fields"]) == [place]
    assert run.points(1).body["last_seq"] == 1, "the refused batch used no number"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"epoch":1e400,"seq":1}'])
def test_a_body_that_is_no_batch_is_refused(run: Running, body: bytes) -> None:
    assert run.http.post(f"/runs/{run.id}/points", raw=body).status == 422
    assert run.http.post(f"/runs/{run.id}/points", raw=body, content_type="application/msgpack").status == 422


@pytest.mark.parametrize("damage", [slice(0, 9), slice(0, -4)])
def test_a_damaged_gzip_body_is_refused(run: Running, damage: slice) -> None:
    body = gzip.compress(orjson.dumps({"epoch": 1, "seq": 1}))[damage] + b"\xff" * 30
    answer = run.http.post(f"/runs/{run.id}/points", raw=body, headers={"Content-Encoding": "gzip"})
    assert answer.status == 422


def test_an_oversized_batch_gets_413_with_the_limit(run: Running) -> None:
    path = f"/runs/{run.id}/points"
    big = run.http.post(path, raw=b" " * (4 * 1024 * 1024 + 1))
    assert (big.status, big.body["code"]) == (413, "ingest.too_large")
    assert "4194304" in big.body["message"]
    bomb = run.http.post(path, raw=gzip.compress(b"0" * 50_000_000), headers={"Content-Encoding": "gzip"})
    assert bomb.status == 413
    many = [{"key": "a", "step": [1] * 100_001, "value": [1] * 100_001, "time": [1] * 100_001}]
    assert run.http.post(path, {"epoch": 1, "seq": 1, "series": many}).status == 413


def test_too_many_keys_are_refused_whole(cast: Cast, run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from django.conf import settings

    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, max_keys=3))
    series = [{"key": f"k{index}", "step": [1], "value": [1], "time": [1]} for index in range(4)]
    answer = run.http.post(f"/runs/{run.id}/points", {"epoch": 1, "seq": 1, "series": series})
    assert (answer.status, answer.body["code"]) == (422, "ingest.too_many_keys")
    assert cast.ada.http.get(f"/runs/{run.id}/series").body["items"] == []


def test_logs_are_numbered_without_gap_and_page_both_ways(cast: Cast, run: Running) -> None:
    for seq in (1, 2, 3):
        lines = [
            {"time": 1.7e9, "level": "info", "stream": "log", "message": f"line {seq}.{index}\x07"}
            for index in range(4)
        ]
        assert run.http.post(f"/runs/{run.id}/points", {"epoch": 1, "seq": seq, "logs": lines}).status == 200
    forward, cursor = [], ""
    while cursor is not None:
        page = cast.ada.http.get(f"/runs/{run.id}/logs?limit=5" + (f"&cursor={cursor}" if cursor else "")).body
        forward += page["items"]
        cursor = page["next_cursor"]
    assert [line["n"] for line in forward] == list(range(12))
    assert forward[4]["message"] == "line 2.0", "control characters are gone"
    last = cast.ada.http.get(f"/runs/{run.id}/logs?direction=backward&limit=3").body
    assert [line["n"] for line in last["items"]] == [9, 10, 11]
    before = cast.ada.http.get(f"/runs/{run.id}/logs?direction=backward&limit=3&cursor={last['next_cursor']}").body
    assert [line["n"] for line in before["items"]] == [6, 7, 8]
    found = cast.ada.http.get(f"/runs/{run.id}/logs?q=3.1").body["items"]
    assert [line["n"] for line in found] == [9]


def test_the_answer_carries_what_the_owner_wants(cast: Cast, run: Running) -> None:
    assert run.points(1).body["intent"] == "run"
    cast.ada.http.post(f"/runs/{run.id}/cancel")
    assert run.points(2).body["intent"] == "cancel"


def test_points_of_a_managed_run_come_from_its_node_alone(cast: Cast, run: Running) -> None:
    answer = cast.ada.http.post(f"/runs/{run.id}/points", {"epoch": 1, "seq": 1})
    assert (answer.status, answer.body["code"]) == (422, "run.managed")
