"""Declares, starts, identifies and ends child processes.

A process is known by its pid together with its start time, never by its name: a pid alone may have been given to
somebody else since.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from stillroom.local.privileges import Account

# Every child carries the id of the supervisor that started it, so that what a killed supervisor left can be found.
INSTANCE_VARIABLE = "STILLROOM_INSTANCE"

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One row of the process table.

    `after` names the rows that must be ready (a `once` row: have succeeded) before this one starts. A row without a
    `ready` check counts as ready when it has run for `settle_s`. `finished` gets the standard output of a `once` row.
    When a row that is `essential` cannot be kept alive, everything stops.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    account: Account | None = None
    stdin: bytes = b""
    after: tuple[str, ...] = ()
    ready: Callable[[], bool] | None = None
    ready_timeout_s: float = 60.0
    settle_s: float = 0.0
    once: bool = False
    finished: Callable[[bytes], None] | None = None
    essential: bool = True
    max_restarts: int = 5
    restart_window_s: float = 120.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    last_signal: signal.Signals = signal.SIGKILL
    umask: int = 0o077


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process exactly: `started` differs between any two processes that ever had the same pid."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether that very process still runs. A zombie does not."""
        return started_at(self.pid) == self.started


def started_at(pid: int) -> str | None:
    """Returns the start time of a running process in a form that is only compared, or None when there is none."""
    if sys.platform != "linux":
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
        except psutil.Error:
            return None
    try:
        # The name in field 2 may hold spaces and parentheses: count from the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}:{start_ticks}"


def identify(pid: int) -> Identity | None:
    """Returns the identity of a running process."""
    started = started_at(pid)
    return Identity(pid, started) if started is not None else None


def spawn(process: Process, output: IO[bytes] | int, errors: IO[bytes] | int | None = None) -> subprocess.Popen[bytes]:
    """Starts `process` as leader of a group of its own, as its account, bound to the life of this process.

    Must be called from the thread that lives longest: the kernel ties the child to the thread that started it.
    """
    with tempfile.TemporaryFile() as stdin:
        stdin.write(process.stdin)
        stdin.seek(0)
        account = process.account
        return subprocess.Popen(
            process.argv,
            env=dict(process.env),
            cwd=process.cwd,
            stdin=stdin,
            stdout=output,
            stderr=output if errors is None else errors,
            process_group=0,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            umask=process.umask,
            preexec_fn=_bind_to_parent(process.stop_signal),
        )


def end(child: subprocess.Popen[bytes], process: Process) -> None:
    """Asks a child of ours to stop, waits, and insists. Returns when it is gone and reaped."""
    for number, timeout_s in ((process.stop_signal, process.stop_timeout_s), (process.last_signal, 5.0)):
        if child.poll() is None:
            child.send_signal(number)
            try:
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                continue
    kill_group(child.pid)
    child.wait()


def kill_group(group: int) -> None:
    """Ends what is left of a group that a child of ours led."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Polls `condition` until it holds; returns whether it did within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def left_by(instance: str) -> Iterator[Identity]:
    """Yields every running process, other than this one, that was started under the supervisor `instance`."""
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        identity = identify(pid)
        try:
            marked = psutil.Process(pid).environ().get(INSTANCE_VARIABLE) == instance
        except (psutil.Error, OSError):
            continue
        if marked and identity is not None:
            yield identity


def _bind_to_parent(number: signal.Signals) -> Callable[[], None]:
    """Makes the kernel send `number` to the child when this process dies, even by SIGKILL.

    The child runs this after it has changed its account: a change of credentials would clear the setting.
    """
    if sys.platform != "linux":
        return lambda: None
    parent = os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    value = int(number)

    def bind() -> None:
        if prctl(_PR_SET_PDEATHSIG, value, 0, 0, 0) != 0 or os.getppid() != parent:
            os._exit(1)

    return bind
