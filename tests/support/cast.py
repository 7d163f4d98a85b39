"""The cast: two organisations with the same project names, and somebody in each role.

Ada owns Aster, Adam administers it, Mel is a member, Vera may only look. Olga owns Other and must see nothing of Aster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from asgiref.sync import async_to_sync
from django.test import Client

from stillroom.accounts.models import User
from stillroom.core import tokens
from stillroom.core.tenancy import admin_tx, identity_tx, tenant_tx
from stillroom.runs.models import Project
from stillroom.scheduling.models import Node
from stillroom.scheduling.services.nodes import node_create
from stillroom.tenants.callers import Member, members_of
from stillroom.tenants.models import Membership, Organisation
from stillroom.tenants.policies import Role, TokenScope
from stillroom.tenants.services import token_create

PROJECT = "first"


class Answer:
    """An HTTP answer: `status`, decoded `body`, headers."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.status: int = response.status_code
        self.headers = response.headers

    @property
    def text(self) -> str:
        """The body as text, also of a streamed answer."""
        return self.content.decode(errors="replace")

    @property
    def content(self) -> bytes:
        """The body's bytes, also of a streamed answer; once."""
        if not self.response.streaming:
            return bytes(self.response.content)
        if not self.response.is_async:
            return b"".join(self.response.streaming_content)

        async def collected() -> bytes:
            return b"".join([piece async for piece in self.response.streaming_content])

        return async_to_sync(collected)()

    @property
    def body(self) -> Any:
        return orjson.loads(self.response.content) if self.response.content else None


@dataclass(frozen=True)
class Http:
    """A caller of the REST API."""

    token: str = ""
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False, SERVER_NAME="localhost"))

    def call(self, method: str, path: str, payload: Any = None, *, raw: bytes | None = None, **options: Any) -> Answer:
        """Call `/api/v1` + path. `raw` sends bytes as they are."""
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        body = raw if raw is not None else (b"" if payload is None else orjson.dumps(payload))
        kind = options.pop("content_type", "application/json")
        return Answer(
            self.client.generic(method, f"/api/v1{path}", body, content_type=kind, headers=headers, **options)
        )

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, payload: Any = None, **options: Any) -> Answer:
        return self.call("POST", path, {} if payload is None and "raw" not in options else payload, **options)

    def put(self, path: str, raw: bytes) -> Answer:
        return self.call("PUT", path, raw=raw, content_type="application/octet-stream")

    def patch(self, path: str, payload: Any) -> Answer:
        return self.call("PATCH", path, payload)

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", path)


@dataclass(frozen=True)
class Person:
    """A user with a token in their organisation."""

    user: User
    tenant: str
    org: str
    http: Http

    def member(self) -> Member:
        """The membership that services act for."""
        with identity_tx(user_id=self.user.id):
            return members_of(self.user, None, self.tenant)[0]


@dataclass(frozen=True)
class Cast:
    ada: Person
    adam: Person
    mel: Person
    vera: Person
    olga: Person
    nobody: Http

    @property
    def people(self) -> dict[str, Http]:
        """Everybody's caller by role name."""
        return {
            "anonymous": self.nobody,
            "viewer": self.vera.http,
            "member": self.mel.http,
            "admin": self.adam.http,
            "owner": self.ada.http,
            "other owner": self.olga.http,
        }


def assemble() -> Cast:
    """Make everybody, in fresh tables."""
    with admin_tx():
        aster = Organisation.objects.create(slug="aster", name="Aster")
        other = Organisation.objects.create(slug="other", name="Other")
        Project.objects.create(tenant=aster, slug=PROJECT, name="First of Aster")
        Project.objects.create(tenant=other, slug=PROJECT, name="First of Other")
    return Cast(
        ada=person("ada", aster, Role.OWNER),
        adam=person("adam", aster, Role.ADMIN),
        mel=person("mel", aster, Role.MEMBER),
        vera=person("vera", aster, Role.VIEWER),
        olga=person("olga", other, Role.OWNER),
        nobody=Http(),
    )


def person(
    name: str, organisation: Organisation, role: Role, scopes: tuple[TokenScope, ...] = (TokenScope.ADMIN,)
) -> Person:
    """A user, their membership and a token."""
    with admin_tx():
        user = User.objects.db_manager("admin").create_user(f"{name}@example.org")
        Membership.objects.create(tenant=organisation, user=user, role=role)
        _, text = token_create(
            tenant_id=organisation.id, user=user, name="test", scopes=list(scopes), expires_in_days=1, actor="test"
        )
    return Person(user, organisation.id, organisation.slug, Http(text))


@dataclass(frozen=True)
class NodeActor:
    """A node as its agent would act, over HTTP."""

    http: Http
    id: str
    incarnation: str

    def claim(self, run: str, epoch: int) -> Answer:
        return self.http.post(f"/agent/runs/{run}/claim", {"epoch": epoch, "incarnation": self.incarnation})

    def started(self, run: str, epoch: int) -> Answer:
        return self.http.post(f"/agent/runs/{run}/started", {"epoch": epoch})

    def beat(self, *held: tuple[str, int]) -> Answer:
        runs = [{"run": run, "epoch": epoch} for run, epoch in held]
        return self.http.post("/agent/heartbeat", {"incarnation": self.incarnation, "runs": runs})

    def finish(self, run: str, epoch: int, final_seq: int = 0, outcome: str = "succeeded", **more: Any) -> Answer:
        payload = {"epoch": epoch, "outcome": outcome, "final_seq": final_seq, **more}
        return self.http.post(f"/agent/runs/{run}/finish", payload)


def attach_node(name: str = "aster-01", slots: int = 2, kind: str = "cpu", incarnation: str = "one") -> NodeActor:
    """Register and attach a node with `slots` devices of one kind."""
    with admin_tx():
        known = Node.objects.filter(name=name).exists()
    node, token = node_create(name=name, actor="test", renew=known)
    http = Http(token)
    devices = [{"kind": kind, "index": index} for index in range(slots)]
    attached = http.post(
        "/agent/attach", {"incarnation": incarnation, "hostname": name, "version": "0", "devices": devices}
    )
    assert attached.status == 200, attached.text
    return NodeActor(http, node.id, incarnation)


def submit(
    person: Person, *, recipe: str = "optimizer_benchmark", spec: dict[str, Any] | None = None, **more: Any
) -> str:
    """Submit a run over HTTP; returns its id."""
    payload = {"recipe": recipe, "spec": spec if spec is not None else small_spec(recipe), **more}
    answer = person.http.post(f"/orgs/{person.org}/projects/{PROJECT}/runs", payload)
    assert answer.status == 201, answer.text
    return str(answer.body["id"])


def small_spec(recipe: str = "optimizer_benchmark") -> dict[str, Any]:
    """The cheapest example of a recipe."""
    from stillroom.runs.catalog import recipes

    example = min(recipes()[recipe].examples, key=lambda example: example.cost_s)
    return example.spec.model_dump(mode="json")


def run_token(person: Person, run: str, epoch: int, valid_s: float = 60) -> Http:
    """The caller that an attempt is."""
    return Http(tokens.run_token(tokens.RunGrant(run, epoch, person.tenant), valid_s=valid_s))


def in_tenant(person: Person) -> Any:
    """The person's tenant scope."""
    return tenant_tx(person.tenant)


@dataclass(frozen=True)
class Running:
    """A claimed and started run."""

    id: str
    epoch: int
    node: NodeActor
    http: Http

    def points(self, seq: int, *, key: str = "train/loss", steps: list[int] | None = None, **more: Any) -> Answer:
        """Post one batch."""
        steps = [seq] if steps is None else steps
        series = [
            {
                "key": key,
                "step": steps,
                "value": [1.0 / (1 + abs(step)) for step in steps],
                "time": [1.7e9 + step for step in steps],
            }
        ]
        payload = {"epoch": self.epoch, "seq": seq, "series": series, **more}
        return self.http.post(f"/runs/{self.id}/points", payload)


def running(person: Person, node: NodeActor | None = None, **more: Any) -> Running:
    """Submit, dispatch, claim and start a run."""
    from stillroom.scheduling.services.dispatch import dispatch

    node = node or attach_node()
    run = submit(person, **more)
    dispatch()
    return take(person, node, run)


def take(person: Person, node: NodeActor, run: str) -> Running:
    """Claim and start an assigned run."""
    epoch = person.http.get(f"/runs/{run}").body["epoch"]
    claimed = node.claim(run, epoch)
    assert claimed.status == 200, claimed.text
    assert node.started(run, epoch).status == 200
    return Running(run, epoch, node, Http(claimed.body["run_token"]))
