"""Tells the person at the terminal what happens: a live list there, plain lines elsewhere, or through a pipe."""

import json
import os
import time
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

MARKS = {"ready": "[green]✓[/]", "done": "[green]✓[/]", "failed": "[red]✗[/]", "starting": "[yellow]…[/]"}


class Progress(Protocol):
    """What the launcher reports. `step` may come often; `close` ends a live display."""

    def step(self, name: str, state: str, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class LineProgress:
    """One line for each thing that is finished."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, name: str, state: str, seconds: float) -> None:
        if state in ("ready", "done", "failed"):
            self._console.print(f"{name:<12} {state} after {seconds:.1f} s", highlight=False)

    def note(self, text: str) -> None:
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def close(self) -> None:
        pass


class LiveProgress:
    """A list that is redrawn in place. Drawn by hand: a refreshing thread would not survive the forks around it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: dict[str, tuple[str, float]] = {}
        self._live: Live | None = None

    def step(self, name: str, state: str, seconds: float) -> None:
        if state not in MARKS:
            return
        self._steps[name] = (state, seconds)
        table = Table.grid(padding=(0, 1))
        for step, (reached, took) in self._steps.items():
            table.add_row(MARKS[reached], step, "" if reached == "starting" else f"[dim]{took:.1f} s[/]")
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(table, refresh=True)

    def note(self, text: str) -> None:
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live, self._steps = None, {}


class PipeProgress:
    """Sends everything to the process that waits at the other end; without one, to standard output."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def step(self, name: str, state: str, seconds: float) -> None:
        self._send({"step": [name, state, seconds]})

    def note(self, text: str) -> None:
        if not self._send({"note": text}):
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)

    def close(self) -> None:
        """Nothing to put in order: the other end draws."""

    def end(self, *, ok: bool) -> None:
        """Tells the other end the outcome and lets it go."""
        self._send({"end": ok})
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _send(self, message: dict[str, Any]) -> bool:
        if self._descriptor < 0:
            return False
        try:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            return False
        return True


def on_terminal() -> Progress:
    """The display that suits standard output."""
    console = Console()
    return LiveProgress(console) if console.is_terminal else LineProgress(console)


def relay(descriptor: int, progress: Progress) -> bool:
    """Shows what the process at the other end sends, until it ends. Returns whether it became ready."""
    ready = False
    with os.fdopen(descriptor, "r", encoding="utf-8") as messages:
        for line in messages:
            match json.loads(line):
                case {"step": [str(name), str(state), float(seconds)]}:
                    progress.step(name, state, seconds)
                case {"note": str(text)}:
                    progress.close()
                    progress.note(text)
                case {"end": bool(ok)}:
                    ready = ok
    progress.close()
    return ready
