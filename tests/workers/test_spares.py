"""Spare interpreters: warm, used once, replaced when they die. With the real model core."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models_core.events import read_line
from workers.sandbox.environment import scrubbed
from workers.sandbox.leftovers import Ledger
from workers.sandbox.spares import Spares
from workers.sandbox.spawn import Limits, Nursery


@pytest.fixture
def spares(ledger: Ledger, tmp_path: Path) -> Iterator[Spares]:
    made = Spares(Nursery(ledger, Limits()), 1, scrubbed(os.environ), tmp_path)
    yield made
    made.close()
    assert list((tmp_path / "processes").iterdir()) == []


def warmed(spares: Spares) -> Callable[[], bool]:
    def look() -> bool:
        spares.maintain()
        return spares.ready == 1

    return look


def test_a_spare_runs_one_order_and_is_not_given_out_twice(
    spares: Spares, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    assert spares.take() is None
    eventually(warmed(spares), timeout_s=60.0)
    child = spares.take()
    assert child is not None
    assert spares.take() is None
    order = {"request": {"recipe": "no_such_recipe"}, "workdir": str(tmp_path / "w"), "resume": None, "env": {"A": "b"}}
    child.order(json.dumps(order).encode() + b"\n")
    os.set_blocking(child.events, True)
    with os.fdopen(os.dup(child.events), "rb") as stream:
        (end,) = [read_line(line) for line in stream]
    assert (end["type"], end["error"]["code"]) == ("end", "recipe.unknown")
    assert child.reap() == 2
    child.close()
    Ledger(tmp_path / "processes").forget(child.tag)


def test_a_spare_that_died_is_not_given_out_and_is_replaced(
    spares: Spares, tmp_path: Path, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sandbox.spares.BACKOFF_CAP_S", 0.0)
    eventually(warmed(spares), timeout_s=60.0)
    (record,) = (tmp_path / "processes").iterdir()
    pid = json.loads(record.read_text())["pid"]
    os.kill(pid, 9)
    eventually(spares._ready[0].has_exited)
    assert spares.take() is None
    monkeypatch.setattr("workers.sandbox.spares.REPLACE_AFTER_S", 0.0)
    spares._not_before = 0.0
    eventually(warmed(spares), timeout_s=60.0)


def test_spares_that_cannot_live_are_not_started_in_a_loop(
    ledger: Ledger, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    broken = Spares(Nursery(ledger, Limits()), 1, {"PYTHONHOME": "/nowhere"}, tmp_path)
    starts: set[str] = set()

    def look() -> bool:
        broken.maintain()
        starts.update(path.name for path in (tmp_path / "processes").iterdir())
        return broken._failures == 1

    eventually(look)
    for _ in range(50):
        look()
    assert len(starts) == 1
    broken.close()
