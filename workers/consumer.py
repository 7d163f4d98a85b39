"""Listens for wake-ups on the node's own queue. When it is deaf or dead, the node is slower, not stopped: it polls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from celery import Celery
from celery.worker import WorkController, state
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from workers.app import create_app

log = logging.getLogger(__name__)

RESTART_CAP_S = 60.0
LOOK_S = 5.0
# So many looks in a row at messages that nobody takes, and the consumer is taken for deaf.
DEAF_LOOKS = 2


class WakeConsumer:
    """A Celery worker in a thread of the agent, and a watch over it in another.

    Its pool is `solo`: the task only hands over to the agent, and so never occupies the consumer for longer than that.
    A consumer whose broker dies between a message and its acknowledgement reconnects but never reads again (kombu
    5.7.0), and nothing in it notices: so the watch compares what waits in the queue with what was heard.
    """

    def __init__(
        self, broker_url: str, queue: str, execute: Callable[[str, int], None], *, look_s: float = LOOK_S
    ) -> None:
        self._broker_url = broker_url
        self._queue = queue
        self._execute = execute
        self._look_s = look_s
        self._stopped = threading.Event()
        self._heard = 0
        self._thread = threading.Thread(target=self._run, name="wakes", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="wakes-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._watcher.start()

    def stop(self) -> None:
        """Take no more wake-ups; returns at once."""
        self._stopped.set()
        _end_worker()

    def _hear(self, run: str, epoch: int) -> None:
        self._heard += 1
        self._execute(run, epoch)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            heard = self._heard
            try:
                self._consume()
            except Exception:
                log.exception("the consumer of wake-ups ended; the node polls meanwhile")
            failures = failures + 1 if self._heard == heard else 0
            self._stopped.wait(min(RESTART_CAP_S, 2.0**failures))

    def _consume(self) -> None:
        """Until told to stop, by this object or by the watch."""
        state.should_stop = None
        if self._stopped.is_set():
            return
        app = create_app(self._broker_url, self._queue, self._hear)
        app.set_current()
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

    def _watch(self) -> None:
        app = create_app(self._broker_url, self._queue, self._hear)
        ignored = 0
        heard = self._heard
        while not self._stopped.wait(self._look_s):
            ignored = ignored + 1 if self._heard == heard and _waiting(app, self._queue) else 0
            heard = self._heard
            if ignored >= DEAF_LOOKS:
                log.warning("wake-ups wait and nobody takes them: the consumer is started anew")
                ignored = 0
                _end_worker()


def _end_worker() -> None:
    """Celery knows one worker a process, and one flag that ends its loop within a second."""
    state.should_stop = 0


def _waiting(app: Celery, queue: str) -> int:
    """Messages in the queue; 0 when the broker cannot be asked."""
    try:
        with app.connection_for_read() as connection:
            return int(connection.channel().client.llen(queue))
    except (KombuError, RedisError, OSError):
        return 0
