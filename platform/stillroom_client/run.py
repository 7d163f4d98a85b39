"""A run that a script logs: `log` never waits for the network, and what reached the disk survives a kill."""

from __future__ import annotations

import csv
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from stillroom_client.batching import Batcher, Content
from stillroom_client.console import Console
from stillroom_client.endings import Endings
from stillroom_client.errors import ApiError, ConnectionFailed, StillroomError
from stillroom_client.folder import RunFolder, artifact_name
from stillroom_client.points import LogLine, Series
from stillroom_client.spool import SpoolFull
from stillroom_client.system import SystemMonitor
from stillroom_client.transport import Retries, Transport
from stillroom_client.uploader import RunOver, Uploader
from stillroom_client.values import metric_key, plain, scalar, scalars, step_number

FINISH_S = 60.0
HEARTBEAT_S = 60.0
MOST_OPEN_POINTS = 20_000
PATIENCE = Retries(base_s=0.5, cap_s=30.0)
STATES = ("SUCCEEDED", "FAILED", "CANCELLED")


class Settings(MutableMapping[str, Any]):
    """A dictionary that tells when it was changed; values are kept as JSON."""

    def __init__(self, values: Mapping[str, Any], changed: Any) -> None:
        self._values = dict(values)
        self._changed = changed

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._values.update(plain({key: value}))
        self._changed()

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._changed()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def update(self, *arguments: Any, **more: Any) -> None:
        """Several at once; takes what `config` takes."""
        for one in (*arguments, more):
            self._values.update(plain(one))
        self._changed()

    def __repr__(self) -> str:
        return repr(self._values)


class Run:
    """Made by `stillroom_client.init`. Safe to share between threads.

    id: on the platform, None until it is known there. config: shown beside the run and searchable. summary: final
    values; numbers become one-point series `summary/<key>`, text becomes tags. should_stop: the platform asks to end.
    folder None: disabled, everything does nothing.
    """

    def __init__(
        self,
        folder: Optional[RunFolder],
        transport: Optional[Transport],
        *,
        config: Mapping[str, Any],
        next_step: int = 0,
        console: bool = False,
        system: bool = True,
    ) -> None:
        self._folder = folder
        self._transport = transport
        self._step = next_step - 1
        self._lock = threading.Lock()
        self._spool_lock = threading.Lock()
        self._wake = threading.Event()
        self._sent = threading.Condition()
        self._done = self._over = self._finished = False
        self._dropped = 0
        self._said: set[str] = set()
        self.config = Settings(config, self._config_changed)
        self.summary = Settings({}, lambda: None)
        self._batcher = Batcher(time.monotonic())
        self._uploader = Uploader(folder, transport, tell=self._warn) if folder and transport else None
        self._console: Optional[Console] = None
        self._monitor: Optional[SystemMonitor] = None
        self._endings: Optional[Endings] = None
        if folder is None:
            return
        self._spooler = threading.Thread(target=self._spool_loop, name="stillroom-spool", daemon=True)
        self._spooler.start()
        self._sender = threading.Thread(target=self._send_loop, name="stillroom-send", daemon=True)
        if self._uploader:
            self._sender.start()
        if console:
            self._console = Console(self._take_line)
        if system:
            self._monitor = SystemMonitor(self._take_system)
            self._monitor.start()
        self._endings = Endings(self._ended)

    @property
    def id(self) -> Optional[str]:
        return self._folder.state["run"] if self._folder else None

    @property
    def url(self) -> Optional[str]:
        """Where people look at the run; None until it is on the platform."""
        if not self._folder or not self.id:
            return None
        org = str(self._folder.state["project"]).partition("/")[0]
        return f"{self._folder.state['url']}/o/{org}/runs/{self.id}"

    @property
    def should_stop(self) -> bool:
        """The platform wants the run to end: somebody cancelled it, or another writer took over."""
        return self._over or (self._uploader is not None and self._uploader.intent != "run")

    def log(self, data: Mapping[str, Any], step: Any = None, *, time_s: Optional[float] = None) -> None:
        """Metrics of one step; without `step` the next one.

        data: numbers or array scalars by key, nested dictionaries become keys with slashes; NaN and infinities are
        kept, None is left out. time_s: seconds since 1970, now by default. Raises BadValue naming the key; never
        waits for the network.
        """
        values = scalars(data)
        with self._lock:
            number = self._step + 1 if step is None else step_number(step)
            self._step = max(self._step, number)
        if values:
            self._add(number, values, time_s)

    def log_text(self, text: str, *, level: str = "info") -> None:
        """Lines of the run's log. level: debug, info, warning or error."""
        if level not in ("debug", "info", "warning", "error"):
            raise ValueError(f"level: expected debug, info, warning or error, not {level!r}.")
        for line in str(text).splitlines():
            self._add_line(level, "log", line)

    def log_artifact(self, path: Any, name: Optional[str] = None) -> None:
        """Keep a file, or every file of a folder, with the run. Returns when a copy is made; uploading happens behind.

        name: in the run; the file's own by default. Raises FileNotFoundError, and ValueError for a name with `..`.
        """
        source = Path(path)
        base = artifact_name(name or source.name)
        if not source.exists():
            raise FileNotFoundError(f"{source}: there is no such file or folder.")
        if self._folder is None or self._done:
            return
        if source.is_dir():
            for inner in sorted(source.rglob("*")):
                if inner.is_file():
                    self._folder.add_artifact(f"{base}/{inner.relative_to(source).as_posix()}", inner)
        else:
            self._folder.add_artifact(base, source)
        self._wake.set()

    def log_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table as the artifact `tables/<name>.csv`."""
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "table.csv"
            with file.open("w", newline="", encoding="utf-8") as out:
                writer = csv.writer(out)
                writer.writerow(columns)
                writer.writerows(rows)
            self.log_artifact(file, f"tables/{name}.csv")

    def flush(self, timeout_s: float = FINISH_S) -> bool:
        """Wait until everything logged so far is on the platform's disk; False when it is not by then.

        Offline: until it is on this machine's disk.
        """
        if self._folder is None:
            return True
        self._spool_now()
        self._wake.set()
        if self._uploader is None:
            return True
        wanted, deadline = self._folder.spool.last_seq, time.monotonic() + timeout_s
        with self._sent:
            while self._uploader.acked < wanted and not self._over and not self._done:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._sent.wait(min(left_s, 0.5))
        return self._uploader.acked >= wanted

    def finish(self, state: str = "SUCCEEDED", *, timeout_s: float = FINISH_S) -> None:
        """End the run: SUCCEEDED, FAILED or CANCELLED. Waits at most `timeout_s` for the platform.

        What has not arrived by then stays on this machine for `stillroom sync`. Finishing twice is no error.
        """
        if state not in STATES:
            raise ValueError(f"state: expected {', '.join(STATES)}, not {state!r}.")
        with self._lock:
            if self._done:
                return
            self._done = True
        if self._folder is None:
            return
        for part in (self._endings, self._console, self._monitor):
            if part is not None:
                part.stop() if isinstance(part, SystemMonitor) else part.close()
        self._write_summary()
        self._spool_now()
        self._folder.update(closing=state)
        self._wake.set()
        self._spooler.join(timeout_s)
        if self._uploader is not None:
            self._sender.join(timeout_s)
        self._farewell()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], where: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.finish()
        elif issubclass(kind, KeyboardInterrupt):
            self.finish("CANCELLED")
        elif issubclass(kind, SystemExit):
            code = getattr(error, "code", None)
            cancelled = self._endings is not None and self._endings.state == "CANCELLED"
            self.finish("CANCELLED" if cancelled else "SUCCEEDED" if code in (None, 0) else "FAILED")
        else:
            self.log_text(f"{kind.__name__}: {error}", level="error")
            self.finish("FAILED")

    def _add(self, step: int, values: Mapping[str, float], time_s: Optional[float] = None) -> None:
        if self._folder is None or self._done:
            return
        self._batcher.add_points(step, time.time() if time_s is None else float(time_s), values, time.monotonic())
        if self._batcher.points >= MOST_OPEN_POINTS:
            self._spool_now()  # a loop that logs faster than a thread can write pays for the writing itself

    def _add_line(self, level: str, stream: str, line: str) -> None:
        if self._folder is not None and not self._done:
            self._batcher.add_log(LogLine(time.time(), level, stream, line[:8000]), time.monotonic())

    def _take_line(self, stream: str, line: str) -> None:
        self._add_line("info" if stream == "stdout" else "warning", stream, line)

    def _take_system(self, step: int, values: dict[str, float]) -> None:
        self._add(step, values)

    def _config_changed(self) -> None:
        if self._folder is None or self._done:
            return
        values = dict(self.config)
        if self._folder.state["run"] is None:
            self._folder.update(request={**self._folder.state["request"], "spec": values})
        self._folder.update(patch={**(self._folder.state.get("patch") or {}), "spec": values})
        self._wake.set()

    def _write_summary(self) -> None:
        assert self._folder is not None
        numbers: dict[str, float] = {}
        words: dict[str, str] = {}
        for key, value in self.summary.items():
            name = metric_key(f"summary/{key}")
            if isinstance(value, (int, float)) or value in ("NaN", "Infinity", "-Infinity"):
                numbers[name] = float(value) if isinstance(value, str) else scalar(name, value)
            else:
                words[name[:100]] = str(value)[:200]
        if numbers:
            self._batcher.add_points(max(self._step, 0), time.time(), numbers, time.monotonic())
        if words:
            tags = {**self._folder.state["request"].get("tags", {}), **words}
            self._folder.update(patch={**(self._folder.state.get("patch") or {}), "tags": tags})

    def _spool_loop(self) -> None:
        while not self._done:
            flush_s = (self._uploader.flush_ms if self._uploader else 1000) / 1000.0
            due = self._batcher.due_at(min(flush_s, 1.0))
            if due is not None and due <= time.monotonic():
                self._spool_now()
                self._wake.set()
            else:
                time.sleep(0.02 if due is not None else 0.05)

    def _spool_now(self) -> None:
        assert self._folder is not None
        with self._spool_lock:
            content = self._batcher.take(time.monotonic())
            for part in _parts(content) if content else ():
                self._append(part)

    def _append(self, content: Content) -> None:
        assert self._folder is not None
        spool = self._folder.spool
        for smaller in (content, content.without_logs().coalesced()):
            try:
                spool.append(smaller.encode(1, spool.last_seq + 1))
                return
            except SpoolFull as error:
                self._warn(f"{error} What is logged now is thinned or dropped.")
        self._dropped += content.points

    def _send_loop(self) -> None:
        assert self._uploader is not None
        failures, spoken_at = 0, time.monotonic()
        while True:
            self._wake.wait(min(HEARTBEAT_S, PATIENCE.pause_s(failures, None)) if failures else HEARTBEAT_S / 4)
            self._wake.clear()
            try:
                before = self._uploader.acked
                finished = self._uploader.pump()
                if self._uploader.acked > before:
                    spoken_at = time.monotonic()
                elif time.monotonic() - spoken_at >= HEARTBEAT_S and not finished:
                    self._uploader.heartbeat()
                    spoken_at = time.monotonic()
                failures = 0
                if finished:
                    break
            except RunOver as error:
                self._over = True
                self._warn(f"{error} What is logged from now on stays on this machine.")
                break
            except (ApiError, ConnectionFailed) as error:
                failures += 1
                self._warn(f"{error} Logging goes on; what is logged will be sent later.")
                self._pause(PATIENCE.pause_s(failures, getattr(error, "retry_after_s", None)))
            except StillroomError as error:
                self._warn(str(error))
                break
            finally:
                with self._sent:
                    self._sent.notify_all()
        self._finished = not self._over

    def _pause(self, pause_s: float) -> None:
        deadline = time.monotonic() + pause_s
        while (left_s := deadline - time.monotonic()) > 0 and not (self._done and left_s > FINISH_S):
            time.sleep(min(left_s, 0.1))

    def _farewell(self) -> None:
        assert self._folder is not None
        if self._dropped:
            self._warn(f"{self._dropped} points were dropped: the disk or the spool was full.")
        if self._uploader is not None and self._finished:
            self._folder.destroy()
            return
        waiting = f"{self._folder.path} keeps what is not on the platform. Run `stillroom sync` to send it."
        print(f"stillroom: {waiting}", file=sys.stderr)
        if not self._sender.is_alive():
            self._folder.close()

    def _ended(self, state: str, message: str) -> None:
        for line in message.splitlines()[-100:]:
            self._add_line("error", "log", line)
        self.finish(state)

    def _warn(self, text: str) -> None:
        """Say it once on standard error: logging never stops a training."""
        short = text.split("\n")[0]
        if short not in self._said and len(self._said) < 20:
            self._said.add(short)
            print(f"stillroom: {short}", file=sys.stderr)


def _parts(content: Content) -> Iterator[Content]:
    """A batch in pieces that the platform takes: at most MOST_OPEN_POINTS points each."""
    if content.points <= 2 * MOST_OPEN_POINTS:
        yield content
        return
    yield Content([], content.logs, content.progress)
    for one in content.series:
        for start in range(0, len(one.step), MOST_OPEN_POINTS):
            end = start + MOST_OPEN_POINTS
            yield Content([Series(one.key, one.step[start:end], one.value[start:end], one.time[start:end])])
