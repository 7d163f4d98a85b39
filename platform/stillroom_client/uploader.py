"""Brings a run folder to the platform: creates or takes over the run, posts batches in order, uploads, ends it.

Every step may be repeated: creating carries the folder's key, batches are numbered, artifacts have hashes, ending twice
is no error. So a process killed at any moment leaves a folder that another one completes without doubling a point.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from stillroom_client.errors import ApiError, StillroomError
from stillroom_client.folder import RunFolder, Upload
from stillroom_client.points import AttemptApi, decode_batch, is_gone, is_stale, pack_batch, without_refused
from stillroom_client.transport import ONCE, Transport

REFUSED_FOR_GOOD = frozenset({400, 413, 422})


class RunOver(StillroomError):
    """The platform takes nothing more for this run: cancelled, deleted, or another writer has gone on with it."""


class Uploader:
    """One folder's way to the platform. Used by one thread at a time.

    insist: go on with a run that was cancelled or ended meanwhile, as `stillroom sync` does for a person.
    tell: takes a sentence that somebody should read.
    """

    def __init__(
        self,
        folder: RunFolder,
        transport: Transport,
        *,
        insist: bool = False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._transport = transport
        self._insist = insist
        self._tell = tell
        self._next = max(folder.spool.first_seq, 1)
        self.flush_ms = 1000
        self.intent = "run"

    @property
    def acked(self) -> int:
        """Every batch up to this one is on the platform's disk."""
        return self._next - 1

    @property
    def backlog(self) -> int:
        """Batches that are spooled and not acknowledged."""
        return self._folder.spool.last_seq - self.acked

    def ensure_run(self) -> str:
        """The run's id; creates it, or takes over the one to resume. Raises ApiError, ConnectionFailed."""
        state = self._folder.state
        if state["run"] is None:
            org, _, project = str(state["project"]).partition("/")
            made = self._transport.call(
                "POST",
                f"/orgs/{quote(org, safe='')}/projects/{quote(project, safe='')}/runs",
                json={"external": True, **state["request"]},
                headers={"Idempotency-Key": self._folder.uid},
            ).data
            self._folder.update(run=made["id"], epoch=made["epoch"])
        elif state.get("resume"):
            self._reopen(None, step=state.get("resume_step"))
        return str(self._folder.state["run"])

    def pump(self) -> bool:
        """Send what there is, once through. True when nothing is left, False when more is still to come or to end.

        Raises ConnectionFailed and ApiError for what may pass later, RunOver.
        """
        self.ensure_run()
        self._patch()
        while self._next <= self._folder.spool.last_seq:
            self._post(self._next)
        for upload in self._folder.waiting_artifacts():
            self._upload(upload)
        closing = self._folder.state["closing"]
        if closing is None or self.backlog:
            return False
        self._patch()
        self._guarded(lambda: self._call("POST", "/finish", {"state": closing}))
        return True

    def heartbeat(self) -> None:
        """Say that the run is alive although it has nothing to log."""
        self._guarded(lambda: self._call("POST", "/heartbeat", {}))

    def _post(self, seq: int) -> None:
        state = self._folder.state
        api = AttemptApi(self._transport, state["run"], state["epoch"])
        payload = decode_batch(self._folder.spool.read(seq))
        payload.update(epoch=state["epoch"], seq=seq - state["offset"])
        body = pack_batch(payload)
        while True:
            try:
                ack = api.post(body, retries=ONCE)
                break
            except ApiError as error:
                if error.code == "ingest.gap" and isinstance(error.body.get("last_seq"), int):
                    self._rewind(int(error.body["last_seq"]))
                    return
                if error.code == "ingest.seq_conflict":
                    self._tell(f"Batch {seq} of {state['run']}: the platform holds other content under this number.")
                    self._pass(seq)
                    return
                if is_stale(error) or is_gone(error):
                    self._go_on_or_stop(error)
                    return
                mended = without_refused(body, error) if error.status in REFUSED_FOR_GOOD else None
                if mended is None:
                    raise
                self._tell(f"The platform refused a part of what was logged: {error}")
                body = mended
        self.flush_ms, self.intent = ack.flush_ms, ack.intent
        self._pass(max(seq, min(ack.last_seq + state["offset"], self._folder.spool.last_seq)))

    def _pass(self, seq: int) -> None:
        self._next = seq + 1
        self._folder.spool.ack(seq)

    def _rewind(self, last_seq: int) -> None:
        """The platform has less than we thought. What is not kept any more cannot come back: number on from there."""
        first = self._folder.spool.first_seq
        wanted = last_seq + 1 + self._folder.state["offset"]
        if wanted < first:
            self._tell(f"{first - wanted} batches of {self._folder.state['run']} are lost: the platform forgot them.")
            self._folder.update(offset=first - last_seq - 1)
            wanted = first
        self._next = wanted

    def _go_on_or_stop(self, error: ApiError) -> None:
        """The attempt is over. A run given up for silence, or one that somebody insists on, is taken over again."""
        state = self._folder.state
        if is_gone(error):
            raise RunOver(f"Run {state['run']} does not exist any more.") from error
        now = self._call("GET", "", None)
        if now["epoch"] == state["epoch"] and now["state"] != "LOST" and not self._insist:
            raise RunOver(f"Run {state['run']} is {now['state'].lower()} on the platform.") from error
        try:
            # Also when the epoch has moved: perhaps we moved it, and died before noting it.
            self._reopen(state["epoch"])
        except ApiError as refusal:
            if refusal.code == "run.taken_over":
                raise RunOver(f"Another writer has gone on with run {state['run']}.") from refusal
            raise

    def _reopen(self, after_epoch: int | None, step: int | None = None) -> None:
        state = self._folder.state
        body = {"writer": f"{state['uid']}.{after_epoch or 0}", "after_epoch": after_epoch, "step": step}
        answer = self._call("POST", "/reopen", body)
        # Batches of the old epoch up to its last one are stored: they keep their place, the rest is numbered from 1.
        stored = state["offset"] + answer["previous_last_seq"] if after_epoch is not None else state["offset"]
        self._folder.update(epoch=answer["epoch"], offset=stored, resume=False)
        self._next = max(stored + answer["last_seq"] + 1, self._folder.spool.first_seq)

    def _upload(self, upload: Upload) -> None:
        state = self._folder.state
        if not upload.file.is_file():
            self._tell(f"{upload.path}: its copy is gone; not uploaded.")
            self._folder.artifact_sent(upload)
            return
        api = AttemptApi(self._transport, state["run"], state["epoch"])
        media_type = mimetypes.guess_type(upload.path)[0] or "application/octet-stream"
        try:
            with upload.file.open("rb") as source:
                api.put_artifact(upload.path, source, media_type=media_type)
        except ApiError as error:
            if is_stale(error) or is_gone(error):
                self._go_on_or_stop(error)
                return
            if error.status not in (400, 409, 413, 422):
                raise
            self._tell(f"{upload.path} was refused: {error}")
        self._folder.artifact_sent(upload)

    def _patch(self) -> None:
        changes = self._folder.state.get("patch")
        if changes:
            self._call("PATCH", "", changes)
            if self._folder.state.get("patch") == changes:
                self._folder.update(patch=None)

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except ApiError as error:
            if error.code in ("run.ended", "run.stale") and not self._insist:
                raise RunOver(str(error.message)) from error
            if error.code != "run.ended":
                raise
            closing = self._folder.state["closing"]
            now = self._call("GET", "", None)["state"]
            if closing is not None and now != closing:
                self._reopen(self._folder.state["epoch"])
                call()

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        run = quote(str(self._folder.state["run"]), safe="")
        data = self._transport.call(method, f"/runs/{run}{path}", json=body, retries=ONCE).data
        return dict(data or {})
