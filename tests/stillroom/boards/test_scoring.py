"""Performance profiles: the closed form against the integral, misses, and what a new method changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillroom.boards.scoring import profile, ratios, scores, speedups, time_to_target

INF = math.inf
# A busy machine draws slowly; that is no failure of what is drawn.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
times_of = st.dictionaries(
    st.sampled_from(["adam", "sonew", "sketchy", "sgd"]),
    st.one_of(st.floats(0.5, 500), st.just(INF)),
    min_size=1,
)
tables = st.dictionaries(st.sampled_from("abcde"), times_of, min_size=1)


def test_the_fastest_everywhere_scores_one_and_who_never_arrives_zero() -> None:
    table = {"a": {"fast": 10.0, "slow": 40.0, "lost": INF}, "b": {"fast": 3.0, "slow": 6.0, "lost": INF}}
    assert scores(table) == {"fast": 1.0, "slow": pytest.approx((0 + 2 / 3) / 2), "lost": 0.0}


@unhurried
@given(tables)
def test_the_closed_form_is_the_area_under_the_profile(table: dict[str, dict[str, float]]) -> None:
    areas = {}
    for method, corners in profile(table).items():
        taus, shares = np.array(corners).T
        areas[method] = float(np.sum(np.diff(taus) * shares[:-1])) / 3
    assert scores(table) == pytest.approx(areas, abs=1e-12)


@unhurried
@given(tables)
def test_scores_lie_between_zero_and_one_and_do_not_depend_on_the_unit(table: dict[str, dict[str, float]]) -> None:
    found = scores(table)
    assert all(0 <= value <= 1 for value in found.values())
    doubled = {workload: {method: 2 * time for method, time in row.items()} for workload, row in table.items()}
    assert scores(doubled) == pytest.approx(found)


def test_a_miss_takes_part_in_the_median() -> None:
    assert time_to_target({0: [5.0, 3.0], 1: [INF, 9.0], 2: [INF]}) == 9.0
    assert time_to_target({0: [5.0], 1: [INF], 2: [INF]}) == INF
    assert time_to_target({0: [5.0], 1: []}) == INF
    assert time_to_target({}) == INF


def test_where_nobody_arrives_nobody_gains() -> None:
    table = {"easy": {"one": 1.0, "other": 2.0}, "hard": {"one": INF, "other": INF}}
    assert scores(table)["one"] == 0.5
    assert set(ratios(table)["hard"].values()) == {INF}


def test_a_method_that_skipped_a_workload_missed_it() -> None:
    table = {"a": {"one": 1.0, "other": 1.0}, "b": {"one": 1.0}}
    assert scores(table) == {"one": 1.0, "other": 0.5}


def test_a_faster_method_lowers_the_others() -> None:
    before = scores({"a": {"adam": 10.0}})
    after = scores({"a": {"adam": 10.0, "sonew": 5.0}})
    assert before["adam"] == 1.0
    assert after["adam"] == pytest.approx(2 / 3)


@unhurried
@given(tables, st.floats(1, 1000))
def test_a_slower_method_changes_no_other_score(table: dict[str, dict[str, float]], times: float) -> None:
    with_slower = {
        workload: row | {"new": min(row.values()) * times if row else INF} for workload, row in table.items()
    }
    found = scores(with_slower)
    assert {method: score for method, score in found.items() if method != "new"} == pytest.approx(scores(table))


@unhurried
@given(times_of)
def test_from_r_max_on_a_method_scores_nothing(row: dict[str, float]) -> None:
    fastest = min(row.values())
    found = scores({"a": row})
    assert all(found[method] == 0 for method, time in row.items() if not time < 4 * fastest)


@unhurried
@given(st.lists(st.one_of(st.floats(0.5, 50), st.just(INF)), min_size=1, max_size=6))
def test_the_only_method_scores_its_share_of_workloads(times: list[float]) -> None:
    table = {str(index): {"alone": time} for index, time in enumerate(times)}
    assert scores(table)["alone"] == pytest.approx(sum(map(math.isfinite, times)) / len(times))


@unhurried
@given(tables)
def test_the_closed_form_equals_fine_numeric_integration(table: dict[str, dict[str, float]]) -> None:
    """Straight from the definition of rho, without the profile's corners."""
    taus = np.linspace(1, 4, 30_001)
    taus = (taus[:-1] + taus[1:]) / 2
    found, relative = scores(table), ratios(table)
    for method in found:
        shares = np.mean([row[method] <= taus for row in relative.values()], axis=0)
        assert found[method] == pytest.approx(float(shares.mean()), abs=2e-4)


def test_speedups_are_over_the_workloads_where_both_arrived() -> None:
    table = {"a": {"adam": 8.0, "sonew": 2.0}, "b": {"adam": 9.0, "sonew": 9.0}, "c": {"adam": INF, "sonew": 1.0}}
    assert speedups(table, reference="adam") == {"adam": pytest.approx(1.0), "sonew": pytest.approx(2.0)}
    assert speedups({"a": {"adam": INF, "sonew": 1.0}}, reference="adam")["sonew"] is None


@pytest.mark.parametrize("time", [0.0, -1.0, math.nan])
def test_a_time_that_is_none_is_refused(time: float) -> None:
    with pytest.raises(ValueError, match="adam on a"):
        scores({"a": {"adam": time}})
    with pytest.raises(ValueError, match="r_max"):
        scores({"a": {"adam": 1.0}}, r_max=1.0)
