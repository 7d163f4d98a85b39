"""`manage.py scheduler`: the loop that assigns runs, reaps silent attempts and wakes nodes again."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, OperationalError, connections
from django.utils.module_loading import import_string

from stillroom.runs.services.transition import QUEUE_CHANNEL
from stillroom.scheduling.services.dispatch import dispatch, sweep
from stillroom.scheduling.services.reap import SKEW_S, reap

log = structlog.get_logger(__name__)

TICK_S = 2.0
CHORES_EVERY_S = 5.0
HOUSEKEEPING_EVERY_S = 20.0


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT. Several may run; one decides at a time."""

    help = "Assign queued runs to nodes, requeue lost ones, wake nodes again. Runs until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        log.info("scheduler.started")
        keeper = threading.Thread(target=keep_house, args=[stop], name="housekeeping", daemon=True)
        keeper.start()
        patience = Patience()
        chores_at = 0.0
        while not stop.is_set():
            try:
                with psycopg.connect(
                    settings.ENV.role_url("stillroom_sched"), autocommit=True, connect_timeout=5
                ) as listener:
                    listener.execute(f"listen {QUEUE_CHANNEL}")
                    while not stop.is_set():
                        while dispatch():
                            pass
                        if time.monotonic() >= chores_at:
                            chores_at = time.monotonic() + CHORES_EVERY_S
                            sweep()
                            if patience.may_reap():
                                reap()
                        for _ in listener.notifies(timeout=TICK_S, stop_after=1):
                            pass
            except (OperationalError, psycopg.OperationalError) as error:
                log.warning("scheduler.database_away", error=str(error))
                patience.interrupted()
                stop.wait(1.0)
        keeper.join(timeout=10)
        log.info("scheduler.stopped")


def keep_house(stop: threading.Event) -> None:
    """Run what other apps have to do in the background (settings.HOUSEKEEPING), one after the other, until stopped.

    Each piece takes the event and returns early when it is set; a failing one is logged and tried again next time.
    """
    chores = [(name, import_string(name)) for name in settings.HOUSEKEEPING]
    while not stop.wait(HOUSEKEEPING_EVERY_S):
        for name, chore in chores:
            try:
                chore(stop=stop)
            except (DatabaseError, OSError) as error:
                log.warning("housekeeping.failed", chore=name, error=str(error))
            except Exception:
                log.exception("housekeeping.crashed", chore=name)
            if stop.is_set():
                break
    connections.close_all()


class Patience:
    """After a gap of its own or of the database the reaper waits one full lease: nobody could have renewed
    meanwhile.
    """

    def __init__(self) -> None:
        self._lease_s = settings.ENV.lease_s + SKEW_S
        self._quiet_until = time.monotonic() + self._lease_s
        self._last = time.monotonic()

    def interrupted(self) -> None:
        """The database was away."""
        self._quiet_until = time.monotonic() + self._lease_s

    def may_reap(self) -> bool:
        """Whether leases that look expired really are."""
        now = time.monotonic()
        if now - self._last > self._lease_s / 2:
            self.interrupted()
        self._last = now
        return now >= self._quiet_until
