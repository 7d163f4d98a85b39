"""One attempt of one run, from the claim to the finish.

Its thread is the pump: while the run's process is alive it never waits for the network.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom_client.agent import AgentApi, Claim, RemoteFile, RunPulse
from stillroom_client.errors import ApiError, ConnectionFailed
from stillroom_client.points import Ack, AttemptApi, is_gone, is_stale
from stillroom_client.spool import Spool, SpoolFull
from stillroom_client.transport import Transport
from workers.devices import Device, environment_for
from workers.folders import AttemptFolder, AttemptState
from workers.lease import Lease
from workers.report import Announcer, report_end
from workers.sandbox.environment import of_attempt
from workers.sandbox.monitor import Monitor
from workers.sandbox.oom import OomWatch
from workers.sandbox.outcome import Outcome, StopReason, judge
from workers.sandbox.resume import CheckpointDamaged, fetch_checkpoint
from workers.sandbox.sender import Sender
from workers.sandbox.spares import Spares
from workers.sandbox.spawn import Child, Nursery
from workers.sandbox.stop import Stopper
from workers.sandbox.stream import Stream
from workers.sandbox.upload import Uploader

log = logging.getLogger(__name__)

# How long a pipe may stay open after everything that could write to it has been killed.
DRAIN_S = 5.0
TRACEBACK_CHARS = 7_000
LOOK_S = 0.5


@dataclass(frozen=True)
class Node:
    """What every attempt of this agent shares. home: the node's folder. run_user: (uid, gid) that runs become."""

    agent: AgentApi
    transport: Transport
    nursery: Nursery
    spares: Spares
    inventory: Sequence[Device]
    home: Path
    incarnation: str
    run_user: tuple[int, int] | None
    environment: Mapping[str, str]


class Attempt:
    """Started once. `renew`, `ask_to_stop` and `fence` may be called from any thread, at any time."""

    def __init__(self, node: Node, run: str, epoch: int, on_end: Callable[[Attempt], None]) -> None:
        self._node = node
        self.run = run
        self.epoch = epoch
        self._on_end = on_end
        self._fenced = threading.Event()
        self._stop: StopReason | None = None
        self._lock = threading.Lock()
        self._token = ""
        self._lease: Lease | None = None
        self._folder = AttemptFolder.of(node.home, run, epoch)
        self._end: Mapping[str, Any] | None = None
        self._stream: Stream | None = None
        self._uploader: Uploader | None = None
        self._announcer = Announcer(run)
        self._after: Attempt | None = None
        self._thread = threading.Thread(target=self._run, name=f"run-{run}", daemon=True)

    def start(self, after: Attempt | None = None) -> None:
        """Begin in a thread of its own, when `after` (an older attempt of the same run) has left its devices."""
        self._after = after
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing of the attempt is left here. False after the timeout."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def holds_devices(self) -> bool:
        """Must heartbeats list it? Until its process is dead, lease or no lease: only then are the devices clean."""
        return self._lease is not None

    def renew(self, sent_at: float, pulse: RunPulse) -> None:
        """Take a heartbeat's answer. sent_at: monotonic seconds."""
        if self._lease is None:
            return
        if not pulse.ok:
            self.fence("the platform says that the lease is lost")
            return
        self._lease.renew(sent_at)
        if pulse.run_token and pulse.run_token != self._token:
            self._token = pulse.run_token
            self._keep_state()
        if pulse.intent != "run":
            self.ask_to_stop(StopReason.INTENT)

    def ask_to_stop(self, reason: StopReason) -> None:
        """Let it write a checkpoint and end. The platform's wish outranks the node's; the first time limit stays."""
        with self._lock:
            if self._stop is None or (self._stop is StopReason.SHUTDOWN and reason is StopReason.INTENT):
                self._stop = reason

    def fence(self, why: str) -> None:
        """Kill it at once and write nothing more."""
        if not self._fenced.is_set():
            log.warning("%s (epoch %d) is killed: %s", self.run, self.epoch, why)
            self._fenced.set()

    def on_artifact(self, event: Mapping[str, Any]) -> None:
        if self._uploader is not None:
            self._uploader.add_artifact(event)

    def on_checkpoint(self, event: Mapping[str, Any]) -> None:
        if self._uploader is not None and self._stream is not None:
            self._uploader.add_checkpoint(event, self._stream.seal())

    def on_end(self, event: Mapping[str, Any]) -> None:
        self._end = event
        error = event.get("error")
        if isinstance(error, Mapping) and error.get("traceback") and self._stream is not None:
            self._stream.say("error", str(error["traceback"])[-TRACEBACK_CHARS:])

    def _run(self) -> None:
        try:
            if self._after is not None:
                self._after.join()
            claim = self._claim()
            if claim is not None:
                self._carry_out(claim)
        except Exception:
            log.exception("%s (epoch %d) ends without a report; the platform will notice", self.run, self.epoch)
        finally:
            self._fenced.set()
            self._on_end(self)

    def _claim(self) -> Claim | None:
        sent_at = time.monotonic()
        try:
            claim = self._node.agent.claim(self.run, self.epoch, self._node.incarnation)
        except (ApiError, ConnectionFailed) as error:
            level = logging.DEBUG if isinstance(error, ApiError) and is_stale(error) else logging.WARNING
            log.log(level, "%s (epoch %d) is not claimed: %s", self.run, self.epoch, error)
            return None
        self._token = claim.run_token
        self._lease = Lease(claim.lease_s, sent_at)
        log.info("%s (epoch %d): %s on %s", self.run, self.epoch, claim.recipe, _device_names(claim.devices))
        return claim

    def _carry_out(self, claim: Claim) -> None:
        node = self._node
        api = AttemptApi(node.transport, self.run, self.epoch, lambda: self._token)
        self._folder.create(node.run_user)
        self._keep_state()
        spool = Spool(self._folder.spool)
        sender = Sender(api, spool, on_ack=self._on_ack, on_stale=self._on_stale)
        stream = self._stream = Stream(self.epoch, spool, self, wake=sender.wake)
        stream.backlog = lambda: sender.backlog
        uploader = self._uploader = Uploader(
            api,
            self._folder.work,
            wait_for=lambda seq: self._has_arrived(sender, seq),
            publish=self._publish_checkpoint,
            say=stream.say,
            on_stale=self._on_stale,
        )
        sender.start()
        uploader.start()
        try:
            outcome = self._prepare_and_execute(claim, api, stream)
            while not self._fenced.is_set() and not uploader.drain(LOOK_S):
                stream.pump(0.0)
            if outcome is None or self._fenced.is_set():
                return
            self._announcer.wait(claim.grace_s)
            state = report_end(
                node.agent, sender, self.run, self.epoch, outcome, stream.finish(), is_over=self._fenced.is_set
            )
            log.info("%s (epoch %d): %s, now %s", self.run, self.epoch, outcome.code or outcome.outcome, state)
        finally:
            sender.stop()
            uploader.stop()
            spool.destroy()
            self._folder.remove()

    def _prepare_and_execute(self, claim: Claim, api: AttemptApi, stream: Stream) -> Outcome | None:
        """None when the attempt was fenced off."""
        try:
            arguments = self._arguments(claim, self._fetch(claim, api))
            devices = environment_for(claim.devices, self._node.inventory, spread=claim.spread)
            cache = self._node.home / "cache" / claim.org
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._node.run_user:
                cache.chmod(0o1777)
            child = self._begin(claim, arguments, of_attempt(devices, home=self._folder.work, cache=cache))
        except CheckpointDamaged as error:
            stream.say("error", str(error))
            return Outcome("failed", None, "checkpoint.invalid", str(error), retryable=True)
        except _Fenced:
            return None
        except (OSError, ValueError, ApiError, SpoolFull) as error:
            log.exception("%s cannot be started", self.run)
            return Outcome("failed", None, "node.start_failed", f"The node could not start the run: {error}", True)
        self._announcer.say(lambda: self._node.agent.started(self.run, self.epoch), "started")
        return self._watch(claim, child, stream)

    def _fetch(self, claim: Claim, api: AttemptApi) -> Path | None:
        if claim.resume is None:
            return None
        while not self._fenced.is_set():
            try:
                folder = fetch_checkpoint(api, claim.resume, self._folder.resume)
                self._folder.hand_over(self._node.run_user)
                return folder
            except ConnectionFailed as error:
                log.warning("%s: fetching its checkpoint: %s", self.run, error)
                self._check_lease()
            except ApiError as error:
                if is_stale(error) or is_gone(error):
                    self._on_stale()
                elif not error.may_pass:
                    raise
        raise _Fenced

    def _arguments(self, claim: Claim, resume: Path | None) -> dict[str, Any]:
        request = {"recipe": claim.recipe, "spec": dict(claim.spec), "seed": claim.seed}
        return {"request": request, "workdir": str(self._folder.work), "resume": str(resume) if resume else None}

    def _begin(self, claim: Claim, order: dict[str, Any], environment: Mapping[str, str]) -> Child:
        if self._fenced.is_set():
            raise _Fenced
        spare = self._node.spares.take()
        if spare is not None:
            spare.order(json.dumps({**order, "env": dict(environment)}).encode() + b"\n")
            return spare
        arguments = ["-m", "models_core", "run", "-", "--workdir", order["workdir"], "--events-fd", "{events}"]
        if order["resume"]:
            arguments += ["--resume", order["resume"]]
        child = self._node.nursery.spawn(arguments, {**self._node.environment, **environment}, self._folder.work)
        child.order(json.dumps(order["request"]).encode())
        return child

    def _watch(self, claim: Claim, child: Child, stream: Stream) -> Outcome | None:
        stream.listen(child.events, child.stdout, child.stderr)
        oom = OomWatch()
        monitor = Monitor(child, claim.devices, stream.measure)
        monitor.start()
        began = time.monotonic()
        asked: StopReason | None = None
        stopper = Stopper(child, claim.grace_s)
        while not child.has_exited():
            stream.pump()
            now = time.monotonic()
            self._check_lease()
            if self._fenced.is_set():
                child.kill()
                break
            if claim.time_limit_s is not None and now - began > claim.time_limit_s:
                self.ask_to_stop(StopReason.TIME_LIMIT)
            if self._stop is not asked:
                stopper.ask(now)
                asked = self._stop
                if asked is StopReason.INTENT:
                    self._announcer.say(lambda: self._node.agent.stopping(self.run, self.epoch), "stopping")
            if stopper.tick(now):
                stream.say("warning", f"The run did not stop within {claim.grace_s:g} s and was killed.")
        monitor.stop()
        exit_code = child.reap()
        self._node.nursery.forget(child)
        if self._fenced.is_set():
            stream.finish()
            return None
        deadline = time.monotonic() + DRAIN_S
        while stream.is_open and time.monotonic() < deadline:
            stream.pump()
        return judge(
            exit_code, end=self._end, stop=asked, time_limit_s=claim.time_limit_s, out_of_memory=oom.has_struck()
        )

    def _check_lease(self) -> None:
        if self._lease is not None and self._lease.is_lost(time.monotonic()):
            self.fence("the platform has not been heard for too long")

    def _has_arrived(self, sender: Sender, seq: int) -> bool:
        while not self._fenced.is_set():
            if sender.wait_for(seq, LOOK_S):
                return True
        return False

    def _publish_checkpoint(self, step: int, files: Sequence[RemoteFile]) -> None:
        self._node.agent.checkpoint(self.run, self.epoch, step, files)

    def _on_ack(self, ack: Ack) -> None:
        if self._stream is not None:
            self._stream.flush_s = max(0.05, ack.flush_ms / 1000)
        if ack.intent != "run":
            self.ask_to_stop(StopReason.INTENT)

    def _on_stale(self) -> None:
        self.fence("the platform says that this attempt is over")

    def _keep_state(self) -> None:
        try:
            self._folder.write_state(AttemptState(self.run, self.epoch, self._token))
        except OSError as error:
            log.warning("%s: its state cannot be kept: %s", self.run, error)


class _Fenced(Exception):
    """The attempt was fenced off before its process was started."""


def _device_names(devices: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{kind} {index}" for kind, index in devices)
