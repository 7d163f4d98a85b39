"""The agent of one node: attaches, takes wake-ups and polls, supervises every attempt, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import fcntl
import importlib.metadata
import logging
import os
import resource
import signal
import socket
import threading
import time
import uuid
from pathlib import Path

from stillroom_client.agent import AgentApi, Attached, DeviceInfo
from stillroom_client.errors import ApiError, ConnectionFailed
from stillroom_client.transport import Retries, Transport
from workers import devices
from workers.attempt import Attempt, Node
from workers.consumer import WakeConsumer
from workers.pulse import PulseLoop
from workers.salvage import salvage
from workers.sandbox.environment import scrubbed
from workers.sandbox.leftovers import Ledger
from workers.sandbox.outcome import StopReason
from workers.sandbox.spares import Spares
from workers.sandbox.spawn import Limits, Nursery
from workers.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.2
# On top of the grace time of the runs: what it takes to send their last words.
SHUTDOWN_MARGIN_S = 7.0
ATTACH = Retries(base_s=1.0, cap_s=30.0)
PR_SET_DUMPABLE = 4


class AlreadyRunning(Exception):
    """Another agent holds this node's folder."""


class Agent:
    """Runs in the main thread until `stop`. settings: see `workers.settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.node_home
        self._incarnation = uuid.uuid4().hex
        self._transport = Transport(
            settings.url, settings.token, user_agent=f"stillroom-agent/{_version()}", sleep=self._sleep
        )
        self._api = AgentApi(self._transport)
        self._stopping = threading.Event()
        self._superseded = False
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}
        self._node: Node | None = None
        self._pulse: PulseLoop | None = None

    def stop(self) -> None:
        """Take no more work, let runs write a checkpoint, leave. A second call does not wait for them."""
        if self._stopping.is_set():
            self._superseded = True
        self._stopping.set()

    def execute(self, run: str, epoch: int) -> None:
        """Look at an assignment, from wherever it was heard. Hearing it again, or too late, changes nothing."""
        with self._lock:
            if self._node is None or self._stopping.is_set():
                return
            current = self._attempts.get(run)
            if current is not None and current.epoch >= epoch:
                if self._pulse is not None:
                    self._pulse.kick()
                return
            if current is not None:
                current.fence(f"epoch {epoch} of this run has been assigned to this node")
            try:
                attempt = Attempt(self._node, run, epoch, self._forget)
            except ValueError as error:
                log.warning("a wake-up is ignored: %s", error)
                return
            self._attempts[run] = attempt
        attempt.start(after=current)

    def run(self) -> None:
        """Until `stop`. Raises AlreadyRunning; ApiError when the platform does not accept this node."""
        protect_memory()
        self._home.mkdir(mode=0o711 if self._settings.run_user else 0o700, parents=True, exist_ok=True)
        with _Lock(self._home / "agent.lock"):
            ledger = Ledger(self._home / "processes")
            ended = ledger.kill_leftovers()
            if ended:
                log.warning("%d processes of an earlier agent were still alive and have been ended", ended)
            # Before attaching: a new incarnation closes what the old one had open.
            salvage(self._home, self._api, self._transport)
            inventory = devices.discover(self._settings.cpu_slots)
            attached = self._attach(inventory)
            if attached is None:
                return
            nursery = Nursery(ledger, Limits(memory_bytes=self._settings.memory_bytes, user=self._settings.run_user))
            environment = scrubbed(os.environ)
            nest = self._home / "spares"
            nest.mkdir(mode=0o755, exist_ok=True)
            spares = Spares(nursery, self._settings.spares, environment, nest)
            self._node = Node(
                self._api,
                self._transport,
                nursery,
                spares,
                inventory,
                self._home,
                self._incarnation,
                self._settings.run_user,
                environment,
            )
            self._serve(attached, nursery, spares)

    def _attach(self, inventory: list[devices.Device]) -> Attached | None:
        described = [DeviceInfo(one.kind, one.index, one.name, one.memory_bytes) for one in inventory]
        failures = 0
        while not self._stopping.is_set():
            try:
                attached = self._api.attach(self._incarnation, socket.gethostname(), _version(), described)
            except (ConnectionFailed, ApiError) as error:
                if isinstance(error, ApiError) and not error.may_pass and not error.code.startswith("http."):
                    raise
                failures += 1
                pause_s = ATTACH.pause_s(failures, None)
                log.warning("not attached, next try in %.0f s: %s", pause_s, error)
                self._stopping.wait(pause_s)
                continue
            log.info("attached as %s with %s", attached.node, ", ".join(f"{d.kind} {d.index}" for d in inventory))
            return attached
        return None

    def _serve(self, attached: Attached, nursery: Nursery, spares: Spares) -> None:
        pulse = self._pulse = PulseLoop(
            self._api,
            self._incarnation,
            attached,
            attempts=self._claimed,
            execute=self.execute,
            on_superseded=self._on_superseded,
        )
        pulse.start()
        consumer: WakeConsumer | None = None
        if self._settings.redis_url:
            consumer = WakeConsumer(self._settings.redis_url, attached.queue, self.execute)
            consumer.start()
        while not self._stopping.is_set():
            nursery.serve(TICK_S)
            spares.maintain()
        log.info("stopping")
        pulse.leave()
        if consumer is not None:
            consumer.stop()
        spares.close()
        self._wind_up(nursery, attached.grace_s + SHUTDOWN_MARGIN_S)
        pulse.stop()

    def _wind_up(self, nursery: Nursery, patience_s: float) -> None:
        for attempt in self._all():
            attempt.ask_to_stop(StopReason.SHUTDOWN)
        deadline = time.monotonic() + patience_s
        while self._all() and time.monotonic() < deadline and not self._superseded:
            nursery.serve(TICK_S)
        for attempt in self._all():
            attempt.fence("the agent is leaving")
        deadline = time.monotonic() + SHUTDOWN_MARGIN_S
        while self._all() and time.monotonic() < deadline:
            nursery.serve(TICK_S)

    def _on_superseded(self, why: str) -> None:
        log.error("another agent has attached as this node: %s", why)
        self._superseded = True
        self._stopping.set()

    def _claimed(self) -> list[Attempt]:
        return [attempt for attempt in self._all() if attempt.holds_devices]

    def _all(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts.values())

    def _forget(self, attempt: Attempt) -> None:
        with self._lock:
            if self._attempts.get(attempt.run) is attempt:
                del self._attempts[attempt.run]

    def _sleep(self, pause_s: float) -> None:
        if self._superseded:
            return
        time.sleep(pause_s)


class _Lock:
    """One agent per folder, for as long as its process lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"Another agent uses {self._path.parent}. Give this one a name of its own with STILLROOM_NODE_NAME."
            ) from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def protect_memory() -> None:
    """Keep runs of the same user out of the agent's environment and memory; allow it all the files it may open."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def install_signals(agent: Agent) -> None:
    """SIGTERM and SIGINT stop the agent; only in the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())


def _version() -> str:
    try:
        return importlib.metadata.version("stillroom")
    except importlib.metadata.PackageNotFoundError:
        return "0"
