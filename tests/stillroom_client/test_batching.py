"""When a batch is due, and what is in it."""

from __future__ import annotations

import math

from stillroom_client.batching import LINGER_S, MAX_BYTES, MAX_POINTS, Batcher, Content
from stillroom_client.points import LogLine, Series, decode_batch


def test_an_empty_batch_is_never_due() -> None:
    batcher = Batcher(0.0)
    assert batcher.due_at(1.0) is None
    assert batcher.take(5.0) is None


def test_after_a_quiet_time_the_first_event_goes_at_once() -> None:
    batcher = Batcher(0.0)
    batcher.add_points(1, 9.0, {"a": 1.0}, now=100.0)
    assert batcher.due_at(1.0) == 100.0 + LINGER_S


def test_events_soon_after_a_flush_wait_for_the_interval() -> None:
    batcher = Batcher(0.0)
    batcher.add_points(1, 9.0, {"a": 1.0}, now=100.0)
    batcher.take(100.1)
    batcher.add_points(2, 9.0, {"a": 1.0}, now=100.2)
    assert batcher.due_at(1.0) == 101.1
    assert batcher.due_at(0.2) == 100.1 + 0.2


def test_a_full_batch_goes_at_once() -> None:
    batcher = Batcher(0.0)
    batcher.take(99.9)
    for step in range(MAX_POINTS):
        batcher.add_points(step, 9.0, {"a": 1.0}, now=0.1)
    assert batcher.due_at(60.0) == 0.0


def test_a_heavy_batch_goes_at_once() -> None:
    batcher = Batcher(0.0)
    for _ in range(1 + MAX_BYTES // 8000):
        batcher.add_log(LogLine(9.0, "info", "log", "x" * 8000), now=0.1)
    assert batcher.due_at(60.0) == 0.0


def test_a_full_batch_is_far_below_what_the_platform_takes() -> None:
    batcher = Batcher(0.0)
    now = 0.1
    while batcher.due_at(60.0) != 0.0:
        batcher.add_points(2**62, 1e9 + 0.123, {f"{'k' * 250}{n:05d}": math.pi for n in range(500)}, now)
    content = batcher.take(now)
    assert content is not None
    assert len(content.encode(1, 1)) < 4 * 1024 * 1024


def test_points_become_columns_in_order_and_only_the_newest_progress_counts() -> None:
    batcher = Batcher(0.0)
    for step in (3, 1, 2):
        batcher.add_points(step, step + 0.5, {"a": float(step), "b": -1.0}, now=0.0)
        batcher.set_progress({"step": step, "total": 3, "note": ""}, now=0.0)
    content = batcher.take(1.0)
    assert content is not None
    batch = decode_batch(content.encode(4, 2))
    assert batch["series"][0] == {"key": "a", "step": [3, 1, 2], "value": [3.0, 1.0, 2.0], "time": [3.5, 1.5, 2.5]}
    assert batch["progress"]["step"] == 2
    assert (batch["epoch"], batch["seq"]) == (4, 2)


def test_coalescing_keeps_first_lowest_highest_and_last() -> None:
    values = [5.0, 1.0, math.nan, 9.0, 4.0, 4.5]
    content = Content(series=[Series("a", list(range(6)), values, [0.0] * 6), Series("b", [1], [math.nan], [0.0])])
    long, short = content.coalesced().series
    assert list(long.value) == [5.0, 1.0, 9.0, 4.5]
    assert list(long.step) == [0, 1, 3, 5]
    assert len(short.step) == 1


def test_coalescing_a_series_of_nothing_but_nan_keeps_its_ends() -> None:
    content = Content(series=[Series("a", list(range(9)), [math.nan] * 9, [0.0] * 9)])
    assert list(content.coalesced().series[0].step) == [0, 8]
