"""A supervisor with a small table, as a program: `supervised.py HOME TABLE`. Rows write what they do to HOME/events."""

import signal
import sys
from pathlib import Path
from typing import Any

from stillroom.local.errors import LocalError
from stillroom.local.home import Home
from stillroom.local.processes import Process
from stillroom.local.progress import on_terminal
from stillroom.local.session import Session

TALKER = """
import os, signal, sys
events, name = sys.argv[1:]
def say(what):
    descriptor = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{name} {what}\\n".encode())
    os.close(descriptor)
"""
SERVES = TALKER + 'say("starts")\nsignal.sigwait({signal.SIGTERM})\nsay("stops")\n'
DEAF = TALKER + 'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay("starts")\nwhile True: signal.pause()\n'
FAILS = TALKER + 'say("starts")\nprint("the reason it fails")\nsys.exit(7)\n'
# Its child ends with it when the group is killed; its grandchild has a group of its own and loses its parent.
HAS_FAMILY = TALKER + (
    "import subprocess\n"
    "sleep = 'import signal; signal.pthread_sigmask(signal.SIG_SETMASK, []); signal.pause()'\n"
    'inner = f\'import subprocess, sys; print(subprocess.Popen([sys.executable, "-S", "-c", {sleep!r}],'
    " stdout=subprocess.DEVNULL, process_group=0).pid)'\n"
    "orphan = subprocess.run([sys.executable, '-S', '-c', inner], stdout=subprocess.PIPE).stdout.decode().strip()\n"
    "say(f'orphan {orphan}')\n"
    "signal.sigwait({signal.SIGTERM})\n"
)
BLOCKS = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"


def row(home: Home, name: str, program: str, **columns: Any) -> Process:
    events = str(home.folder / "events")
    argv = (sys.executable, "-S", "-c", BLOCKS + program if "sigwait" in program else program, events, name)
    return Process(name=name, argv=argv, **columns)


def heard(home: Home, text: str) -> bool:
    events = home.folder / "events"
    return events.exists() and text in events.read_text().splitlines()


def table(home: Home, name: str) -> list[Process]:
    match name:
        case "chain":
            return [
                row(home, "first", SERVES, ready=lambda: heard(home, "first starts")),
                row(home, "job", TALKER + 'say("runs")', once=True, after=("first",)),
                row(home, "second", SERVES, ready=lambda: heard(home, "second starts"), after=("job",)),
            ]
        case "failing":
            return [row(home, "weak", FAILS, settle_s=60.0, max_restarts=2)]
        case "failing-job":
            return [row(home, "job", FAILS, once=True), row(home, "never", SERVES, after=("job",))]
        case "expendable":
            return [
                row(home, "weak", FAILS, settle_s=60.0, max_restarts=0, essential=False),
                row(home, "follower", SERVES, after=("weak",), essential=False),
                row(home, "strong", SERVES, ready=lambda: heard(home, "strong starts")),
            ]
        case "deaf":
            return [row(home, "deaf", DEAF, ready=lambda: heard(home, "deaf starts"), stop_timeout_s=0.2)]
        case "never-ready":
            return [row(home, "mute", SERVES, ready=lambda: False, ready_timeout_s=0.2, max_restarts=0)]
        case "family":
            return [row(home, "parent", HAS_FAMILY, ready=lambda: (home.folder / "events").exists())]
    raise SystemExit(f"no table {name}")


def main() -> int:
    home = Home(Path(sys.argv[1]))
    signal.alarm(120)  # whatever a test forgets
    progress = on_terminal()
    session = Session(home, progress)

    def fill() -> None:
        for process in table(home, sys.argv[2]):
            session.supervisor.add(process)

    with home.held() as ours:
        if not ours:
            return 2
        try:
            session.run(fill, ready=lambda: progress.note("READY"))
        except LocalError as error:
            progress.note(error.message)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
