"""The same work in many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connections


def at_once(times: int, work: Callable[[], object]) -> None:
    """Run `work` in `times` threads and wait for all; each gives its database connections back, as a request does."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
