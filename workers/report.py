"""Ends an attempt on the platform: only after everything it said has arrived."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from stillroom_client.agent import AgentApi
from stillroom_client.errors import ApiError, ConnectionFailed
from stillroom_client.transport import Retries
from workers.sandbox.outcome import Outcome
from workers.sandbox.sender import Sender

log = logging.getLogger(__name__)

PATIENCE = Retries(base_s=0.5, cap_s=10.0)
LOOK_S = 0.5


class Announcer:
    """Calls in order, made by threads of their own. Failures are only logged: heartbeats decide what is true."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._last: threading.Thread | None = None

    def say(self, call: Callable[[], None], what: str) -> None:
        """Make the call after those before it; returns at once."""
        with self._lock:
            before = self._last
            self._last = threading.Thread(
                target=self._make, args=(call, what, before), name=f"announce-{self._name}", daemon=True
            )
            self._last.start()

    def wait(self, timeout_s: float) -> None:
        """Until everything said has been answered."""
        with self._lock:
            last = self._last
        if last is not None:
            last.join(timeout_s)

    def _make(self, call: Callable[[], None], what: str, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            call()
        except (ApiError, ConnectionFailed) as error:
            log.warning("%s: %s: %s", self._name, what, error)


def report_end(
    agent: AgentApi,
    sender: Sender,
    run: str,
    epoch: int,
    outcome: Outcome,
    final_seq: int,
    *,
    is_over: Callable[[], bool],
) -> str | None:
    """Deliver what is left and finish; gives the run's new state, or None when the attempt was over before.

    Goes on until it works, is refused for good, or `is_over`. A tail that the platform has lost is sent once more.
    """
    failures = 0
    while not is_over():
        if not sender.wait_for(final_seq, LOOK_S):
            continue
        retry_after_s: float | None = None
        try:
            return agent.finish(
                run,
                epoch,
                outcome=outcome.outcome,
                final_seq=final_seq,
                exit_code=outcome.exit_code,
                error=outcome.error,
                retryable=outcome.retryable,
            )
        except ConnectionFailed as error:
            log.warning("%s: finish: %s", run, error)
        except ApiError as error:
            last_seq = error.body.get("last_seq")
            if error.code == "run.tail_missing" and isinstance(last_seq, int) and sender.rewind(last_seq + 1):
                continue
            log.warning("%s: finish: %s", run, error)
            if not error.may_pass:
                return None
            retry_after_s = error.retry_after_s
        failures += 1
        _sleep(PATIENCE.pause_s(failures, retry_after_s), is_over)
    return None


def _sleep(pause_s: float, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + pause_s
    while not is_over() and time.monotonic() < deadline:
        time.sleep(min(LOOK_S, pause_s))
