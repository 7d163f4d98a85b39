"""How a script ends, seen from inside: normally, by an exception, by sys.exit with a code, by SIGTERM.

The hooks call on to what was there before, do nothing in forked children, and are taken back when the run is finished.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Optional

EXIT_BY_TERM = 128 + signal.SIGTERM


class Endings:
    """Calls `ended(state, message)` once, when the interpreter ends before the run was finished.

    state: how it looks so far. KeyboardInterrupt and SIGTERM mean CANCELLED, any other exception and a nonzero exit
    code FAILED, else SUCCEEDED.
    """

    def __init__(self, ended: Callable[[str, str], None]) -> None:
        self._ended = ended
        self._pid = os.getpid()
        self.state, self._message = "SUCCEEDED", ""
        self._hook, self._exit = sys.excepthook, sys.exit
        self._term: Any = None
        sys.excepthook = self._on_exception
        sys.exit = self._on_exit
        atexit.register(self._at_exit)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) in (
            signal.SIG_DFL,
            None,
        ):
            self._term = signal.signal(signal.SIGTERM, self._on_term)

    def close(self) -> None:
        """Take every hook back that is still ours."""
        atexit.unregister(self._at_exit)
        if sys.excepthook == self._on_exception:
            sys.excepthook = self._hook
        if sys.exit == self._on_exit:
            sys.exit = self._exit
        in_main = threading.current_thread() is threading.main_thread()
        if self._term is not None and in_main and signal.getsignal(signal.SIGTERM) == self._on_term:
            signal.signal(signal.SIGTERM, self._term)

    def _on_exception(self, kind: type[BaseException], error: BaseException, where: Optional[TracebackType]) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self.state, self._message = "CANCELLED", "Interrupted from the keyboard."
        else:
            self.state = "FAILED"
            self._message = "".join(traceback.format_exception(kind, error, where))
        self._hook(kind, error, where)

    def _on_exit(self, status: Any = None, /) -> Any:
        if status not in (None, 0, False) and os.getpid() == self._pid:
            self.state, self._message = "FAILED", f"The script ended with exit code {status}."
        self._exit(status)

    def _on_term(self, number: int, frame: Any) -> None:
        """Unwind the main thread, so that nothing it holds is held for ever; a second signal ends it at once."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != self._pid:
            os.kill(os.getpid(), signal.SIGTERM)
        self.state, self._message = "CANCELLED", "Ended by SIGTERM."
        raise SystemExit(EXIT_BY_TERM)

    def _at_exit(self) -> None:
        if os.getpid() == self._pid:
            self._ended(self.state, self._message)
