"""A run's process is tied to the agent, limited, and killed with everything it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.conftest import Start
from workers.sandbox.leftovers import Ledger
from workers.sandbox.processes import Identity, identity_of, members, tagged
from workers.sandbox.spawn import LAUNCHER, Limits, Nursery

SLEEP = "import time; time.sleep(600)"
# A child in the same group, one in a group of its own, and one in a session of its own; all ignore SIGTERM.
FAMILY = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
kinds = ({{}}, {{"process_group": 0}}, {{"start_new_session": True}})
pids = [subprocess.Popen([sys.executable, "-c", ignore + "{SLEEP}"], **kind).pid for kind in kinds]
os.write(int(sys.argv[1]), (" ".join(map(str, pids)) + "\\n").encode())
time.sleep(600)
"""


def said(descriptor: int) -> str:
    os.set_blocking(descriptor, True)
    with os.fdopen(os.dup(descriptor), "r") as stream:
        return stream.readline()


def test_kill_reaches_grandchildren_in_other_groups_and_sessions(start: Start) -> None:
    child = start(FAMILY)
    family = [identity_of(int(pid)) for pid in said(child.events).split()]
    assert len(family) == 3
    assert all(family)
    assert child.kill()
    assert child.reap() == -signal.SIGKILL
    assert [identity_of(one.pid) for one in family if one] == [None] * 3
    assert tagged(child.tag) == []


def test_a_leader_that_leaves_early_takes_its_children_along(start: Start, eventually: Callable[..., None]) -> None:
    child = start(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}'])")
    eventually(child.has_exited)
    assert len(members(child.pid, child.tag)) == 1
    assert child.reap() == 0
    assert tagged(child.tag) == []


def test_others_are_left_alone(start: Start) -> None:
    first, second = start(SLEEP), start(SLEEP)
    first.reap()
    assert identity_of(second.pid) == second.identity


def test_terminate_reaches_the_whole_group(start: Start) -> None:
    child = start(f"import os, sys; os.fork(); os.write(int(sys.argv[1]), b'up\\n'); {SLEEP}")
    assert said(child.events) == "up\n"
    child.terminate()
    assert child.reap() == -signal.SIGTERM


def test_the_process_leads_a_session_and_gets_its_pipe(start: Start) -> None:
    child = start(
        "import os, sys; os.write(int(sys.argv[1]), f'{os.getsid(0)} {os.getpgid(0)} {os.getpid()}'.encode())"
    )
    assert said(child.events).split() == [str(child.pid)] * 3


def test_limits_hold(start: Start) -> None:
    script = """
import os, resource, sys
names = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_DATA)
found = [resource.getrlimit(name)[0] for name in names] + [open("/proc/self/oom_score_adj").read().strip()]
try:
    bytearray(2 * 1024**3)
except MemoryError:
    found.append("MemoryError")
os.write(int(sys.argv[1]), " ".join(map(str, found)).encode())
"""
    child = start(script, limits=Limits(open_files=99, memory_bytes=1024**3))
    assert said(child.events).split() == ["99", "0", str(1024**3), "500", "MemoryError"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_run_can_be_somebody_else() -> None:
    limits = ["--parent", str(os.getpid()), "--open-files", "64", "--user", "65534:65534"]
    program = ["--", "/bin/sh", "-c", "id -u; id -g; id -G"]
    launched = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCHER, *limits, *program], capture_output=True, text=True, check=True
    )
    assert launched.stdout.split() == ["65534"] * 3


def test_a_child_of_a_killed_agent_dies(tmp_path: Path, eventually: Callable[..., None]) -> None:
    agent = f"""
import sys, time
from pathlib import Path
from workers.sandbox.leftovers import Ledger
from workers.sandbox.spawn import Limits, Nursery
child = Nursery(Ledger(Path({str(tmp_path)!r})), Limits()).start(["-c", {SLEEP!r}], {{}}, Path("/"))
print(child.pid, flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", agent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = identity_of(int(process.stdout.readline()))
    assert child is not None
    process.kill()
    process.wait()
    process.stdout.close()
    eventually(lambda: identity_of(child.pid) != child)


def test_a_child_whose_agent_is_gone_already_does_not_begin() -> None:
    launched = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCHER, "--parent", "1", "--open-files", "64", "--", "/bin/echo", "begun"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert launched.stdout == ""
    assert launched.returncode == 70


def test_a_nursery_spawns_for_other_threads_and_passes_errors_on(
    nursery: Nursery, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    child = nursery.spawn(["-c", "pass"], {}, tmp_path)
    eventually(child.has_exited)
    assert child.reap() == 0
    child.close()
    with pytest.raises(OSError, match="nowhere"):
        nursery.spawn(["-c", "pass"], {}, tmp_path / "nowhere")


def test_the_next_life_of_the_agent_ends_what_the_last_one_left(start: Start, tmp_path: Path) -> None:
    child = start(FAMILY)
    grandchildren = [int(pid) for pid in said(child.events).split()]
    assert Ledger(tmp_path / "processes").kill_leftovers() == 1
    assert [identity_of(pid) for pid in (child.pid, *grandchildren)] == [None] * 4
    assert list((tmp_path / "processes").iterdir()) == []


def test_grandchildren_are_found_when_their_leader_is_gone(
    start: Start, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    child = start(
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}'], start_new_session=True)"
    )
    eventually(child.has_exited)
    assert len(tagged(child.tag)) == 1
    assert Ledger(tmp_path / "processes").kill_leftovers() == 0
    assert tagged(child.tag) == []


def test_a_stranger_who_has_got_the_same_id_is_left_alone(ledger: Ledger) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        identity = identity_of(stranger.pid)
        assert identity is not None
        ledger.record(Identity(stranger.pid, identity.started - 1), "0" * 32)
        assert ledger.kill_leftovers() == 0
        time.sleep(0.05)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_record_of_another_boot_or_a_broken_one_is_only_removed(ledger: Ledger, start: Start, tmp_path: Path) -> None:
    child = start(SLEEP)
    folder = tmp_path / "processes"
    (record,) = folder.iterdir()
    record.write_text(record.read_text().replace('"boot": "', '"boot": "x'))
    (folder / "broken.json").write_text("{")
    assert ledger.kill_leftovers() == 0
    assert list(folder.iterdir()) == []
    assert identity_of(child.pid) == child.identity
