"""Ends what a supervisor left behind that was killed. Nothing is known by name.

A process is one of ours if its pid *and* start time are in the state file, or if it carries that supervisor's id in
its environment. PostgreSQL's own pid file is looked at where the server is started.
"""

import os
import signal
from contextlib import suppress
from functools import partial

import psutil

from stillroom.local.errors import LocalError
from stillroom.local.home import Recorded
from stillroom.local.processes import Identity, left_by, wait_until

# The kernel has already told the children of a killed supervisor to stop: PostgreSQL may be writing a checkpoint.
_BY_THEMSELVES_S = 10.0
_TOLD_S = 10.0
_KILLED_S = 5.0


def clear(recorded: Recorded) -> int:
    """Waits for leftovers to end, tells them to, and kills them at last. Returns how many there were."""
    found = _alive(recorded)
    if not found:
        return 0
    in_table = recorded.identities
    _tell([one for one in found if one not in in_table and _is_orphan(one, found)], signal.SIGTERM)
    for number, timeout_s in ((None, _BY_THEMSELVES_S), (signal.SIGTERM, _TOLD_S), (signal.SIGKILL, _KILLED_S)):
        remaining = _alive(recorded)
        if number is not None:
            _tell(remaining, number)
        if wait_until(partial(_all_gone, remaining), timeout_s) and not _alive(recorded):
            return len(found)
    pids = ", ".join(str(identity.pid) for identity in _alive(recorded))
    raise LocalError(f"Processes of an earlier start do not end: {pids}.")


def _alive(recorded: Recorded) -> list[Identity]:
    found = [identity for identity in recorded.identities if identity.alive()]
    if recorded.instance:
        found.extend(identity for identity in left_by(recorded.instance) if identity not in found)
    return found


def _is_orphan(identity: Identity, found: list[Identity]) -> bool:
    """Whether no other leftover is its parent: then nobody is going to tell it to stop."""
    try:
        parent = psutil.Process(identity.pid).ppid()
    except psutil.Error:
        return False
    return parent not in {other.pid for other in found}


def _all_gone(identities: list[Identity]) -> bool:
    return not any(identity.alive() for identity in identities)


def _tell(identities: list[Identity], number: signal.Signals) -> None:
    for identity in identities:
        if identity.alive():
            with suppress(ProcessLookupError):
                os.kill(identity.pid, number)
