"""The pump: a real child on real pipes, a real spool, and nobody at the other end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stillroom_client.points import decode_batch
from stillroom_client.spool import Spool
from tests.workers.conftest import Start
from workers.sandbox.spawn import Child
from workers.sandbox.stream import Stream


class Silent:
    """Listens to nothing."""

    def on_artifact(self, event: Mapping[str, Any]) -> None: ...

    def on_checkpoint(self, event: Mapping[str, Any]) -> None: ...

    def on_end(self, event: Mapping[str, Any]) -> None: ...


def run_to_end(child: Child, spool: Spool, *, flush_s: float = 1.0) -> tuple[Stream, list[dict[str, Any]]]:
    stream = Stream(3, spool, Silent(), wake=lambda: None)
    stream.flush_s = flush_s
    stream.listen(child.events, child.stdout, child.stderr)
    deadline = time.monotonic() + 60.0
    while stream.is_open:
        stream.pump()
        assert time.monotonic() < deadline
    last = stream.finish()
    return stream, [decode_batch(spool.read(seq)) for seq in range(spool.first_seq, last + 1)]


def values_of(batches: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [
        point
        for batch in batches
        for series in batch["series"]
        if series["key"] == key
        for point in zip(series["step"], series["value"], strict=True)
    ]


def logs_of(batches: list[dict[str, Any]], stream: str) -> list[str]:
    return [line["message"] for batch in batches for line in batch["logs"] if line["stream"] == stream]


EVENTS = """
import os, sys
from models_core.events import to_line
descriptor = int(sys.argv[1])
def emit(kind, **values):
    line = to_line(kind, **values)
    while line:
        line = line[os.write(descriptor, line):]
"""


def test_everything_said_arrives_once_in_order_and_numbered(start: Start, tmp_path: Path) -> None:
    child = start(
        EVENTS + "for step in range(30000): emit('metric', step=step, time=1.0, values={'a': step, 'b': 0.5})"
    )
    _, batches = run_to_end(child, Spool(tmp_path / "spool"), flush_s=0.05)
    assert [batch["seq"] for batch in batches] == list(range(1, len(batches) + 1))
    assert {batch["epoch"] for batch in batches} == {3}
    assert values_of(batches, "a") == [(step, float(step)) for step in range(30000)]
    assert len(batches) > 3


def test_output_is_told_apart_and_ends_without_a_newline(start: Start, tmp_path: Path) -> None:
    child = start("import sys; print('out'); print('err', file=sys.stderr); sys.stdout.write('no newline')")
    _, batches = run_to_end(child, Spool(tmp_path / "spool"))
    assert logs_of(batches, "stdout") == ["out", "no newline"]
    assert logs_of(batches, "stderr") == ["err"]


def test_a_flood_of_output_neither_blocks_the_run_nor_fills_the_spool(start: Start, tmp_path: Path) -> None:
    script = EVENTS + (
        "import sys\nblock = 'x' * 99 + '\\n'\n"
        "for _ in range(1000): sys.stdout.write(block * 1000)\n"
        "emit('metric', step=1, time=1.0, values={'done': 1})"
    )
    spool = Spool(tmp_path / "spool")
    _, batches = run_to_end(start(script), spool)
    assert values_of(batches, "done") == [(1, 1.0)]
    shown, left_out = len(logs_of(batches, "stdout")), logs_of(batches, "log")
    assert shown < 20_000
    assert shown + sum(int(line.split()[0]) for line in left_out) == 1_000_000
    spool.destroy()


def test_a_full_spool_drops_logs_first_keeps_extremes_and_says_so(start: Start, tmp_path: Path) -> None:
    script = EVENTS + (
        "import math, time\n"
        "for step in range(40000):\n"
        "    emit('metric', step=step, time=1.0, values={'a': 1e6 if step == 39000 else float(step)})\n"
        "    if step % 50 == 0: emit('log', level='info', message='m' * 500)\n"
    )
    spool = Spool(tmp_path / "spool", limit_bytes=400_000, segment_bytes=50_000)
    _, batches = run_to_end(start(script), spool, flush_s=0.02)
    points = values_of(batches, "a")
    steps = [step for step, _ in points]
    assert steps == sorted(set(steps))
    assert (39000, 1e6) in points
    assert steps[-1] == 39999
    assert 1000 < len(points) < 40000
    assert [batch["seq"] for batch in batches] == list(range(1, len(batches) + 1))
    notes = [line for line in logs_of(batches, "log") if "spool was full" in line]
    assert sum(int(note.partition(" points")[0].split()[-1]) for note in notes) == 40000 - len(points)
    spool.destroy()


def test_the_first_event_after_a_quiet_time_is_spooled_at_once(start: Start, tmp_path: Path) -> None:
    child = start(
        EVENTS
        + "import time; time.sleep(1.2); emit('metric', step=1, time=time.time(), values={'a': 1}); time.sleep(9)"
    )
    spool = Spool(tmp_path / "spool")
    stream = Stream(1, spool, Silent(), wake=lambda: None)
    stream.listen(child.events, child.stdout, child.stderr)
    deadline = time.monotonic() + 30.0
    while spool.last_seq == 0:
        stream.pump()
        assert time.monotonic() < deadline
    (said_at,) = decode_batch(spool.read(1))["series"][0]["time"]
    assert time.time() - said_at < 0.3


def test_sealing_gives_the_batch_that_holds_everything_so_far(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    stream = Stream(1, spool, Silent(), wake=lambda: None)
    stream.measure(1, {"system/cpu_percent": 50.0})
    assert stream.seal() == 1
    assert stream.seal() == 1
    stream.say("warning", "two")
    assert stream.seal() == 2
    stream.finish()


def test_while_the_platform_is_behind_batches_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    stream = Stream(1, spool, Silent(), wake=lambda: None)
    stream.flush_s = 0.0
    stream.backlog = lambda: 100
    for step in range(50):
        stream.measure(step, {"a": 1.0})
        stream.pump(0.001)
    assert spool.last_seq == 0
    stream.backlog = lambda: 0
    time.sleep(0.05)
    stream.pump(0.001)
    assert spool.last_seq == 1
    stream.finish()
