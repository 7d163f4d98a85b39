"""What `up`, `down` and `status` do around one launch: already running, in the background, stopped, left behind."""

import os
import signal
import sys
import time
from typing import Any

import psutil

from stillroom.local import leftovers
from stillroom.local.errors import LocalError
from stillroom.local.home import Home
from stillroom.local.launch import Launch, Options, sign_in
from stillroom.local.logs import log_file
from stillroom.local.processes import wait_until
from stillroom.local.progress import PipeProgress, Progress, on_terminal, relay
from stillroom.local.state import read_json

_START_TIMEOUT_S = 600.0  # of somebody else's start that we wait for: it may be downloading packages
_STOP_TIMEOUT_S = 120.0


def up(home: Home, options: Options, *, detach: bool) -> int:
    """Starts the platform, or says where it already runs. Returns the exit code."""
    progress = on_terminal()
    home.make()
    while True:
        with home.held() as ours:
            if ours:
                return _detached(home, options, progress) if detach else _attached(home, options, progress)
        if _join(home, progress):
            return 0


def down(home: Home) -> str:
    """Stops the platform, and whatever a killed supervisor left. Returns what was done, as a sentence."""
    recorded = home.read_state()
    supervisor = recorded.supervisor
    if home.is_held():
        if supervisor is None or not supervisor.alive():
            raise LocalError(f"{home.folder} is in use by a process that wrote no record of itself.")
        os.kill(supervisor.pid, signal.SIGTERM)
        if not wait_until(lambda: not home.is_held(), _STOP_TIMEOUT_S):
            raise LocalError(f"The supervisor (pid {supervisor.pid}) does not stop.", log=str(home.logs / "up.log"))
        return "Stopped."
    ended = leftovers.clear(recorded)
    return f"Processes left behind by an earlier start, now ended: {ended}" if ended else "Nothing is running."


def status(home: Home) -> dict[str, Any]:
    """What runs now, for people and for scripts. `running` is the whole platform's; `phase` tells how far it is."""
    recorded = home.read_state()
    running = home.is_held()
    processes = []
    for row, identity in ((row, recorded.identity_of(row)) for row in recorded.processes):
        alive = running and identity is not None and identity.alive()
        processes.append(
            {
                "name": row.get("name"),
                "state": row.get("state") if running else "stopped",
                "pid": identity.pid if identity is not None and alive else None,
                "uptime_s": round(time.time() - float(row.get("since", 0))) if alive else None,
                "restarts": row.get("restarts", 0),
                "memory_bytes": _memory(identity.pid) if identity is not None and alive else None,
            }
        )
    return {
        "running": running,
        "phase": recorded.phase if running else "stopped",
        "url": recorded.url if running else None,
        "home": str(home.folder),
        "processes": processes,
    }


def _attached(home: Home, options: Options, progress: Progress) -> int:
    try:
        Launch(home, options, progress).run(ready=lambda: progress.note("Stop with Ctrl-C."))
    except LocalError as error:
        _report(progress, error)
        return 1
    progress.note("Stopped.")
    return 0


def _detached(home: Home, options: Options, progress: Progress) -> int:
    """Forks the supervisor off; this process waits until it is ready or has failed."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        with log_file(home.logs, "up") as log, open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        return _in_background(home, options, PipeProgress(writer))
    os.close(writer)
    try:
        if relay(reader, progress):
            progress.note("Stop with `make down`.")
            return 0
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    return 1


def _in_background(home: Home, options: Options, progress: PipeProgress) -> int:
    try:
        Launch(home, options, progress).run(ready=lambda: progress.end(ok=True))
    except LocalError as error:
        _report(progress, error)
        progress.end(ok=False)
        return 1
    except Exception:
        progress.note(f"The supervisor failed. See {home.logs / 'up.log'}")
        progress.end(ok=False)
        raise
    progress.end(ok=False)
    progress.note("Stopped.")
    return 0


def _join(home: Home, progress: Progress) -> bool:
    """Waits for the start that somebody else has begun. Returns False when its process went away instead."""
    wait_until(
        lambda: home.read_state().phase in ("ready", "stopping", "stopped") or not home.is_held(), _START_TIMEOUT_S
    )
    recorded = home.read_state()
    if recorded.phase != "ready" or not home.is_held():
        if not wait_until(lambda: not home.is_held(), _STOP_TIMEOUT_S):
            raise LocalError(f"{home.folder} is in use, but the platform there is neither ready nor gone.")
        return False
    progress.note(f"Stillroom is already running at {recorded.url}")
    demo = read_json(home.demo)
    if demo:
        progress.note(sign_in(demo))
    return True


def _report(progress: Progress, error: LocalError) -> None:
    progress.note(error.message)
    if error.log:
        progress.note(f"The whole log: {error.log}")


def _memory(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
