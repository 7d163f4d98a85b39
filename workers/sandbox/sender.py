"""Posts spooled batches in order, one at a time, until the attempt is over or fenced off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from stillroom_client.errors import ApiError, ConnectionFailed
from stillroom_client.points import Ack, AttemptApi, is_gone, is_stale, without_refused
from stillroom_client.spool import Spool
from stillroom_client.transport import ONCE, Retries

log = logging.getLogger(__name__)

PATIENCE = Retries(base_s=0.2, cap_s=10.0)
REFUSED_FOR_GOOD = frozenset({400, 413, 422})


class Sender:
    """One attempt's way to the platform.

    on_ack: called after each stored batch. on_stale: called once, when the platform says that the attempt is over.
    """

    def __init__(
        self,
        api: AttemptApi,
        spool: Spool,
        *,
        on_ack: Callable[[Ack], None],
        on_stale: Callable[[], None],
    ) -> None:
        self._api = api
        self._spool = spool
        self._on_ack = on_ack
        self._on_stale = on_stale
        self._changed = threading.Condition()
        self._next = spool.first_seq
        self._acked = spool.first_seq - 1
        self._stopped = False
        self._replaced: dict[int, bytes] = {}
        self._thread = threading.Thread(target=self._run, name=f"send-{api.run}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is a new batch, or a reason to try again at once."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """Post nothing more; returns at once."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def backlog(self) -> int:
        """Batches written and not acknowledged."""
        return self._spool.last_seq - self._acked

    def wait_for(self, seq: int, timeout_s: float) -> bool:
        """Wait until the platform holds every batch up to this one. False after the timeout, or when stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._acked >= seq or self._stopped, timeout_s)
            return self._acked >= seq

    def rewind(self, seq: int) -> bool:
        """Send again from this batch on. False when it is not kept any more."""
        with self._changed:
            if seq < self._spool.first_seq:
                return False
            self._next, self._acked = seq, seq - 1
            self._changed.notify_all()
            return True

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._next <= self._spool.last_seq)
                if self._stopped:
                    return
                seq = self._next
            retry_after_s: float | None = None
            try:
                self._take(seq, self._api.post(self._payload(seq), retries=ONCE))
                failures = 0
                continue
            except ConnectionFailed as error:
                log.debug("batch %d of %s: %s", seq, self._api.run, error)
            except ApiError as error:
                if is_stale(error) or is_gone(error):
                    self.stop()
                    self._on_stale()
                    return
                if self._mend(seq, error):
                    continue
                retry_after_s = error.retry_after_s
                log.warning("batch %d of %s: %s", seq, self._api.run, error)
            failures += 1
            self._pause(PATIENCE.pause_s(failures, retry_after_s))

    def _payload(self, seq: int) -> bytes:
        return self._replaced.get(seq) or self._spool.read(seq)

    def _take(self, seq: int, ack: Ack) -> None:
        self._pass(seq)
        self._on_ack(ack)

    def _pass(self, seq: int) -> None:
        with self._changed:
            if self._next == seq:
                self._next = seq + 1
                self._acked = seq
                self._spool.ack(seq)
            self._changed.notify_all()

    def _mend(self, seq: int, error: ApiError) -> bool:
        """Make the next try different from the one that was refused; False when only waiting can help."""
        if error.code == "ingest.gap" and isinstance(error.body.get("last_seq"), int):
            return self.rewind(int(error.body["last_seq"]) + 1)
        if error.code == "ingest.seq_conflict":
            log.error("batch %d of %s: the platform holds other content under this number", seq, self._api.run)
            self._pass(seq)
            return True
        if error.status in REFUSED_FOR_GOOD:
            mended = without_refused(self._payload(seq), error)
            if mended is not None:
                log.warning("batch %d of %s was refused in part: %s", seq, self._api.run, error)
                self._replaced[seq] = mended
                return True
        return False

    def _pause(self, pause_s: float) -> None:
        deadline = time.monotonic() + pause_s
        with self._changed:
            while not self._stopped and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)
