"""The parent of every process: starts a table of them in order, restarts what dies, stops all in reverse order.

One thread and one loop. It waits on a pipe that signals write to, so a child's death or Ctrl-C is noticed at once.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import IO

from stillroom.local.errors import LocalError
from stillroom.local.logs import log_file, rotate, tail
from stillroom.local.processes import (
    INSTANCE_VARIABLE,
    Identity,
    Process,
    identify,
    kill_group,
    left_by,
    spawn,
)

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_READY_POLL_S = 0.1
_IDLE_S = 10.0
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_LAST_WORD_S = 5.0  # between `last_signal` and SIGKILL to the whole group
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class State(StrEnum):
    """Where one row of the table is."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True)
class Row:
    """A process and what became of it so far."""

    process: Process
    state: State = State.WAITING
    child: subprocess.Popen[bytes] | None = None
    identity: Identity | None = None
    since: float = field(default_factory=time.time)
    not_before: float = 0.0
    deadline: float = 0.0
    began: float = 0.0
    restarts: int = 0
    deaths: deque[float] = field(default_factory=deque)
    output: IO[bytes] | None = None
    late: bool = False
    code: int | None = None
    log_from_bytes: int = 0


class Supervisor:
    """Runs the rows added to it. `changed` is called after every change of a row's state."""

    def __init__(self, *, instance: str, logs: Path, changed: Callable[[Row], None] = lambda row: None) -> None:
        self.rows: dict[str, Row] = {}
        self.instance = instance
        self.stop_requested = False
        self._logs = logs
        self._changed = changed
        self._impatient = False
        self._moved = False
        self._next_rotation = 0.0
        self._wake_up = -1
        logs.mkdir(parents=True, exist_ok=True)

    def add(self, process: Process) -> None:
        """Puts a row into the table; it starts, within `run`, as soon as what it comes after is ready."""
        self.rows[process.name] = Row(replace(process, env={**process.env, INSTANCE_VARIABLE: self.instance}))

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Makes signals wake the loop, and this process the reaper of whatever its children leave."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        handled = [*_STOP_SIGNALS, signal.SIGCHLD]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # started by nohup
            handled.remove(signal.SIGHUP)
        previous = {number: signal.signal(number, self._on_signal) for number in handled}
        wake_up = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._wake_up = reader
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            yield
        finally:
            self._wake_up = -1
            signal.set_wakeup_fd(wake_up)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Works until `until` holds or a stop is requested. Raises LocalError when an essential row is lost."""
        while not self.stop_requested:
            self._reap()
            self._moved = False
            for row in list(self.rows.values()):
                self._advance(row)
            if until():
                return
            self._rotate()
            if not self._moved:
                self._sleep(self._next_event_in())

    def all_ready(self) -> bool:
        """Whether every row has come as far as it can: running and ready, or done."""
        return all(row.state in (State.READY, State.DONE, State.FAILED) for row in self.rows.values())

    def stop(self) -> None:
        """Stops every row after all that depend on it; what does not listen in time is killed."""
        self.stop_requested, self._impatient = True, False
        asked: dict[str, float] = {}
        insisted: set[str] = set()
        while running := {name: row for name, row in self.rows.items() if row.child is not None}:
            now = time.monotonic()
            for name, row in running.items():
                needed = any(name in self._all_before(other) for other in running if other != name)
                if row.child is None or (needed and not self._impatient):
                    continue
                if name not in asked:
                    asked[name] = now + (row.process.stop_timeout_s if not self._impatient else 0.0)
                    row.child.send_signal(row.process.stop_signal)
                elif now >= asked[name] + _LAST_WORD_S:
                    kill_group(row.child.pid)
                elif (now >= asked[name] or self._impatient) and name not in insisted:
                    insisted.add(name)
                    asked[name] = now
                    row.child.send_signal(row.process.last_signal)
            self._sleep(_READY_POLL_S)
            self._reap()
        for row in self.rows.values():
            if row.state not in (State.DONE, State.FAILED):
                self._enter(row, State.STOPPED)
        for orphan in left_by(self.instance):
            os.kill(orphan.pid, signal.SIGKILL)
        self._reap()

    def _advance(self, row: Row) -> None:
        now = time.monotonic()
        if row.state is State.WAITING and now >= row.not_before:
            before = {self.rows[name].state for name in row.process.after}
            if before <= {State.READY, State.DONE}:
                self._start(row)
            elif State.FAILED in before:
                self._enter(row, State.FAILED)
        elif row.state is State.STARTING and not row.process.once:
            check = row.process.ready
            if check() if check is not None else now >= row.began + row.process.settle_s:
                self._enter(row, State.READY)
            elif now >= row.deadline and row.child is not None:
                row.late = True
                row.child.send_signal(row.process.last_signal)  # its death is then handled like any other
                row.deadline = now + _LAST_WORD_S

    def _start(self, row: Row) -> None:
        process = row.process
        with log_file(self._logs, process.name) as log:
            row.log_from_bytes = log.tell() if not row.deaths else row.log_from_bytes
            row.output = tempfile.TemporaryFile() if process.finished else None  # noqa: SIM115 - lives as long as the child
            row.child = spawn(process, row.output or log, log)
        row.identity = identify(row.child.pid)
        row.began = time.monotonic()
        row.deadline = row.began + process.ready_timeout_s
        row.late = False
        self._enter(row, State.STARTING)

    def _reap(self) -> None:
        for row in list(self.rows.values()):
            if row.child is not None and row.child.poll() is not None:
                self._ended(row, row.child.returncode)
        if sys.platform != "linux":
            return
        known = {row.child.pid for row in self.rows.values() if row.child is not None}
        try:
            while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if dead.si_pid in known:
                    return  # died this instant: the next turn polls it
                os.waitpid(dead.si_pid, 0)
        except ChildProcessError:
            pass

    def _ended(self, row: Row, code: int) -> None:
        process, child, output = row.process, row.child, row.output
        row.child = row.identity = row.output = None
        if child is not None:
            kill_group(child.pid)
        if process.once and code == 0:
            if process.finished is not None and output is not None:
                output.seek(0)
                process.finished(output.read())
            self._enter(row, State.DONE)
        elif not self.stop_requested:
            self._keep(row, output)
            self._died(row, code)
        if output is not None:
            output.close()

    def _keep(self, row: Row, output: IO[bytes] | None) -> None:
        """What a row that failed has printed belongs into its log."""
        if output is not None:
            output.seek(0)
            with log_file(self._logs, row.process.name) as log:
                log.write(output.read())

    def _died(self, row: Row, code: int) -> None:
        process, now = row.process, time.monotonic()
        row.deaths.append(now)
        row.code = code
        while row.deaths[0] < now - process.restart_window_s:
            row.deaths.popleft()
        if not process.once and len(row.deaths) <= process.max_restarts:
            row.restarts += 1
            row.not_before = now + min(_FIRST_BACKOFF_S * 2 ** (len(row.deaths) - 1), _LONGEST_BACKOFF_S)
            self._enter(row, State.WAITING)
            return
        self._enter(row, State.FAILED)
        if process.essential:
            path = self._logs / f"{process.name}.log"
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            how = f"was not ready within {process.ready_timeout_s:.0f} s" if row.late else how
            often = f" {len(row.deaths)} times within {process.restart_window_s:.0f} s" if not process.once else ""
            raise LocalError(
                f"{process.name} {how}{often}.\n{tail(path, since_bytes=row.log_from_bytes)}", log=str(path)
            )

    def _enter(self, row: Row, state: State) -> None:
        row.state, row.since = state, time.time()
        self._moved = True
        self._changed(row)

    def _all_before(self, name: str) -> set[str]:
        found: set[str] = set()
        pending = list(self.rows[name].process.after)
        while pending:
            earlier = pending.pop()
            if earlier not in found and earlier in self.rows:
                found.add(earlier)
                pending.extend(self.rows[earlier].process.after)
        return found

    def _next_event_in(self) -> float:
        if any(row.state is State.STARTING for row in self.rows.values()):
            return _READY_POLL_S
        now = time.monotonic()
        starts = [row.not_before - now for row in self.rows.values() if row.state is State.WAITING]
        return max(0.01, min([_IDLE_S, *(wait for wait in starts if wait > 0)]))

    def _rotate(self) -> None:
        if time.monotonic() >= self._next_rotation:
            self._next_rotation = time.monotonic() + _IDLE_S
            for name in self.rows:
                rotate(self._logs / f"{name}.log")

    def _sleep(self, timeout_s: float) -> None:
        if self._wake_up < 0:
            time.sleep(timeout_s)
            return
        select.select([self._wake_up], [], [], timeout_s)
        try:
            while os.read(self._wake_up, 512):
                pass
        except BlockingIOError:
            pass

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number in _STOP_SIGNALS:
            self._impatient = self.stop_requested
            self.stop_requested = True
