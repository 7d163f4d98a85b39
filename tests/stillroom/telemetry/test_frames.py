"""Frames, folding and charts from summaries: never another answer than that of reading every point."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillroom.core.tenancy import tenant_tx
from stillroom.runs.models import Attempt, Run
from stillroom.telemetry.blocks import FRAME, decode_chunk, encode_chunk, read_table
from stillroom.telemetry.codec import Points
from stillroom.telemetry.models import SeriesChunk
from stillroom.telemetry.selectors import frames
from stillroom.telemetry.selectors.charts import ChartQuery, ChartSeries, chart
from stillroom.telemetry.selectors.replay import Position, deltas
from stillroom.telemetry.services.fold import fold_pass, run_fold
from support.cast import Cast
from support.logged import Logged, logged, stored
from support.threads import at_once


def oracle(points: Points, axis: str, limits: tuple[float, float] | None, budget: int) -> dict[str, Any]:
    """What a chart shows, by the words of the wire reference: one Python step for each point."""
    origin = points.time[0]
    x_of = {"step": points.step.astype(float), "time": points.time, "relative": points.time - origin}[axis]
    rows = sorted(zip(x_of.tolist(), points.value.tolist(), points.step.tolist(), strict=True), key=lambda row: row[0])
    if limits is not None:
        rows = [row for row in rows if limits[0] <= row[0] <= limits[1]]
    finite = [row for row in rows if np.isfinite(row[1])]
    lost = [(row[2], row[0]) for row in rows if not np.isfinite(row[1])]
    if len(rows) <= budget:
        return {"n": len(rows), "exact": True, "per_bucket": 1, "points": rows, "lost": lost}
    buckets = max(1, budget // 4)
    inside: dict[int, list[int]] = {}
    for place, (x, _, _) in enumerate(finite):
        width = (finite[-1][0] - finite[0][0]) / buckets
        bucket = min(int((x - finite[0][0]) / width), buckets - 1) if width > 0 else 0
        inside.setdefault(bucket, []).append(place)
    kept: set[int] = set()
    for places in inside.values():
        kept |= {places[0], places[-1]}
        kept |= {min(places, key=lambda place: finite[place][1]), max(places, key=lambda place: finite[place][1])}
    fullest = max((len(places) for places in inside.values()), default=0)
    points_shown = [finite[place] for place in sorted(kept)]
    return {"n": len(rows), "exact": False, "per_bucket": fullest, "points": points_shown, "lost": lost}


def drawn(run: Logged, axis: str, limits: tuple[float, float] | None, budget: int) -> ChartSeries | None:
    query = ChartQuery([run.id], ["loss"], x=axis, range=limits, max_points=budget)
    with tenant_tx(run.person.tenant):
        found = chart(query, list(Run.objects.filter(id=run.id))).series
    assert len(found) <= 1
    return found[0] if found else None


def check(line: ChartSeries | None, expected: dict[str, Any]) -> None:
    if line is None:  # no chunk reaches into the range
        assert expected["n"] == 0
        return
    assert (line.n, line.exact, line.per_bucket) == (expected["n"], expected["exact"], expected["per_bucket"])
    assert line.x.tolist() == [row[0] for row in expected["points"]]
    np.testing.assert_array_equal(line.value, [row[1] for row in expected["points"]])
    assert line.non_finite_n == len(expected["lost"])
    assert [(item["step"], item["x"]) for item in line.non_finite] == expected["lost"][:100]


def series(seed: int, n: int, shape: str) -> Points:
    rng = np.random.default_rng(seed)
    step = np.cumsum(rng.integers(0, 3, n)) if shape == "ties" else np.arange(n)
    if shape == "shuffled":
        step = rng.permutation(n)
    value = np.round(rng.standard_normal(n), 1)
    value[rng.integers(0, n, 3)] = [1e9, -1e9, 0.0]
    if shape == "lost":
        value[rng.integers(0, n, max(1, n // 3))] = np.nan
        value[rng.integers(0, n, 2)] = [np.inf, -np.inf]
    return Points(step, value, np.round(1.7e9 + np.cumsum(rng.uniform(0, 2, n)), 6))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 6000),
    shape=st.sampled_from(["plain", "ties", "shuffled", "lost"]),
    batches=st.integers(1, 40),
    axis=st.sampled_from(["step", "time", "relative"]),
)
def test_a_chart_equals_the_oracle_before_and_after_folding(
    cast: Cast, seed: int, n: int, shape: str, batches: int, axis: str
) -> None:
    points = series(seed, n, shape)
    run = logged(cast.ada)
    for part in np.array_split(np.arange(n), min(n, batches)):
        run.write("loss", points.step[part], points.value[part], points.time[part])
    run.end()
    every = stored(run, "loss")
    np.testing.assert_array_equal(every.value, points.value)
    x = {"step": every.step.astype(float), "time": every.time, "relative": every.time - every.time[0]}[axis]
    low, high = np.sort(np.random.default_rng(seed + 1).uniform(x.min(), x.max(), 2))
    asked = [(limits, budget) for limits in (None, (low, high)) for budget in (4, 40, 1000)]
    expected = [oracle(every, axis, limits, budget) for limits, budget in asked]
    for _ in range(2):
        for (limits, budget), wanted in zip(asked, expected, strict=True):
            check(drawn(run, axis, limits, budget), wanted)
        run_fold(tenant_id=cast.ada.tenant, run_id=run.id)
    with tenant_tx(cast.ada.tenant):
        assert SeriesChunk.objects.filter(run_id=run.id).count() == 1


@pytest.mark.parametrize("axis", ["step", "time", "relative"])
@pytest.mark.parametrize("resume_step", [None, -1, 0, FRAME - 1, FRAME, 1700, 9999])
def test_a_later_attempts_horizon_cuts_frames_where_it_cuts_points(
    cast: Cast, axis: str, resume_step: int | None
) -> None:
    run = logged(cast.ada)
    points = series(3, 3000, "lost")
    for part in np.array_split(np.arange(3000), 2):
        run.write("loss", points.step[part], points.value[part], points.time[part])
    with tenant_tx(cast.ada.tenant):
        first = Attempt.objects.get(run_id=run.id)
        Attempt.objects.create(
            tenant_id=cast.ada.tenant,
            run_id=run.id,
            epoch=2,
            number=2,
            resume_step=resume_step,
            assigned_at=first.assigned_at,
            claimed_at=first.assigned_at,
        )
        kept = points[points.step <= (-(2**63) if resume_step is None else resume_step)]
    if not len(kept):
        with tenant_tx(cast.ada.tenant):
            assert chart(ChartQuery([run.id], ["loss"], x=axis), list(Run.objects.filter(id=run.id))).series == []
        return
    np.testing.assert_array_equal(stored(run, "loss").step, kept.step)
    for budget in (4, 100, 5000):
        check(drawn(run, axis, None, budget), oracle(kept, axis, None, budget))


@given(n=st.integers(1, 3 * FRAME), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_a_long_chunk_comes_back_and_its_table_is_exact(n: int, seed: int) -> None:
    points = series(seed, max(n, 4), "lost")
    chunk = encode_chunk(points)
    back = decode_chunk(chunk.columns, chunk.blocks)
    np.testing.assert_array_equal(back.value, points.value)
    np.testing.assert_array_equal(back.step, points.step)
    if chunk.blocks is None:
        assert len(points) <= FRAME
        return
    for index, row in enumerate(read_table(chunk.blocks)):
        frame = points[index * FRAME : (index + 1) * FRAME]
        finite = frame.value[np.isfinite(frame.value)]
        assert (row["n"], row["finite"]) == (len(frame), len(finite))
        if len(finite):
            assert row["value"].tolist() == [finite[0], finite.min(), finite.max(), finite[-1]]


def test_a_wide_chart_of_a_long_series_reads_few_frames(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    run = logged(cast.ada)
    n = 200 * FRAME
    value = np.zeros(n)
    value[77_777] = 5.0
    run.write("loss", range(n), value)
    read: list[int] = []
    whole = frames._read
    monkeypatch.setattr(frames, "_read", lambda outline, wanted: read.extend(wanted) or whole(outline, wanted))
    line = drawn(run, "step", None, 40)
    assert dict(zip(line.x, line.value, strict=True))[77_777.0] == 5.0
    assert len(read) <= 10, "only frames across the edges of ten buckets"
    read.clear()
    assert drawn(run, "step", (77_000.0, 77_100.0), 1000).n == 101
    assert len(read) <= 2


def test_folding_keeps_a_live_runs_newest_batches_and_says_so_to_late_viewers(cast: Cast) -> None:
    run = logged(cast.ada)
    for step in range(200):
        run.write("loss", [step], [float(step)])
    assert fold_pass() > 0
    with tenant_tx(cast.ada.tenant):
        chunks = list(SeriesChunk.objects.filter(run_id=run.id).order_by("seq_lo").values_list("seq_lo", "seq_hi"))
        assert chunks[0] == (1, 72)
        assert chunks[1:] == [(seq, seq) for seq in range(73, 201)]
        assert deltas(run.id, Position(1, 40), 200) is None, "a folded batch cannot be sent alone; nothing is left out"
        assert len(deltas(run.id, Position(1, 72), 200) or []) == 128
    assert fold_pass() == 0, "nothing was written since"
    run.end()
    assert fold_pass() == 128
    np.testing.assert_array_equal(stored(run, "loss").step, np.arange(200))


def test_a_live_runs_large_batches_are_folded_as_soon_as_they_fill_a_chunk(cast: Cast) -> None:
    run = logged(cast.ada)
    for start in range(0, 150 * 1000, 1000):
        run.write("loss", range(start, start + 1000), np.zeros(1000))
    run_fold(tenant_id=cast.ada.tenant, run_id=run.id)
    with tenant_tx(cast.ada.tenant):
        sizes = list(SeriesChunk.objects.filter(run_id=run.id).order_by("seq_lo").values_list("n", flat=True))
    assert sizes == [9000, 9000] + [1000] * 132


def test_two_folders_at_once_fold_once(cast: Cast) -> None:
    run = logged(cast.ada)
    for step in range(60):
        run.write("loss", [step], [float(step)])
    run.end()
    at_once(4, lambda: run_fold(tenant_id=cast.ada.tenant, run_id=run.id))
    run_fold(tenant_id=cast.ada.tenant, run_id=run.id)
    np.testing.assert_array_equal(stored(run, "loss").step, np.arange(60))
    with tenant_tx(cast.ada.tenant):
        assert SeriesChunk.objects.filter(run_id=run.id).count() == 1


def test_a_fold_that_dies_half_way_leaves_everything(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db.models.query import QuerySet

    run = logged(cast.ada)
    for step in range(60):
        run.write("loss", [step], [float(step)])
    run.end()
    update = QuerySet.update

    def dies(self: Any, **values: Any) -> int:
        if "columns" in values:
            raise OSError("killed between delete and update")
        return update(self, **values)

    monkeypatch.setattr(QuerySet, "update", dies)
    with pytest.raises(OSError, match="killed"):
        run_fold(tenant_id=cast.ada.tenant, run_id=run.id)
    monkeypatch.undo()
    np.testing.assert_array_equal(stored(run, "loss").step, np.arange(60))
    assert run_fold(tenant_id=cast.ada.tenant, run_id=run.id) == 59


def test_a_fold_between_two_statements_of_a_chart_is_not_seen(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    run = logged(cast.ada)
    for start in range(0, 6000, 1500):
        run.write("loss", range(start, start + 1500), np.arange(start, start + 1500.0))
    run.end()
    expected = drawn(run, "step", None, 400)
    whole, calls = frames._read, []

    def folded_first(outline: Any, wanted: list[int]) -> Any:
        calls.append(1)
        if len(calls) == 1:
            at_once(1, lambda: run_fold(tenant_id=cast.ada.tenant, run_id=run.id))
        return whole(outline, wanted)

    monkeypatch.setattr(frames, "_read", folded_first)
    line = drawn(run, "step", None, 400)
    np.testing.assert_array_equal(line.x, expected.x)
    np.testing.assert_array_equal(line.value, expected.value)
    assert len(calls) >= 2


def test_groups_by_a_path_of_the_spec_with_standard_errors(cast: Cast) -> None:
    for rate, offset in ((0.1, 0.0), (0.1, 2.0), (0.2, 9.0)):
        run = logged(cast.ada, spec={"optimizer": {"lr": rate}})
        run.write("loss", [0, 1], [offset, offset + 1])
    ids = [item["id"] for item in cast.ada.http.get("/runs").body["items"]]
    asked = {"runs": ids, "keys": ["loss"], "group": "optimizer.lr", "band": "stderr"}
    groups = {group["label"]: group for group in cast.ada.http.post("/series/query", asked).body["groups"]}
    assert groups["0.1"]["n"] == [2, 2]
    assert groups["0.1"]["mean"] == [1.0, 2.0]
    assert groups["0.1"]["hi"][0] - 1.0 == pytest.approx(np.std([0, 2], ddof=1) / np.sqrt(2))
    assert groups["0.2"]["n"] == [1, 1]
