"""Tells a run that the kernel killed for memory from one that somebody else killed."""

from __future__ import annotations

from pathlib import Path


class OomWatch:
    """Compares the kernel's counters of out-of-memory kills at two moments.

    It watches the agent's own control group, in which its runs live, and the whole machine.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._files = _counters(root)
        self._before = self._read()

    def has_struck(self) -> bool:
        """Has anything been killed for memory since this object was made?"""
        return any(now > before for now, before in zip(self._read(), self._before, strict=True))

    def _read(self) -> list[int]:
        return [_counter(path) for path in self._files]


def _counters(root: Path) -> list[Path]:
    files = [root / "proc/vmstat"]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return files
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if controllers == "":
            files.append(root / "sys/fs/cgroup" / inside / "memory.events")
        elif "memory" in controllers.split(","):
            files.append(root / "sys/fs/cgroup/memory" / inside / "memory.oom_control")
    return files


def _counter(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return 0
