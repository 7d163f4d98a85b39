"""`manage.py notifier`: looks which alert rules hold and sends what they found."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from django.core.management.base import BaseCommand
from django.db import OperationalError, connections
from psycopg_pool import PoolTimeout

from stillroom.alerts.services.deliver import claim, deliver
from stillroom.alerts.services.sweep import sweep

log = structlog.get_logger(__name__)

TICK_S = 2.0
SENDERS = 4


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT. Several may run: each message is claimed by one."""

    help = "Evaluate alert rules and deliver what they found by mail and webhook. Runs until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        log.info("notifier.started")
        with ThreadPoolExecutor(SENDERS, thread_name_prefix="send") as pool:
            while not stop.is_set():
                try:
                    sweep()
                    while not stop.is_set() and (due := claim(SENDERS)):
                        list(pool.map(_deliver, due))
                except (OperationalError, PoolTimeout) as error:
                    log.warning("notifier.database_away", error=str(error))
                stop.wait(TICK_S)
        log.info("notifier.stopped")


def _deliver(due: tuple[str, str]) -> None:
    """One message; a defect in one does not keep the others back, and a database that is away is met again."""
    try:
        deliver(*due)
    except (OperationalError, PoolTimeout) as error:
        log.warning("notifier.database_away", error=str(error))
    except Exception:
        log.exception("notifier.crashed", delivery=due[0])
    finally:
        connections.close_all()
