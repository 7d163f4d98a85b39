"""The run table: the right cells, page by page, also for values that are not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillroom.core.frames import MEDIA_TYPE, decode_frame
from stillroom.core.tenancy import tenant_tx
from stillroom.telemetry.selectors.values import values_at
from stillroom.telemetry.services.fold import run_fold
from support.cast import PROJECT, Cast
from support.logged import logged

PLACE = f"/orgs/aster/projects/{PROJECT}"


def table(cast: Cast, **asked: Any) -> Any:
    answer = cast.ada.http.post(f"{PLACE}/table", asked)
    assert answer.status == 200, answer.text
    return answer.body


def test_cells_of_every_kind(cast: Cast) -> None:
    first, second = logged(cast.ada, name="first"), logged(cast.ada, name="second")
    first.batch({"loss": ([1, 5, 9], [3.0, 1.0, 2.0], None), "acc": ([9], [0.5], None)})
    second.write("loss", [1, 2], [math.inf, math.nan])
    kinds = ("last", "min", "max", "n")
    columns = [{"key": "loss", "what": what} for what in kinds]
    columns += [{"key": "loss", "what": "at", "step": 6}, {"key": "acc", "what": "last"}]
    answer = table(cast, columns=columns, sort="name")
    assert [run["name"] for run in answer["runs"]] == ["first", "second"]
    cells = {(column["key"], column["what"]): (column["value"], column["at"]) for column in answer["columns"]}
    assert cells["loss", "last"] == ([2.0, "NaN"], [9, 2])
    assert cells["loss", "min"] == ([1.0, None], [5, None])
    assert cells["loss", "max"] == ([3.0, None], [1, None])
    assert cells["loss", "n"] == ([3, 2], [9, 2])
    assert cells["loss", "at"] == ([1.0, "NaN"], [5, 2])
    assert cells["acc", "last"] == ([0.5, None], [9, None])
    binary = cast.ada.http.post(f"{PLACE}/table", {"columns": columns, "sort": "name"}, headers={"Accept": MEDIA_TYPE})
    header, data = decode_frame(binary.response.content)
    assert header["total"] == 2
    data = data.reshape(len(columns), 3, 2)
    assert data[1].tolist()[0][0] == 1.0
    assert data[:, 2].tolist()[5] == [1.0, 0.0], "which runs have a value"


@pytest.mark.parametrize("sort", ["metric:loss", "-metric:loss", "min:loss", "-max:loss"])
def test_pages_meet_without_gap_or_overlap_whatever_the_values(cast: Cast, sort: str) -> None:
    values = [3.0, math.nan, 1.0, math.inf, None, 1.0, -math.inf, None]
    for value in values:
        run = logged(cast.ada)
        if value is not None:
            run.write("loss", [1], [value])
    whole = [run["id"] for run in table(cast, sort=sort)["runs"]]
    assert len(set(whole)) == len(values)
    seen: list[str] = []
    cursor = None
    while True:
        page = table(cast, sort=sort, limit=3, cursor=cursor)
        seen += [run["id"] for run in page["runs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == whole


def test_keys_are_walked_and_searched(cast: Cast) -> None:
    run, thrown = logged(cast.ada), logged(cast.ada)
    run.batch({f"layer/{index:03d}": ([1], [1.0], None) for index in range(30)})
    thrown.write("gone", [1], [1.0])
    thrown.end()
    cast.ada.http.delete(f"/runs/{thrown.id}")
    first = cast.ada.http.get(f"{PLACE}/metric-keys?limit=20").body
    rest = cast.ada.http.get(f"{PLACE}/metric-keys?limit=20&cursor={first['next_cursor']}").body
    assert first["items"] + rest["items"] == [f"layer/{index:03d}" for index in range(30)]
    assert rest["next_cursor"] is None
    assert cast.ada.http.get(f"{PLACE}/metric-keys?q=R/01").body["items"] == [f"layer/{n:03d}" for n in range(10, 20)]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), n=st.integers(1, 3000), batches=st.integers(1, 6), shuffled=st.booleans())
def test_a_value_at_a_step_is_the_last_one_that_came_at_or_before(
    cast: Cast, seed: int, n: int, batches: int, shuffled: bool
) -> None:
    rng = np.random.default_rng(seed)
    step = rng.integers(0, n, n)
    step = step if shuffled else np.sort(step)
    value = rng.standard_normal(n)
    run = logged(cast.ada)
    for part in np.array_split(np.arange(n), min(n, batches)):
        run.write("loss", step[part], value[part])
    asked = [-1, 0, int(rng.integers(0, n)), n]
    for _ in range(2):
        for at in asked:
            rows = [(int(s), float(v)) for s, v in zip(step, value, strict=True) if s <= at]
            best = max((s for s, _ in rows), default=None)
            expected = {run.id: [row for row in rows if row[0] == best][-1]} if rows else {}
            with tenant_tx(cast.ada.tenant):
                assert values_at([run.id], "loss", at) == expected
        run.end()
        run_fold(tenant_id=cast.ada.tenant, run_id=run.id)


@pytest.mark.parametrize("column", [{"key": "a", "what": "at"}, {"key": "a", "what": "last", "step": 3}, {"key": ""}])
def test_a_column_that_makes_no_sense_is_refused_at_its_place(cast: Cast, column: dict[str, Any]) -> None:
    answer = cast.ada.http.post(f"{PLACE}/table", {"columns": [column]})
    assert answer.status == 422
    assert next(iter(answer.body["fields"])).startswith("columns.0")
