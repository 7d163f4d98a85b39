"""The supervisor against real processes: order, restarts, reports, kill -9, orphans."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from stillroom.local.leftovers import clear
from stillroom.local.processes import Identity, identify, started_at, wait_until

DEADLINE_S = 20.0


def state_letter(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def test_rows_start_in_order_and_stop_in_reverse(start: Any) -> None:
    supervised = start("chain")
    supervised.wait_for("ready")
    assert supervised.events() == ["first starts", "job runs", "second starts"]
    assert supervised.end() == 0
    assert supervised.events()[3:] == ["second stops", "first stops"]
    assert supervised.home.read_state().phase == "stopped"


def test_interrupt_stops_like_terminate(start: Any) -> None:
    supervised = start("chain")
    supervised.wait_for("ready")
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.exit_code() == 0
    assert supervised.events()[3:] == ["second stops", "first stops"]


def test_a_killed_child_is_started_again(start: Any) -> None:
    supervised = start("chain")
    supervised.wait_for("ready")
    before = supervised.identity("second")
    os.kill(before.pid, signal.SIGKILL)
    assert wait_until(
        lambda: supervised.row("second")["state"] == "ready" and supervised.row("second")["restarts"] == 1, DEADLINE_S
    )
    assert supervised.identity("second") != before
    assert supervised.row("first")["restarts"] == 0
    assert "second ended with code -9; starting it again (1)" in supervised.said()


def test_what_keeps_dying_ends_in_a_report_with_its_log(start: Any) -> None:
    supervised = start("failing")
    assert supervised.exit_code() == 1
    assert supervised.events() == ["weak starts"] * 3
    assert "weak ended with code 7 3 times" in supervised.said()
    assert "the reason it fails" in supervised.said()


def test_a_failed_job_stops_the_start(start: Any) -> None:
    supervised = start("failing-job")
    assert supervised.exit_code() == 1
    assert supervised.events() == ["job starts"]
    assert "the reason it fails" in supervised.said()


def test_an_expendable_row_is_left_out_with_what_needs_it(start: Any) -> None:
    supervised = start("expendable")
    supervised.wait_for("ready")
    assert supervised.row("weak")["state"] == "failed"
    assert supervised.row("follower")["state"] == "failed", "what comes after it never starts"
    assert set(supervised.events()) == {"weak starts", "strong starts"}
    assert "weak failed and is left out" in supervised.said()
    assert supervised.end() == 0


def test_a_row_that_is_never_ready_is_reported(start: Any) -> None:
    supervised = start("never-ready")
    assert supervised.exit_code() == 1
    assert "mute was not ready within 0 s" in supervised.said()


def test_a_deaf_child_is_killed_in_the_end(start: Any) -> None:
    supervised = start("deaf")
    supervised.wait_for("ready")
    deaf = supervised.identity("deaf")
    assert supervised.end() == 0
    assert not deaf.alive()


def test_orphans_are_adopted_ended_and_reaped(start: Any) -> None:
    supervised = start("family")
    supervised.wait_for("ready")
    orphan = int(supervised.events()[0].split()[-1])
    os.kill(orphan, signal.SIGKILL)
    assert wait_until(lambda: state_letter(orphan) is None, DEADLINE_S), "the orphan stayed a zombie"


def test_orphans_do_not_outlive_a_stop(start: Any) -> None:
    supervised = start("family")
    supervised.wait_for("ready")
    orphan = identify(int(supervised.events()[0].split()[-1]))
    assert orphan is not None
    assert supervised.end() == 0
    assert not orphan.alive()


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the kernel ties children to their parent on Linux only"
)
def test_children_end_when_the_supervisor_is_killed(start: Any) -> None:
    supervised = start("chain")
    supervised.wait_for("ready")
    children = [supervised.identity("first"), supervised.identity("second")]
    supervised.kill()
    assert wait_until(lambda: not any(child.alive() for child in children), DEADLINE_S)


def test_the_next_start_ends_what_a_killed_supervisor_left(start: Any) -> None:
    first = start("family")
    first.wait_for("ready")
    orphan = identify(int(first.events()[0].split()[-1]))
    first.kill()
    assert orphan is not None
    assert orphan.alive(), "a grandchild with a group of its own is told nothing by the kernel"
    (first.home.folder / "events").unlink()
    second = start("family")
    assert wait_until(lambda: bool(second.events()), DEADLINE_S)
    second.wait_for("ready")
    assert not orphan.alive()
    assert "Processes left behind by an earlier start, now ended:" in second.said()


def test_a_stranger_with_a_recorded_pid_is_left_alone(start: Any) -> None:
    supervised = start("chain")
    supervised.wait_for("ready")
    supervised.end()
    own = identify(os.getpid())
    assert own is not None
    stranger = {"name": "web", "pid": own.pid, "started": "another boot:1"}
    supervised.home.write_state({"instance": "none", "processes": [stranger]})
    assert clear(supervised.home.read_state()) == 0


def test_one_home_has_one_supervisor(start: Any) -> None:
    first = start("chain")
    first.wait_for("ready")
    assert start("chain").exit_code() == 2
    assert first.process.poll() is None


def test_an_identity_is_more_than_a_pid() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert own.alive()
    assert not Identity(own.pid, own.started + "0").alive()
    assert started_at(2**22 + 1) is None
