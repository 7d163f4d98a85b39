"""The node's one loop: a heartbeat for all runs together, and a look at what is assigned. It needs no messages."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from stillroom_client.agent import AgentApi, Assignment, Attached
from stillroom_client.errors import ApiError, ConnectionFailed
from workers.attempt import Attempt

log = logging.getLogger(__name__)

POLL_S = (15.0, 30.0)
JITTER = (0.8, 1.2)
CALL_TIMEOUT_S = 10.0


class PulseLoop:
    """Beats every `heartbeat_s` with jitter, sooner after a failure.

    attempts: those whose leases are to be renewed. execute: what to do with an assignment.
    on_superseded: called when another agent has taken this node's place.
    """

    def __init__(
        self,
        agent: AgentApi,
        incarnation: str,
        attached: Attached,
        *,
        attempts: Callable[[], Sequence[Attempt]],
        execute: Callable[[str, int], None],
        on_superseded: Callable[[str], None],
    ) -> None:
        self._agent = agent
        self._incarnation = incarnation
        self._heartbeat_s = attached.heartbeat_s
        self._timeout_s = min(CALL_TIMEOUT_S, attached.lease_s / 4)
        self._attempts = attempts
        self._execute = execute
        self._on_superseded = on_superseded
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._draining = False
        self._leaving = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def kick(self) -> None:
        """Beat now: somebody says that there is news about a run here."""
        self._wanted.set()

    def leave(self) -> None:
        """Say now, and from now on, that the node takes no more work."""
        self._leaving = True
        self.beat()

    def stop(self) -> None:
        """Returns at once."""
        self._ended.set()
        self._wanted.set()

    def beat(self) -> bool:
        """One heartbeat; True when it was answered."""
        attempts = {(one.run, one.epoch): one for one in self._attempts()}
        sent_at = time.monotonic()
        try:
            pulse = self._agent.heartbeat(
                self._incarnation,
                [Assignment(run, epoch) for run, epoch in attempts],
                timeout_s=self._timeout_s,
                leaving=self._leaving,
            )
        except ConnectionFailed as error:
            log.warning("heartbeat: %s", error)
            return False
        except ApiError as error:
            log.warning("heartbeat: %s", error)
            if error.status == 409:
                self._on_superseded(error.message)
            return False
        for one in pulse.runs:
            attempt = attempts.get((one.run, one.epoch))
            if attempt is not None:
                attempt.renew(sent_at, one)
        if pulse.draining != self._draining:
            self._draining = pulse.draining
            log.info("the node is %s", "draining: it gets no new runs" if pulse.draining else "no longer draining")
        for wanted in pulse.assigned:
            self._execute(wanted.run, wanted.epoch)
        return True

    def poll(self) -> None:
        """Ask what is assigned."""
        try:
            for wanted in self._agent.assigned():
                self._execute(wanted.run, wanted.epoch)
        except (ApiError, ConnectionFailed) as error:
            log.warning("poll: %s", error)

    def _run(self) -> None:
        beat_at = poll_at = time.monotonic()
        while not self._ended.is_set():
            self._wanted.wait(max(0.0, min(beat_at, poll_at) - time.monotonic()))
            if self._ended.is_set():
                return
            kicked = self._wanted.is_set()
            self._wanted.clear()
            if kicked or time.monotonic() >= beat_at:
                beat_at = time.monotonic() + self._pause_s(self.beat())
            if time.monotonic() >= poll_at:
                self.poll()
                poll_at = time.monotonic() + random.uniform(*POLL_S)

    def _pause_s(self, answered: bool) -> float:
        self._failures = 0 if answered else self._failures + 1
        step_s = self._heartbeat_s if answered else min(self._heartbeat_s, 2.0 ** (self._failures - 1))
        return step_s * random.uniform(*JITTER)
