"""Starts interpreters, always from one long-lived thread.

PR_SET_PDEATHSIG fires when the thread that started a process ends, not only when its whole process does.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from workers.sandbox.leftovers import Ledger
from workers.sandbox.processes import (
    TAG_VARIABLE,
    Identity,
    identity_of,
    kill_all,
    terminate_group,
)

log = logging.getLogger(__name__)

OPEN_FILES = 4096
# Room for a burst of events while the agent is busy elsewhere; the kernel's unprivileged maximum.
PIPE_BYTES = 1024 * 1024
LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Limits:
    """What a run's process may use.

    memory_bytes: of private writable memory, None for no limit. user: (uid, gid) to become, None to stay.
    """

    open_files: int = OPEN_FILES
    memory_bytes: int | None = None
    user: tuple[int, int] | None = None


class Child:
    """A process that leads its own session. The owner reads `events`, `stdout` and `stderr` and closes them."""

    def __init__(self, process: subprocess.Popen[bytes], identity: Identity, tag: str, events: int) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("the process was started without pipes")
        self._process = process
        self._lock = threading.Lock()
        self.identity = identity
        self.tag = tag
        self.events = events
        self.stdin = process.stdin
        self.stdout = os.dup(process.stdout.fileno())
        self.stderr = os.dup(process.stderr.fileno())
        process.stdout.close()
        process.stderr.close()

    @property
    def pid(self) -> int:
        return self.identity.pid

    def order(self, line: bytes) -> None:
        """Write to standard input and close it. A process that is already gone is not an error."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(line)
            self.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()

    def has_exited(self) -> bool:
        """Has the leader ended? It stays a zombie, so that its id still means this session."""
        with self._lock:
            if self._process.returncode is not None:
                return True
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def terminate(self) -> None:
        """Ask the whole group to stop."""
        with self._lock:
            if self._process.returncode is None:
                terminate_group(self.pid)

    def kill(self) -> bool:
        """End everything that this start has led to, children of children included. False when something survives."""
        with self._lock:
            return kill_all(self.pid if self._process.returncode is None else -1, self.tag)

    def reap(self) -> int:
        """Kill what is left of the session, then collect the leader: its exit code, or minus its signal's number."""
        if not self.kill():
            log.error("something that process %d has started cannot be killed", self.pid)
        with self._lock:
            return self._process.wait()

    def close(self) -> None:
        """Close the pipes of a process that nobody listened to."""
        for descriptor in (self.events, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        with contextlib.suppress(OSError):
            self.stdin.close()


class Nursery:
    """Starts processes on behalf of any thread. The thread that lives longest calls `serve` again and again."""

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self._ledger = ledger
        self._limits = limits
        self._wanted: queue.Queue[tuple[Future[Child], Sequence[str], Mapping[str, str], Path]] = queue.Queue()

    def spawn(self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Child:
        """Start this interpreter with these arguments; `{events}` in them becomes the number of the events' descriptor.

        Blocks until `serve` has done it. Raises OSError.
        """
        future: Future[Child] = Future()
        self._wanted.put((future, arguments, environment, cwd))
        return future.result()

    def serve(self, timeout_s: float) -> None:
        """Start what is wanted, waiting at most that long for a wish."""
        try:
            future, arguments, environment, cwd = self._wanted.get(timeout=timeout_s)
        except queue.Empty:
            return
        try:
            future.set_result(self.start(arguments, environment, cwd))
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Child:
        """As `spawn`, in the calling thread. Raises OSError."""
        tag = uuid.uuid4().hex
        events, events_of_child = os.pipe()
        try:
            command = [*self._launcher(), sys.executable, *_with_events(arguments, events_of_child)]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(events_of_child,),
                env={**environment, TAG_VARIABLE: tag},
                cwd=cwd,
                start_new_session=True,
            )
        except BaseException:
            os.close(events)
            raise
        finally:
            os.close(events_of_child)
        identity = identity_of(process.pid) or Identity(process.pid, 0)
        self._ledger.record(identity, tag)
        _widen(events)
        return Child(process, identity, tag, events)

    def forget(self, child: Child) -> None:
        """The child has been reaped."""
        self._ledger.forget(child.tag)

    def _launcher(self) -> list[str]:
        limits = ["--parent", str(os.getpid()), "--open-files", str(self._limits.open_files)]
        if self._limits.memory_bytes is not None:
            limits += ["--memory-bytes", str(self._limits.memory_bytes)]
        if self._limits.user is not None:
            limits += ["--user", "{}:{}".format(*self._limits.user)]
        return [sys.executable, "-I", "-S", str(LAUNCHER), *limits, "--"]


def _with_events(arguments: Sequence[str], descriptor: int) -> list[str]:
    return [argument.replace("{events}", str(descriptor)) for argument in arguments]


def _widen(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
