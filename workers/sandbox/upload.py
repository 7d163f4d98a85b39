"""Uploads artifacts and checkpoints in the background, in order, while metrics go their own way."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from stillroom_client.agent import RemoteFile
from stillroom_client.errors import ApiError, ConnectionFailed
from stillroom_client.points import AttemptApi, is_gone, is_stale
from stillroom_client.transport import ONCE
from workers.sandbox.files import NotInside, is_plain_path, open_inside
from workers.sandbox.sender import PATIENCE

log = logging.getLogger(__name__)

CHECKPOINT_MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class ArtifactJob:
    """A file to be put under `name`. It is opened when its turn comes."""

    name: str
    path: str
    media_type: str


@dataclass(frozen=True)
class CheckpointJob:
    """Files already opened, so that the run may rotate them away.

    after_seq: the batch that holds everything the run said before; the checkpoint counts only when that has arrived.
    """

    step: int
    after_seq: int
    files: Sequence[tuple[RemoteFile, BinaryIO]]

    def close(self) -> None:
        for _, file in self.files:
            file.close()


class Uploader:
    """One attempt's queue. `add_...` never blocks.

    wait_for: waits until the platform holds a batch, False when it never will. publish: announces a checkpoint.
    say: a log line of the run. on_stale: the attempt is over.
    """

    def __init__(
        self,
        api: AttemptApi,
        workdir: Path,
        *,
        wait_for: Callable[[int], bool],
        publish: Callable[[int, Sequence[RemoteFile]], None],
        say: Callable[[str, str], None],
        on_stale: Callable[[], None],
    ) -> None:
        self._api = api
        self._workdir = workdir
        self._wait_for = wait_for
        self._publish = publish
        self._say = say
        self._on_stale = on_stale
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._jobs: deque[ArtifactJob | CheckpointJob] = deque()
        self._busy = False
        self._thread = threading.Thread(target=self._run, name=f"upload-{api.run}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Upload nothing more; what is under way ends with its current try."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def add_artifact(self, event: Mapping[str, Any]) -> None:
        """Queue what an artifact event names."""
        name, path = str(event["name"]), str(event["path"])
        if not is_plain_path(name):
            self._say("warning", f"The artifact name {name[:200]!r} is not a relative path; it was not uploaded.")
            return
        self._add(ArtifactJob(name, path, str(event.get("media_type") or CHECKPOINT_MEDIA_TYPE)))

    def add_checkpoint(self, event: Mapping[str, Any], after_seq: int) -> None:
        """Queue a checkpoint and forget older ones that have not begun: only the newest matters."""
        folder = str(event["path"])
        opened: list[tuple[RemoteFile, BinaryIO]] = []
        try:
            for listed in event["files"]:
                name = str(listed["name"])
                if not is_plain_path(f"{folder}/{name}") or "/" in name:
                    raise NotInside(f"{name!r} is not a file name.")
                remote = RemoteFile(f"{folder}/{name}", name, int(listed["size_bytes"]), str(listed["sha256"]))
                opened.append((remote, open_inside(self._workdir, remote.path)))
        except (OSError, NotInside) as error:
            for _, file in opened:
                file.close()
            self._say("warning", f"The checkpoint of step {event['step']} cannot be read: {error}")
            return
        job = CheckpointJob(int(event["step"]), after_seq, tuple(opened))
        with self._changed:
            for older in [one for one in self._jobs if isinstance(one, CheckpointJob)]:
                self._jobs.remove(older)
                older.close()
        self._add(job)

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything queued has been dealt with. False after the timeout, or when stopped."""
        with self._changed:
            self._changed.wait_for(lambda: (not self._jobs and not self._busy) or self._stopping.is_set(), timeout_s)
            return not self._jobs and not self._busy

    def _add(self, job: ArtifactJob | CheckpointJob) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._jobs) or self._stopping.is_set())
                if self._stopping.is_set():
                    for left in self._jobs:
                        if isinstance(left, CheckpointJob):
                            left.close()
                    return
                job = self._jobs.popleft()
                self._busy = True
            self._do(job)

    def _do(self, job: ArtifactJob | CheckpointJob) -> None:
        what = f"artifact {job.name}" if isinstance(job, ArtifactJob) else f"checkpoint of step {job.step}"
        try:
            if isinstance(job, ArtifactJob):
                with open_inside(self._workdir, job.path) as file:
                    self._put(job.name, file, job.media_type)
            else:
                with contextlib.closing(job):
                    self._checkpoint(job)
        except _Stopped:
            return
        except (OSError, NotInside) as error:
            self._say("warning", f"The {what} cannot be read: {error}")
        except ApiError as error:
            if is_stale(error) or is_gone(error):
                self._on_stale()
                return
            self._say("error", f"The platform refused the {what}: {error}")

    def _checkpoint(self, job: CheckpointJob) -> None:
        for remote, file in job.files:
            digest, size_bytes = self._put(remote.path, file, CHECKPOINT_MEDIA_TYPE)
            if (digest, size_bytes) != (remote.sha256.lower(), remote.size_bytes):
                self._say("error", f"The checkpoint of step {job.step} is damaged: {remote.name} has changed.")
                return
        if self._wait_for(job.after_seq):
            self._patiently(lambda: self._publish(job.step, [remote for remote, _ in job.files]))

    def _put(self, path: str, file: BinaryIO, media_type: str) -> tuple[str, int]:
        stored: list[tuple[str, int]] = []
        self._patiently(lambda: stored.append(self._api.put_artifact(path, file, media_type=media_type, retries=ONCE)))
        return stored[0]

    def _patiently(self, call: Callable[[], None]) -> None:
        """Until it works, or is refused for good (ApiError), or this queue is stopped (_Stopped)."""
        failures = 0
        while not self._stopping.is_set():
            retry_after_s: float | None = None
            try:
                call()
                return
            except ConnectionFailed as error:
                log.debug("upload for %s: %s", self._api.run, error)
            except ApiError as error:
                if not error.may_pass and error.status != 401:
                    raise
                retry_after_s = error.retry_after_s
            failures += 1
            self._stopping.wait(PATIENCE.pause_s(failures, retry_after_s))
        raise _Stopped


class _Stopped(Exception):
    """The queue was stopped in the middle of a job."""
