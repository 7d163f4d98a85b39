"""Downsampling and grouping: extremes survive, gaps stay, uncertainty is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.core.intervals import interval, t95
from stillroom.telemetry.selectors.charts import m4
from support.cast import Cast, attach_node, running


@given(
    value=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400),
    buckets=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_m4_keeps_every_buckets_extremes_and_ends(value: list[float], buckets: int, seed: int) -> None:
    y = np.array(value)
    x = np.sort(np.random.default_rng(seed).uniform(0, 100, len(y)))
    picked, fullest = m4(x, y, buckets)
    assert np.all(np.diff(picked) > 0)
    assert len(picked) <= 4 * buckets
    assert 1 <= fullest <= len(y)
    assert {0, len(y) - 1} <= set(picked.tolist())
    edges = np.linspace(x[0], x[-1], buckets + 1)
    place = np.minimum(np.searchsorted(edges, x, "right") - 1, buckets - 1) if x[-1] > x[0] else np.zeros(len(x), int)
    assert y[picked].min() == y.min()
    assert y[picked].max() == y.max()
    for bucket in np.unique(place)[:1]:
        inside = y[place == bucket]
        chosen = y[picked][np.isin(picked, np.flatnonzero(place == bucket))]
        assert len(chosen) >= 1
        assert inside.min() <= chosen.min()


def test_a_spike_survives_every_resolution(cast: Cast) -> None:
    run = running(cast.ada)
    steps = list(range(5000))
    value = [1.0] * 5000
    value[3217], value[411] = 99.0, -99.0
    series = [{"key": "loss", "step": steps, "value": value, "time": [1.7e9 + s for s in steps]}]
    assert run.http.post(f"/runs/{run.id}/points", {"epoch": 1, "seq": 1, "series": series}).status == 200
    for budget in (4, 8, 100, 1000):
        (line,) = query(cast, run.id, "loss", max_points=budget)["series"]
        assert (line["exact"], line["n"]) == (False, 5000)
        assert dict(zip(line["x"], line["value"], strict=True))[3217.0] == 99.0
        assert min(line["value"]) == -99.0
        assert len(line["x"]) <= budget
    (zoomed,) = query(cast, run.id, "loss", max_points=100, range=[3200, 3230])["series"]
    assert (zoomed["exact"], zoomed["n"]) == (True, 31)


def test_non_finite_values_are_kept_and_listed(cast: Cast) -> None:
    run = running(cast.ada)
    series = [
        {"key": "loss", "step": [1, 2, 3, 4], "value": [1.0, "NaN", "Infinity", "-Infinity"], "time": [1.7e9] * 4}
    ]
    run.http.post(f"/runs/{run.id}/points", {"epoch": 1, "seq": 1, "series": series})
    (line,) = query(cast, run.id, "loss")["series"]
    assert line["value"] == [1.0, "NaN", "Infinity", "-Infinity"]
    assert [(item["step"], item["value"]) for item in line["non_finite"]] == [
        (2, "NaN"),
        (3, "Infinity"),
        (4, "-Infinity"),
    ]
    summary = cast.ada.http.get(f"/runs/{run.id}").body["metrics"]["loss"]
    assert summary == {"last": "-Infinity", "min": 1.0, "max": 1.0, "last_step": 4, "n": 4}


def test_any_series_can_be_the_x_axis(cast: Cast) -> None:
    run = running(cast.ada)
    series = [
        {"key": "loss", "step": [1, 2, 3], "value": [3.0, 2.0, 1.0], "time": [1.7e9] * 3},
        {"key": "tokens", "step": [1, 3], "value": [100.0, 300.0], "time": [1.7e9] * 2},
    ]
    run.http.post(f"/runs/{run.id}/points", {"epoch": 1, "seq": 1, "series": series})
    (line,) = query(cast, run.id, "loss", x="tokens")["series"]
    assert (line["x"], line["value"]) == ([100.0, 300.0], [3.0, 1.0])


def test_a_group_is_the_mean_over_seeds_with_its_interval(cast: Cast) -> None:
    node = attach_node(slots=3)
    runs = [running(cast.ada, node, seed=seed) for seed in range(3)]
    for offset, run in enumerate(runs):
        series = [{"key": "loss", "step": [0, 10], "value": [1.0 + offset, 2.0 + offset], "time": [1.7e9] * 2}]
        run.http.post(f"/runs/{run.id}/points", {"epoch": 1, "seq": 1, "series": series})
    answer = cast.ada.http.post(
        "/series/query", {"runs": [run.id for run in runs], "keys": ["loss"], "group": "spec"}
    ).body
    (group,) = answer["groups"]
    expected = interval([1.0, 2.0, 3.0])
    assert group["x"] == [0.0, 10.0]
    assert group["mean"] == [2.0, 3.0]
    assert group["n"] == [3, 3]
    assert group["hi"][0] - group["mean"][0] == pytest.approx(expected.half_width)


def test_points_of_an_attempt_that_was_repeated_are_not_shown_twice(cast: Cast) -> None:
    run = running(cast.ada)
    files = [{"path": "c/s", "name": "s", "size_bytes": 1, "sha256": "0" * 64}]
    run.points(1, steps=[1, 2, 3, 4, 5])
    run.node.http.post(f"/agent/runs/{run.id}/checkpoint", {"epoch": 1, "step": 3, "files": files})
    run.node.finish(run.id, 1, final_seq=1, outcome="failed", error={"code": "process.killed"}, retryable=True)
    from stillroom.scheduling.services.dispatch import dispatch
    from support.cast import take
    from support.database import superuser

    with superuser() as owner:
        owner.execute("update run set not_before = null")
    dispatch()
    again = take(cast.ada, run.node, run.id)
    again.points(1, steps=[4, 5, 6])
    (line,) = query(cast, run.id, "train/loss")["series"]
    assert line["x"] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert cast.ada.http.get(f"/runs/{run.id}").body["metrics"]["train/loss"]["n"] == 6


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.7062), (4, 2.7764), (30, 2.0423), (60, 2.0003), (1000, 1.9623)]
)
def test_student_t(degrees: int, expected: float) -> None:
    assert t95(degrees) == pytest.approx(expected, abs=5e-5)


def query(cast: Cast, run: str, key: str, **more: object) -> dict[str, list[dict[str, list[float]]]]:
    answer = cast.ada.http.post("/series/query", {"runs": [run], "keys": [key], **more})
    assert answer.status == 200, answer.text
    return answer.body  # type: ignore[no-any-return]
