"""Kills for memory, by the kernel's counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.sandbox.oom import OomWatch


def machine(root: Path, cgroup: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/vmstat").write_text("nr_free_pages 1\noom_kill 4\n")
    return root


def test_this_machine_has_not_killed_anything_just_now() -> None:
    assert not OomWatch().has_struck()


@pytest.mark.parametrize(
    ("cgroup", "counter"),
    [
        ("0::/node.slice/agent\n", "sys/fs/cgroup/node.slice/agent/memory.events"),
        ("9:cpu:/x\n4:hugetlb,memory:/agent\n0::/\n", "sys/fs/cgroup/memory/agent/memory.oom_control"),
    ],
)
def test_a_kill_in_the_agents_group_is_seen(tmp_path: Path, cgroup: str, counter: str) -> None:
    root = machine(tmp_path, cgroup)
    file = root / counter
    file.parent.mkdir(parents=True)
    file.write_text("low 0\noom 2\noom_kill 2\noom_group_kill 0\n")
    watch = OomWatch(root)
    assert not watch.has_struck()
    file.write_text("low 0\noom 3\noom_kill 3\noom_group_kill 0\n")
    assert watch.has_struck()


def test_a_kill_anywhere_on_the_machine_is_seen(tmp_path: Path) -> None:
    root = machine(tmp_path, "")
    watch = OomWatch(root)
    (root / "proc/vmstat").write_text("oom_kill 5\n")
    assert watch.has_struck()


def test_a_machine_without_counters_knows_nothing(tmp_path: Path) -> None:
    assert not OomWatch(tmp_path).has_struck()
