"""`/ws/live`: one socket per browser tab or script. The protocol is docs/reference/wire.md, section 5."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any, Literal

import orjson
import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError, InterfaceError, OperationalError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from stillroom.boards.models import Benchmark
from stillroom.boards.selectors import matches
from stillroom.core import pubsub
from stillroom.core.tenancy import tenant_tx
from stillroom.live.admission import REFUSED, bus_answers, caller_of
from stillroom.live.hub import HEAD_S, Viewer, hub
from stillroom.runs.models import Project
from stillroom.runs.schemas.runs import RunOut
from stillroom.runs.selectors import runs, summaries
from stillroom.telemetry.selectors.replay import Position, position
from stillroom.tenants.callers import Caller, Member
from stillroom.tenants.policies import Can

log = structlog.get_logger(__name__)

MAX_MESSAGE = 64 * 1024
MAX_SUBSCRIPTIONS = 200
RECHECK_S = 60.0
NOTICE_DELAY_S = 0.1
# Notices are hints: a bus that hangs may not hold up a socket.
BUS_TIMEOUT_S = 2.0
BUS_LOOK_S = 2.0
NO_BUS = "none"
COME_AGAIN = 1012


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


Word = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]


class Since(_Message):
    epoch: Annotated[int, Field(ge=0, lt=2**63)]
    seq: Annotated[int, Field(ge=0, lt=2**63)]


class Sub(_Message):
    type: Literal["sub"]
    run: Annotated[Word, Field(max_length=32)]
    since: Since | None = None
    keys: Annotated[list[Word], Field(max_length=1000)] | None = None
    max_points: Annotated[int, Field(ge=16, le=20_000)] = 1000
    hz: Annotated[float, Field(ge=0.2, le=20)] = 5.0


class Unsub(_Message):
    type: Literal["unsub"]
    run: Annotated[str, Field(max_length=32)]


class Watch(_Message):
    type: Literal["watch", "unwatch"]
    topic: Literal["project", "org", "benchmark"]
    org: Annotated[Word, Field(max_length=48)] | None = None
    project: Annotated[Word, Field(max_length=48)] | None = None
    id: Annotated[Word, Field(max_length=32)] | None = None


class Ping(_Message):
    type: Literal["ping"]


INBOUND: TypeAdapter[Sub | Unsub | Watch | Ping] = TypeAdapter(
    Annotated[Sub | Unsub | Watch | Ping, Field(discriminator="type")]
)


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Subscriptions to runs, and watches on projects, organisations and benchmarks."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not await bus_answers():
            self.channel_layer_alias = NO_BUS
        await super().__call__(scope, receive, send)

    async def connect(self) -> None:
        self.caller: Caller | None = self.scope["caller"]
        self.viewers: dict[str, Viewer] = {}
        self.projects: dict[str, str] = {}
        self.watched: dict[str, tuple[str, str]] = {}
        self.benchmarks: dict[str, str] = {}
        self.due: dict[str, str] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.own = ""
        await self.accept()
        if self.caller is None:
            await self.close(code=REFUSED)
            return
        assert self.caller.user is not None
        self.own = pubsub.user_group(self.caller.user.id)
        await self._join(self.own)
        self.tasks = [asyncio.create_task(self._heads()), asyncio.create_task(self._recheck())]
        if self.channel_layer is None:
            self.tasks.append(asyncio.create_task(self._until_the_bus_is_back()))

    async def disconnect(self, code: int) -> None:
        for viewer in self.viewers.values():
            hub().leave(viewer)
        for task in self.tasks:
            task.cancel()
        if self.own:
            for group in (self.own, *self._groups()):
                await self._leave(group)

    def _groups(self) -> set[str]:
        """The groups whose notices this socket needs. A ranking changes when a run of its organisation ends."""
        return {
            *self.projects.values(),
            *self.watched,
            *(pubsub.org_group(tenant) for tenant in self.benchmarks.values()),
        }

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.caller is None:
            return
        if text_data is None or len(text_data) > MAX_MESSAGE:
            await self._error("bad_message", "Send JSON text of at most 64 KB.")
            return
        try:
            message = INBOUND.validate_json(text_data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            await self._error("bad_message", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
            return
        try:
            await self._act(message)
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            log.warning("live.database_away", error=str(error))
            await self._error(
                "unavailable", "The database cannot be reached. Ask again.", getattr(message, "run", None)
            )

    async def _act(self, message: Sub | Unsub | Watch | Ping) -> None:
        if isinstance(message, Sub):
            await self._sub(message)
        elif isinstance(message, Unsub):
            await self._unsub(message.run)
        elif isinstance(message, Watch):
            await self._watch(message)
        else:
            await self._json({"type": "pong"})

    async def _sub(self, message: Sub) -> None:
        if len(self.viewers) >= MAX_SUBSCRIPTIONS and message.run not in self.viewers:
            await self._error("too_many", f"At most {MAX_SUBSCRIPTIONS} runs on one socket.", message.run)
            return
        found = await self._find_run(message.run)
        if found is None:
            await self._error("not_found", "This run does not exist, or you may not see it.", message.run)
            return
        tenant_id, project_id = found
        await self._unsub(message.run)
        viewer = Viewer(
            run_id=message.run,
            tenant_id=tenant_id,
            send=self._deliver,
            keys=frozenset(message.keys) if message.keys is not None else None,
            max_points=message.max_points,
            interval_s=1.0 / message.hz,
            last=Position(message.since.epoch, message.since.seq) if message.since else None,
        )
        self.viewers[message.run] = viewer
        await self._join(pubsub.project_group(project_id))
        self.projects[message.run] = pubsub.project_group(project_id)
        hub().join(viewer)

    async def _unsub(self, run_id: str) -> None:
        viewer = self.viewers.pop(run_id, None)
        if viewer is None:
            return
        hub().leave(viewer)
        await self._part(self.projects.pop(run_id))

    async def _watch(self, message: Watch) -> None:
        found = await self._find_topic(message)
        if found is None:
            await self._error("not_found", "This does not exist, or you may not see it.")
            return
        group, tenant_id = found
        if message.type == "watch":
            if message.topic == "benchmark":
                self.benchmarks[str(message.id)] = tenant_id
            else:
                self.watched[group] = (tenant_id, message.topic)
            await self._join(group)
        else:
            self.watched.pop(group, None)
            self.benchmarks.pop(str(message.id), None)
            await self._part(group)

    async def _part(self, group: str) -> None:
        if group not in self._groups():
            await self._leave(group)

    async def _until_the_bus_is_back(self) -> None:
        """Without the bus a socket hears what the hub polls, and no notices: let the client come again for those."""
        while not await bus_answers():
            await asyncio.sleep(BUS_LOOK_S)
        await self._stop(COME_AGAIN)

    async def _leave(self, group: str) -> None:
        if self.channel_layer is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(BUS_TIMEOUT_S):
                await self.channel_layer.group_discard(group, self.channel_name)

    async def _join(self, group: str) -> None:
        if self.channel_layer is None:
            return
        try:
            async with asyncio.timeout(BUS_TIMEOUT_S):
                await self.channel_layer.group_add(group, self.channel_name)
        except Exception as error:
            log.warning("live.group_failed", group=group, error=str(error))

    async def notice_run(self, event: dict[str, Any]) -> None:
        """A run of a watched project or organisation changed: read it as this viewer may see it, a moment later,
        once.
        """
        run_id, project = event["payload"]["run"], pubsub.project_group(event["payload"]["project"])
        watching = [tenant for group, (tenant, topic) in self.watched.items() if group == project or topic == "org"]
        following = [viewer.tenant_id for viewer in self.viewers.values() if viewer.run_id == run_id]
        tenant_id = next(iter([*following, *watching, *self.benchmarks.values()]), None)
        if tenant_id is None:
            return
        if not self.due:
            self.tasks = [task for task in self.tasks if not task.done()]
            self.tasks.append(asyncio.create_task(self._send_due()))
        self.due[run_id] = tenant_id

    async def _send_due(self) -> None:
        await asyncio.sleep(NOTICE_DELAY_S)
        due, self.due = self.due, {}
        for tenant_id in sorted(set(due.values())):
            changed, ends, rankings = await self._render(
                [run_id for run_id, owner in due.items() if owner == tenant_id], tenant_id
            )
            for run_id, end in ends.items():
                await self._json({"type": "head", "run": run_id, "epoch": end.epoch, "seq": end.seq})
            for run in changed:
                await self._json({"type": "run", "run": run})
            for benchmark_id in rankings:
                await self._json({"type": "benchmark", "id": benchmark_id})

    async def _heads(self) -> None:
        while True:
            await asyncio.sleep(HEAD_S)
            for run_id in list(self.viewers):
                head = hub().head(run_id)
                if head is not None:
                    await self._json({"type": "head", "run": run_id, "epoch": head.epoch, "seq": head.seq})

    async def _recheck(self) -> None:
        """Rights may end while the socket lives: a notice says so at once, and this finds what no notice told."""
        while True:
            await asyncio.sleep(RECHECK_S)
            await self.notice_rights({})

    async def notice_rights(self, event: dict[str, Any]) -> None:
        """Ask again who this is, and close when it may not see any more what it follows."""
        try:
            caller = await caller_of(self.scope["credentials"])
        except (DatabaseError, InterfaceError, PoolTimeout) as error:  # unknown: as it was, until the next look
            log.warning("live.recheck_failed", error=str(error))
            return
        if self.caller is None:
            return
        if caller is None or self._follows() - {member.tenant_id for member in caller.members}:
            await self._stop(REFUSED if caller is None else 4403)
            return
        self.caller = caller

    def _follows(self) -> set[str]:
        """The organisations of everything that this socket follows."""
        watched = {tenant for tenant, _ in self.watched.values()}
        return watched | set(self.benchmarks.values()) | {viewer.tenant_id for viewer in self.viewers.values()}

    async def _stop(self, code: int) -> None:
        """Send nothing more, from this moment on, whether or not the other side answers the close."""
        self.caller = None
        for viewer in self.viewers.values():
            hub().leave(viewer)
        await self.close(code=code)

    async def _deliver(self, message: bytes | dict[str, Any]) -> None:
        if isinstance(message, bytes):
            await self.send(bytes_data=message)
        else:
            await self._json(message)

    async def _json(self, message: dict[str, Any]) -> None:
        await self.send(text_data=orjson.dumps(message, option=orjson.OPT_UTC_Z).decode())

    async def _error(self, code: str, message: str, run: str | None = None) -> None:
        await self._json({"type": "error", "code": code, "message": message, "run": run})

    def _readers(self) -> list[Member]:
        assert self.caller is not None
        return [member for member in self.caller.members if Can.RUN_READ in member.can]

    @database_sync_to_async
    def _find_run(self, run_id: str) -> tuple[str, str] | None:
        for member in self._readers():
            with tenant_tx(member.tenant_id):
                project = runs().filter(id=run_id).values_list("project_id", flat=True).first()
                if project is not None:
                    return member.tenant_id, project
        return None

    @database_sync_to_async
    def _find_topic(self, message: Watch) -> tuple[str, str] | None:
        for member in self._readers():
            with tenant_tx(member.tenant_id):
                if message.topic == "benchmark":
                    if Benchmark.objects.filter(id=message.id).exists():
                        return pubsub.org_group(member.tenant_id), member.tenant_id
                elif member.org == message.org:
                    if message.topic == "org":
                        return pubsub.org_group(member.tenant_id), member.tenant_id
                    project = Project.objects.filter(slug=message.project).first()
                    if project is not None:
                        return pubsub.project_group(project.id), member.tenant_id
        return None

    @database_sync_to_async
    def _render(
        self, run_ids: list[str], tenant_id: str
    ) -> tuple[list[dict[str, Any]], dict[str, Position], list[str]]:
        """The changed runs as this viewer sees them, where the streams of those that ended end, and the watched
        benchmarks whose ranking they may change.
        """
        member = next((member for member in self._readers() if member.tenant_id == tenant_id), None)
        if member is None:
            return [], {}, []
        with tenant_tx(tenant_id):
            rows = list(runs().filter(id__in=run_ids))
            metrics = summaries(run_ids)
            watched = list(Benchmark.objects.filter(id__in=list(self.benchmarks))) if self.benchmarks else []
            ended = [run for run in rows if run.is_terminal]
            ends = {run.id: position(run.id) for run in ended if run.id in self.viewers}
        rankings = [row.id for row in watched if any(matches(row, run.recipe, run.spec) for run in ended)]
        wanted = [run for run in rows if run.id in self.viewers or self.watched]
        changed = [RunOut.of(run, metrics.get(run.id, {}), member.can) for run in wanted]
        return changed, {run_id: end for run_id, end in ends.items() if end is not None}, rankings
