"""Looks at processes and ends them: by id together with start time, by session, or by a tag in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

TAG_VARIABLE = "STILLROOM_SPAWN"
KILL_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Identity:
    """A process that cannot be confused with a later one of the same id. started: clock ticks since boot."""

    pid: int
    started: int


@dataclass(frozen=True)
class Usage:
    """cpu_s: used so far by the processes alive. memory_bytes: resident."""

    cpu_s: float
    memory_bytes: int


def identity_of(pid: int) -> Identity | None:
    """None when there is no such process, or only its zombie."""
    stat = _stat(pid)
    return Identity(pid, int(stat[19])) if stat is not None and not _is_dead(stat) else None


def members(session: int, tag: str) -> list[int]:
    """Every living process of the session or with the tag, in whatever group it hides; never the caller."""
    mark = f"{TAG_VARIABLE}={tag}".encode()
    found = []
    for pid in psutil.pids():
        stat = _stat(pid)
        if stat is None or _is_dead(stat) or pid == os.getpid():
            continue
        if int(stat[3]) == session or mark in _environment(pid):
            found.append(pid)
    return found


def tagged(tag: str) -> list[int]:
    """Living processes with the tag."""
    return members(-1, tag)


def kill_all(session: int, tag: str, *, patience_s: float = KILL_PATIENCE_S) -> bool:
    """SIGKILL until nobody of the session or with the tag is left. False when some cannot be killed in that time.

    session: the leader's process id, which must not have been reaped, or -1 for the tag alone.
    """
    deadline = time.monotonic() + patience_s
    # A dying process loses its environment, and with it the tag, a moment before it is dead.
    dying: set[Identity] = set()
    while True:
        for pid in members(session, tag):
            identity = identity_of(pid)
            if identity is not None:
                dying.add(identity)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        dying = {one for one in dying if identity_of(one.pid) == one}
        if not dying:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)


def terminate_group(leader: int) -> None:
    """SIGTERM to the process group, which is asked to stop by itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGTERM)


def usage_of(session: int, tag: str) -> dict[int, Usage]:
    """What each process of the run uses now, by process id."""
    return dict(_usages(members(session, tag)))


def _usages(pids: list[int]) -> Iterator[tuple[int, Usage]]:
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                yield pid, Usage(times.user + times.system, int(process.memory_info().rss))
        except psutil.Error:
            continue


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: state 0, parent 1, group 2, session 3, threads 17, start time 19."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def _is_dead(stat: list[str]) -> bool:
    """A leader is a zombie already while its other threads still hold memory and devices."""
    return stat[0] in "ZX" and int(stat[17]) <= 1


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""
