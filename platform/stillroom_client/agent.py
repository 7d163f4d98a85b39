"""The calls of a node: attach, heartbeat, claim, finish. See `docs/reference/wire.md`, section 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from stillroom_client.transport import ONCE, Retries, Transport


@dataclass(frozen=True)
class DeviceInfo:
    """One device as the scheduler counts it. memory_bytes: 0 when unknown."""

    kind: str
    index: int
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Attached:
    """queue: the Celery queue that wakes this node. The rest in seconds."""

    node: str
    queue: str
    heartbeat_s: float
    lease_s: float
    grace_s: float


@dataclass(frozen=True)
class Assignment:
    """A run that this node may claim."""

    run: str
    epoch: int


@dataclass(frozen=True)
class RunPulse:
    """A heartbeat's answer for one run. ok False: the lease is lost."""

    run: str
    epoch: int
    ok: bool
    intent: str
    run_token: str | None


@dataclass(frozen=True)
class Pulse:
    """A heartbeat's answer."""

    runs: tuple[RunPulse, ...]
    assigned: tuple[Assignment, ...]
    draining: bool


@dataclass(frozen=True)
class RemoteFile:
    """A file of a checkpoint: `path` names the artifact, `name` the file inside the checkpoint."""

    path: str
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Resume:
    """The checkpoint to go on from."""

    step: int
    epoch: int
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Claim:
    """Everything needed to execute one attempt. Durations in seconds; time_limit_s None: unlimited.

    spread: over how many of its devices the program spreads itself.
    """

    run: str
    epoch: int
    org: str
    project: str
    recipe: str
    recipe_version: str
    spec: Mapping[str, Any]
    spec_hash: str
    seed: int
    devices: tuple[tuple[str, int], ...]
    spread: int
    resume: Resume | None
    run_token: str
    lease_s: float
    grace_s: float
    time_limit_s: float | None


class AgentApi:
    """Typed calls with a node token. Each raises ApiError and ConnectionFailed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def attach(self, incarnation: str, hostname: str, version: str, devices: Sequence[DeviceInfo]) -> Attached:
        """Say hello. To be called only when nothing of an older incarnation is alive on this node."""
        data = self._post(
            "/agent/attach",
            {
                "incarnation": incarnation,
                "hostname": hostname,
                "version": version,
                "devices": [
                    {"kind": d.kind, "index": d.index, "name": d.name, "memory_bytes": d.memory_bytes} for d in devices
                ],
            },
        )
        return Attached(
            str(data["node"]),
            str(data["queue"]),
            float(data["heartbeat_s"]),
            float(data["lease_s"]),
            float(data["grace_s"]),
        )

    def heartbeat(
        self, incarnation: str, runs: Sequence[Assignment], *, timeout_s: float, leaving: bool = False
    ) -> Pulse:
        """Renew every lease of this node. Tried once: whoever calls it beats again anyway.

        leaving: the node takes no more work.
        """
        held = [{"run": one.run, "epoch": one.epoch} for one in runs]
        body = {"incarnation": incarnation, "runs": held, "leaving": leaving}
        data = self._post("/agent/heartbeat", body, retries=ONCE, timeout_s=timeout_s)
        return Pulse(
            tuple(
                RunPulse(str(r["run"]), int(r["epoch"]), bool(r["ok"]), str(r.get("intent", "run")), r.get("run_token"))
                for r in data["runs"]
            ),
            _assignments(data.get("assigned", [])),
            bool(data.get("draining", False)),
        )

    def assigned(self) -> tuple[Assignment, ...]:
        """Runs assigned to this node and not claimed yet."""
        return _assignments(self._transport.call("GET", "/agent/runs", retries=ONCE).data["items"])

    def claim(self, run: str, epoch: int, incarnation: str) -> Claim:
        """Take the run. ApiError with code run.not_claimable when somebody else has it, or nobody may."""
        data = self._post(_of(run, "claim"), {"epoch": epoch, "incarnation": incarnation})
        return Claim(
            run=str(data["run"]),
            epoch=int(data["epoch"]),
            org=str(data["org"]),
            project=str(data["project"]),
            recipe=str(data["recipe"]),
            recipe_version=str(data["recipe_version"]),
            spec=dict(data["spec"]),
            spec_hash=str(data["spec_hash"]),
            seed=int(data["seed"]),
            devices=tuple((str(d["kind"]), int(d["index"])) for d in data["devices"]),
            spread=int(data.get("spread", 1)),
            resume=_resume(data.get("resume")),
            run_token=str(data["run_token"]),
            lease_s=float(data["lease_s"]),
            grace_s=float(data["grace_s"]),
            time_limit_s=float(data["time_limit_s"]) if data.get("time_limit_s") else None,
        )

    def started(self, run: str, epoch: int) -> None:
        """The process is alive."""
        self._post(_of(run, "started"), {"epoch": epoch})

    def stopping(self, run: str, epoch: int) -> None:
        """The process has been asked to stop, because the run's intent says so."""
        self._post(_of(run, "stopping"), {"epoch": epoch})

    def checkpoint(self, run: str, epoch: int, step: int, files: Sequence[RemoteFile]) -> None:
        """From now on a restart resumes after `step`. The files have been put as artifacts before."""
        self._post(
            _of(run, "checkpoint"),
            {
                "epoch": epoch,
                "step": step,
                "files": [
                    {"path": f.path, "name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in files
                ],
            },
        )

    def finish(
        self,
        run: str,
        epoch: int,
        *,
        outcome: str,
        final_seq: int,
        exit_code: int | None,
        error: Mapping[str, str] | None,
        retryable: bool,
    ) -> str:
        """End the attempt and give the run's new state. ApiError run.tail_missing (body: last_seq), run.stale."""
        data = self._post(
            _of(run, "finish"),
            {
                "epoch": epoch,
                "outcome": outcome,
                "final_seq": final_seq,
                "exit_code": exit_code,
                "error": dict(error) if error is not None else None,
                "retryable": retryable,
            },
        )
        return str(data["state"])

    def _post(
        self, path: str, body: Mapping[str, Any], *, retries: Retries | None = None, timeout_s: float | None = None
    ) -> dict[str, Any]:
        reply = self._transport.call("POST", path, json=body, retries=retries, timeout_s=timeout_s)
        return dict(reply.data or {})


def _of(run: str, verb: str) -> str:
    return f"/agent/runs/{quote(run, safe='')}/{verb}"


def _assignments(items: Sequence[Mapping[str, Any]]) -> tuple[Assignment, ...]:
    return tuple(Assignment(str(one["run"]), int(one["epoch"])) for one in items)


def _resume(data: Mapping[str, Any] | None) -> Resume | None:
    if data is None:
        return None
    files = tuple(
        RemoteFile(str(f["path"]), str(f["name"]), int(f["size_bytes"]), str(f["sha256"])) for f in data["files"]
    )
    return Resume(int(data["step"]), int(data["epoch"]), files)
