"""One life of a supervisor on one home: the record that others read, and what is said on the terminal."""

import os
import secrets
import time
from collections.abc import Callable
from typing import Any

from stillroom.local import leftovers
from stillroom.local.home import Home
from stillroom.local.processes import identify
from stillroom.local.progress import Progress
from stillroom.local.supervisor import Row, State, Supervisor


class Session:
    """Runs a table until it is asked to stop. The caller holds the home's lock.

    `ports` and `url` are for whoever fills the table to set; they are recorded.
    """

    def __init__(self, home: Home, progress: Progress) -> None:
        self.home = home
        self.progress = progress
        self.earlier = home.read_state()
        self.ports: dict[str, int] = {}
        self.url = ""
        self.supervisor = Supervisor(instance=secrets.token_hex(16), logs=home.logs, changed=self._row_changed)
        self._phase = "starting"
        self._began: dict[str, float] = {}

    def run(self, fill: Callable[[], None], ready: Callable[[], None]) -> None:
        """Ends leftovers, has `fill` add the rows, starts them, calls `ready`, and supervises.

        Returns after a stop was requested and done; raises LocalError when an essential row cannot be kept alive.
        """
        ended = leftovers.clear(self.earlier)
        if ended:
            self.progress.note(f"Processes left behind by an earlier start, now ended: {ended}")
        self._enter("starting")  # before the first child exists: the instance's id finds it if nothing else is written
        supervisor = self.supervisor
        with supervisor.signals():
            try:
                fill()
                supervisor.run(until=supervisor.all_ready)
                if not supervisor.stop_requested:
                    self._enter("ready")
                    self.progress.close()
                    ready()
                    supervisor.run()
            finally:
                self.progress.close()
                self._enter("stopping")
                supervisor.stop()
                self._enter("stopped")

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._record()

    def _row_changed(self, row: Row) -> None:
        name, now = row.process.name, time.monotonic()
        if row.state is State.STARTING:
            self._began[name] = now
        self._record()
        if self._phase == "starting":
            self.progress.step(name, row.state, now - self._began.get(name, now))
        if row.state is State.WAITING and row.restarts:
            self.progress.note(f"{name} ended with code {row.code}; starting it again ({row.restarts}).")
        if row.state is State.FAILED and not row.process.essential:
            self.progress.note(f"{name} failed and is left out. Its log: {self.home.logs / name}.log")

    def _record(self) -> None:
        own = identify(os.getpid())
        rows: list[dict[str, Any]] = [
            {
                "name": row.process.name,
                "state": str(row.state),
                "since": row.since,
                "restarts": row.restarts,
                "pid": row.identity.pid if row.identity else None,
                "started": row.identity.started if row.identity else None,
            }
            for row in self.supervisor.rows.values()
        ]
        self.home.write_state(
            {
                "phase": self._phase,
                "instance": self.supervisor.instance,
                "supervisor": {"pid": own.pid, "started": own.started} if own else None,
                "url": self.url,
                "ports": self.ports,
                "processes": rows,
            }
        )
