"""How long an attempt may go on without hearing from the platform. Durations of the monotonic clock only."""

from __future__ import annotations

import threading

# The platform gives the run away after the lease; its process must be dead before, with room for a slow kill.
MARGIN_S = 15.0


class Lease:
    """Granted for `lease_s` seconds from the moment at which the request was sent, which is on the safe side."""

    def __init__(self, lease_s: float, sent_at: float) -> None:
        self._patience_s = lease_s - min(MARGIN_S, lease_s / 4)
        self._renewed_at = sent_at
        self._lock = threading.Lock()

    def renew(self, sent_at: float) -> None:
        """A heartbeat sent then was answered. An answer that comes late never shortens the lease."""
        with self._lock:
            self._renewed_at = max(self._renewed_at, sent_at)

    def is_lost(self, now: float) -> bool:
        """Must the run be ended now, because nobody knows whether it still holds its devices?"""
        with self._lock:
            return now - self._renewed_at > self._patience_s
