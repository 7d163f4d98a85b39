"""Event lines from a process that may say anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_core.events import to_line
from stillroom_client.batching import Batcher, Content
from workers.sandbox.intake import MAX_KEYS, MAX_LINE_BYTES, Intake


class Heard:
    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []

    def on_artifact(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)

    def on_checkpoint(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)

    def on_end(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)


def taken(*chunks: bytes) -> tuple[Content, Heard]:
    batcher, heard = Batcher(0.0), Heard()
    intake = Intake(batcher, heard, now=0.0)
    for chunk in chunks:
        intake.feed(chunk, 0.0, 1000.0)
    return batcher.take(1.0) or Content(), heard


def test_a_metric_cut_at_any_byte_arrives_once() -> None:
    line = to_line("metric", step=3, time=5.0, values={"a": "NaN", "b": 2.0})
    for cut in range(len(line)):
        content, _ = taken(line[:cut], line[cut:])
        assert [(one.key, list(one.step), list(one.time)) for one in content.series] == [
            ("a", [3], [5.0]),
            ("b", [3], [5.0]),
        ]
        assert math.isnan(content.series[0].value[0])


def test_logs_progress_and_the_rest_find_their_place() -> None:
    content, heard = taken(
        to_line("log", level="error", message="bad\x1b[0m", time=4.0)
        + to_line("log", level="shout", message="?")
        + to_line("progress", step=1, total=9, note="n" * 600)
        + to_line("artifact", name="a", path="p", media_type="m", size_bytes=1, sha256="0")
        + to_line("checkpoint", step=1, path="c", files=[])
        + to_line("end", status="succeeded", error=None)
    )
    assert [(line.time, line.level, line.message) for line in content.logs] == [
        (4.0, "error", "bad"),
        (1000.0, "info", "?"),
    ]
    assert content.progress is not None
    assert len(content.progress["note"]) == 500
    assert [event["type"] for event in heard.events] == ["artifact", "checkpoint", "end"]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b'{"type": 3}',
        b'{"type": "metric"}',
        b'{"type": "metric", "step": true, "values": {"a": 1}}',
        b'{"type": "metric", "step": 1.5, "values": {"a": 1}}',
        b'{"type": "metric", "step": 9223372036854775808, "values": {"a": 1}}',
        b'{"type": "metric", "step": 1, "values": {"a": "many"}}',
        b'{"type": "metric", "step": 1, "values": [1]}',
        b'{"type": "progress", "step": null, "total": 1}',
        b"[" * 100_000,
    ],
)
def test_a_bad_line_is_reported_once_and_the_next_is_read(line: bytes) -> None:
    good = to_line("metric", step=1, time=1.0, values={"ok": 1.0})
    content, _ = taken(line + b"\n" + line + b"\n" + good)
    assert [one.key for one in content.series] == ["ok"]
    assert len(content.logs) == 1
    assert content.logs[0].level == "warning"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_values_make_a_batch_that_can_be_encoded(value: Any) -> None:
    event = {"type": "metric", "step": value, "time": value, "values": {"a": value, str(value): 1.0}}
    content, _ = taken(json.dumps(event).encode() + b"\n", b'{"type":"log","message":"\\ud800"}\n')
    assert content.encode(1, 1)


def test_keys_that_the_platform_would_refuse_are_left_out() -> None:
    values = {"": 1.0, "x" * 257: 1.0, "a\nb": 1.0, "fine/ключ": 1.0}
    content, _ = taken(to_line("metric", step=1, time=1.0, values=values))
    assert [one.key for one in content.series] == ["fine/ключ"]
    assert len(content.logs) == 1


def test_keys_are_counted_for_the_whole_run() -> None:
    batches = [to_line("metric", step=n, time=1.0, values={f"k{n}.{i}": 1.0 for i in range(1000)}) for n in range(11)]
    content, _ = taken(*batches)
    assert len(content.series) == MAX_KEYS
    assert str(MAX_KEYS) in content.logs[-1].message


def test_an_endless_line_is_dropped_and_the_next_is_read() -> None:
    blocks = [b"x" * 1_000_000] * (MAX_LINE_BYTES // 1_000_000 + 2)
    content, _ = taken(*blocks, b"tail\n" + to_line("metric", step=1, time=1.0, values={"ok": 1.0}))
    assert [one.key for one in content.series] == ["ok"]


def test_times_beyond_reason_are_replaced() -> None:
    content, _ = taken(to_line("metric", step=1, time=1e300, values={"a": 1.0}))
    assert list(content.series[0].time) == [1000.0]
