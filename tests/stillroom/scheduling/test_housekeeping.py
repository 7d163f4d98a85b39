"""The scheduler's process does other apps' chores, survives their failures, and ends when it is told to."""

from __future__ import annotations

import threading

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from stillroom.scheduling.management.commands import scheduler
from stillroom.telemetry.models import SeriesChunk
from support.cast import Cast, in_tenant
from support.logged import logged

done: list[str] = []


def fails(*, stop: threading.Event) -> None:
    done.append("failed")
    raise OSError("disk away")


def ends(*, stop: threading.Event) -> None:
    done.append("ended")
    stop.set()


def test_every_chore_of_the_settings_is_there() -> None:
    assert [callable(import_string(name)) for name in settings.HOUSEKEEPING] == [True] * len(settings.HOUSEKEEPING)


def test_a_failing_chore_stops_no_other(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    run = logged(cast.ada)
    for step in range(40):
        run.write("loss", [step], [1.0])
    run.end()
    done.clear()
    monkeypatch.setattr(scheduler, "HOUSEKEEPING_EVERY_S", 0)
    chores = (f"{__name__}.fails", *settings.HOUSEKEEPING, f"{__name__}.ends")
    monkeypatch.setattr(settings, "HOUSEKEEPING", chores)
    found = {f"{__name__}.fails": fails, f"{__name__}.ends": ends}
    monkeypatch.setattr(scheduler, "import_string", lambda name: found.get(name) or import_string(name))
    scheduler.keep_house(threading.Event())
    assert done == ["failed", "ended"]
    with in_tenant(cast.ada):
        assert SeriesChunk.objects.filter(run_id=run.id).count() == 1
