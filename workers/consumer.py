"""Listens for wake-ups on the node's own queue. When it is deaf or dead, the node is slower, not stopped: it polls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from celery.worker import WorkController, state

from workers.app import create_app

log = logging.getLogger(__name__)

RESTART_CAP_S = 60.0


class WakeConsumer:
    """A Celery worker in a thread of the agent.

    Its pool is `solo`: the task only hands over to the agent, and so never occupies the consumer for longer than that.
    """

    def __init__(self, broker_url: str, queue: str, execute: Callable[[str, int], None]) -> None:
        self._broker_url = broker_url
        self._queue = queue
        self._execute = execute
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wakes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more wake-ups; returns at once."""
        self._stopped.set()
        state.should_stop = 0

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            app = create_app(self._broker_url, self._queue, self._execute)
            try:
                worker = WorkController(
                    app=app,
                    hostname=f"agent@{self._queue}",
                    pool_cls="solo",
                    concurrency=1,
                    queues=[self._queue],
                    without_gossip=True,
                    without_mingle=True,
                    without_heartbeat=True,
                )
                worker.start()
            except Exception:
                log.exception("the consumer of wake-ups ended; the node polls meanwhile")
            failures += 1
            self._stopped.wait(min(RESTART_CAP_S, 2.0**failures))
