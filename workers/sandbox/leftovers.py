"""Remembers every process the agent starts, so that its next life can end those that outlived it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from workers.sandbox.processes import Identity, identity_of, kill_all

log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Ledger:
    """One small file per process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boot = _BOOT_ID.read_text().strip()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def record(self, identity: Identity, tag: str) -> None:
        """To be called right after the start."""
        record = {"pid": identity.pid, "started": identity.started, "tag": tag, "boot": self._boot}
        path = self._path(tag)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(record))
        partial.replace(path)

    def forget(self, tag: str) -> None:
        """Nothing with this tag is alive any more."""
        self._path(tag).unlink(missing_ok=True)

    def kill_leftovers(self) -> int:
        """End what earlier lives of the agent left behind and give the number of starts concerned.

        A process is ended only when its id and start time are the recorded ones, or when it carries the tag.
        """
        ended = 0
        for path in sorted(self._folder.glob("*.json")):
            try:
                record = json.loads(path.read_text())
                identity = Identity(int(record["pid"]), int(record["started"]))
                tag, boot = str(record["tag"]), record["boot"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("the record %s cannot be read (%s) and is removed", path.name, error)
                path.unlink(missing_ok=True)
                continue
            if boot == self._boot:
                same = identity_of(identity.pid) == identity
                if not kill_all(identity.pid if same else -1, tag):
                    log.error("process %d of an earlier agent cannot be ended", identity.pid)
                    continue
                ended += same
            path.unlink(missing_ok=True)
        return ended

    def _path(self, tag: str) -> Path:
        return self._folder / f"{tag}.json"
