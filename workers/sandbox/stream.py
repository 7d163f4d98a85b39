"""The pump of one run: drains its pipes without ever waiting for the network, and spools numbered batches."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable

from stillroom_client.batching import Batcher, Content
from stillroom_client.points import LogLine
from stillroom_client.spool import Spool, SpoolFull
from workers.sandbox.console import Console
from workers.sandbox.intake import Intake, Listener

READ_BYTES = 256 * 1024
TICK_S = 0.1
DEFAULT_FLUSH_S = 1.0
# While the platform is behind, batches grow instead of multiplying.
BACKLOG_BATCHES = 4
BACKLOG_FLUSH_S = 5.0
# Shares of the spool's bound from which logs, then all but the extremes of a series, are left out.
DROP_LOGS_FROM = 0.75
COALESCE_FROM = 0.875


class Stream:
    """Three pipes in, batches out. `pump` and `seal` belong to one thread; `say` and `measure` to any."""

    def __init__(self, epoch: int, spool: Spool, listener: Listener, *, wake: Callable[[], object]) -> None:
        now = time.monotonic()
        self._epoch = epoch
        self._spool = spool
        self._wake = wake
        self._batcher = Batcher(now)
        self._intake = Intake(self._batcher, listener, now=now)
        self._consoles = {"stdout": Console(now), "stderr": Console(now)}
        self._selector = selectors.DefaultSelector()
        self._dropped_logs = 0
        self._dropped_points = 0
        self._refused_at = now
        self.flush_s = DEFAULT_FLUSH_S
        self.backlog: Callable[[], int] = lambda: 0

    def listen(self, events: int, stdout: int, stderr: int) -> None:
        """Take over the three descriptors; they are closed at their end."""
        for descriptor, name in ((events, "events"), (stdout, "stdout"), (stderr, "stderr")):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, name)

    @property
    def is_open(self) -> bool:
        """Is there still a pipe to read from?"""
        return bool(self._selector.get_map())

    def pump(self, timeout_s: float = TICK_S) -> bool:
        """Read what there is, for at most that long, and flush when due. True when something was read."""
        now = time.monotonic()
        due = self._due_at()
        wait_s = timeout_s if due is None else min(timeout_s, max(0.0, due - now))
        if self.is_open:
            ready = self._selector.select(wait_s)
        else:
            ready = []
            time.sleep(wait_s)
        for key, _ in ready:
            self._read(int(key.fd), str(key.data))
        self._report_refused()
        due = self._due_at()
        if due is not None and time.monotonic() >= due:
            self.seal()
        return bool(ready)

    def seal(self) -> int:
        """Write the open batch now and give the number of the newest batch."""
        content = self._batcher.take(time.monotonic())
        if content is not None:
            self._store(content)
        return self._spool.last_seq

    def finish(self) -> int:
        """Close the pipes, write everything that is left and give the number of the last batch."""
        for key in list(self._selector.get_map().values()):
            self._close(int(key.fd), str(key.data))
        self._selector.close()
        self._report_refused(everything=True)
        self.seal()
        self._say_what_was_dropped(beyond_limit=True)
        return self._spool.last_seq

    def say(self, level: str, message: str) -> None:
        """A log line of the node's own."""
        self._intake.say(time.monotonic(), time.time(), level, message)

    def measure(self, step: int, values: dict[str, float]) -> None:
        """Values that the node measured."""
        self._batcher.add_points(step, time.time(), values, time.monotonic())

    def _due_at(self) -> float | None:
        behind = self.backlog() > BACKLOG_BATCHES
        return self._batcher.due_at(max(self.flush_s, BACKLOG_FLUSH_S) if behind else self.flush_s)

    def _read(self, descriptor: int, name: str) -> None:
        try:
            chunk = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            self._close(descriptor, name)
        elif name == "events":
            self._intake.feed(chunk, time.monotonic(), time.time())
        else:
            now = time.monotonic()
            for text in self._consoles[name].feed(chunk, now):
                self._line(name, text, now)

    def _close(self, descriptor: int, name: str) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        console = self._consoles.get(name)
        if console is not None:
            for text in console.rest():
                self._line(name, text, time.monotonic())

    def _line(self, stream: str, text: str, now: float) -> None:
        level = "warning" if stream == "stderr" else "info"
        self._batcher.add_log(LogLine(time.time(), level, stream, text), now)

    def _report_refused(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        if now - self._refused_at < 1.0 and not everything:
            return
        self._refused_at = now
        counts = {name: console.limit.take_refused() for name, console in self._consoles.items()}
        counts["log"] = self._intake.take_refused()
        for name, count in counts.items():
            if count:
                self.say("warning", f"{count} lines of {name} were left out: too many a second.")

    def _store(self, content: Content) -> None:
        """Spool as much of it as there is room for: everything, or no logs, or only extremes of series, or nothing."""
        fill = self._spool.fill
        bare = content.without_logs()
        forms = [content, bare, bare.coalesced()][(fill >= DROP_LOGS_FROM) + (fill >= COALESCE_FROM) :]
        kept = next((form for form in forms if self._append(form)), Content())
        self._dropped_logs += len(content.logs) - len(kept.logs)
        self._dropped_points += content.points - kept.points
        if fill < DROP_LOGS_FROM:
            self._say_what_was_dropped()

    def _append(self, content: Content, *, beyond_limit: bool = False) -> bool:
        """False when there is no room."""
        if content.is_empty:
            return True
        try:
            self._spool.append(content.encode(self._epoch, self._spool.last_seq + 1), beyond_limit=beyond_limit)
        except SpoolFull:
            return False
        self._wake()
        return True

    def _say_what_was_dropped(self, *, beyond_limit: bool = False) -> None:
        if not (self._dropped_logs or self._dropped_points):
            return
        message = (
            f"The node's spool was full: {self._dropped_logs} log lines and {self._dropped_points} points were left "
            "out. Extremes of each series were kept while there was room."
        )
        note = LogLine(time.time(), "warning", "log", message)
        if self._append(Content(logs=[note]), beyond_limit=beyond_limit):
            self._dropped_logs = self._dropped_points = 0
