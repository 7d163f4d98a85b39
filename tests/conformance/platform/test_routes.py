"""The cast on every route: who gets in is written down here, and a route that is not listed fails.

A = anonymous, V = viewer, M = member, D = admin, O = owner; X = the owner of another organisation, who must get the
same answer for Aster's things as for things that never existed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest

from stillroom.config.api import openapi
from support.cast import PROJECT, Cast, Http, Running, attach_node, running, small_spec
from support.logged import logged

CANARY = "canary-of-aster"


@dataclass(frozen=True)
class Route:
    """A call and the roles that may make it. `body` fits the schema; `own` routes concern only the caller."""

    method: str
    path: str
    allowed: str
    body: Any = None
    own: bool = False
    machine: bool = False


BOARD = {"name": "b", "recipe": "{name}", "frozen": {"steps": 3}, "metric": "m", "goal": "min"}
ALERT = {"name": "x", "condition": {"kind": "state", "states": ["FAILED"]}}
FILE = {"path": "c/s", "name": "s", "size_bytes": 1, "sha256": "0" * 64}

ROUTES = [
    Route("GET", "/me", "VMDO", own=True),
    Route("GET", "/orgs", "VMDO", own=True),
    Route("GET", "/orgs/{org}", "VMDO"),
    Route("GET", "/orgs/{org}/members", "VMDO"),
    Route("POST", "/orgs/{org}/members", "DO", {"email": "someone@example.org"}),
    Route("PATCH", "/orgs/{org}/members/{user}", "DO", {"role": "viewer"}),
    Route("DELETE", "/orgs/{org}/members/{user}", "DO"),
    Route("GET", "/tokens", "VMDO", own=True),
    Route("POST", "/tokens", "MDO", {"name": "t"}, own=True),
    Route("DELETE", "/tokens/{token}", "MDO"),
    Route("GET", "/audit", "DO", own=True),
    Route("GET", "/recipes", "VMDO", own=True),
    Route("GET", "/recipes/{name}", "VMDO", own=True),
    Route("POST", "/recipes/{name}/validate", "VMDO", {"spec": {}}, own=True),
    Route("GET", "/orgs/{org}/projects", "VMDO"),
    Route("POST", "/orgs/{org}/projects", "MDO", {"slug": "second"}),
    Route("GET", "/orgs/{org}/projects/{project}", "VMDO"),
    Route("PATCH", "/orgs/{org}/projects/{project}", "DO", {"name": "n"}),
    Route("DELETE", "/orgs/{org}/projects/{project}", "DO"),
    Route("POST", "/orgs/{org}/projects/{project}/table", "VMDO", {"columns": [{"key": "train/loss"}]}),
    Route("GET", "/orgs/{org}/projects/{project}/metric-keys", "VMDO"),
    Route("GET", "/orgs/{org}/projects/{project}/export", "VMDO"),
    Route("POST", "/orgs/{org}/projects/{project}/import", "MDO"),
    Route("GET", "/orgs/{org}/storage", "VMDO"),
    Route("PUT", "/orgs/{org}/storage", "O", {"retain_days": 30}),
    Route("GET", "/trash", "VMDO", own=True),
    Route("POST", "/trash/{item}/restore", "MDO"),
    Route("DELETE", "/trash/{item}", "DO"),
    Route("GET", "/orgs/{org}/projects/{project}/runs", "VMDO"),
    Route("POST", "/orgs/{org}/projects/{project}/runs", "MDO", {"external": True}),
    Route("GET", "/orgs/{org}/projects/{project}/studies", "VMDO"),
    Route("POST", "/orgs/{org}/projects/{project}/studies", "MDO", {"name": "s", "recipe": "{name}", "spec": "{spec}"}),
    Route("GET", "/orgs/{org}/projects/{project}/query/complete", "VMDO"),
    Route("GET", "/query/complete", "VMDO", own=True),
    Route("GET", "/runs", "VMDO", own=True),
    Route("GET", "/runs/{run}", "VMDO"),
    Route("PATCH", "/runs/{run}", "MDO", {"notes": "n"}),
    Route("DELETE", "/runs/{run}", "MDO"),
    Route("GET", "/runs/{run}/export", "VMDO"),
    Route("GET", "/runs/{run}/checkpoints", "VMDO"),
    Route("GET", "/runs/{run}/previews/{path}", "VMDO"),
    Route("GET", "/runs/{run}/thumbnails/{path}", "VMDO"),
    Route("POST", "/runs/{run}/uploads", "MDO", {"path": "a", "epoch": 1, "size_bytes": 1}),
    Route("GET", "/runs/{run}/uploads/{upload}", "MDO"),
    Route("HEAD", "/runs/{run}/uploads/{upload}", "MDO"),
    Route("PATCH", "/runs/{run}/uploads/{upload}", "MDO"),
    Route("PUT", "/runs/{run}/uploads/{upload}/parts/1", "MDO"),
    Route("POST", "/runs/{run}/uploads/{upload}/complete", "MDO"),
    Route("DELETE", "/runs/{run}/uploads/{upload}", "MDO"),
    Route("POST", "/runs/{run}/cancel", "MDO"),
    Route("POST", "/runs/{run}/pause", "MDO"),
    Route("POST", "/runs/{run}/resume", "MDO"),
    Route("POST", "/runs/{run}/retry", "MDO"),
    Route("POST", "/runs/{run}/clone", "MDO", {}),
    Route("POST", "/runs/{run}/heartbeat", "MDO"),
    Route("POST", "/runs/{run}/finish", "MDO", {"state": "FAILED"}),
    Route("POST", "/runs/{run}/reopen", "MDO", {"writer": "somebody"}),
    Route("GET", "/runs/{run}/events", "VMDO"),
    Route("GET", "/runs/{run}/why-waiting", "VMDO"),
    Route("GET", "/runs/{run}/series", "VMDO"),
    Route("GET", "/runs/{run}/logs", "VMDO"),
    Route("GET", "/runs/{run}/artifacts", "VMDO"),
    Route("GET", "/runs/{run}/artifacts/{path}", "VMDO"),
    Route("PUT", "/runs/{run}/artifacts/{path}?epoch=1", "MDO"),
    Route("POST", "/runs/{run}/points", "MDO", {"epoch": 1, "seq": 1}),
    Route("POST", "/series/query", "VMDO", {"runs": ["{run}"], "keys": ["train/loss"]}),
    Route("GET", "/studies/{study}", "VMDO"),
    Route("GET", "/studies/{study}/report", "VMDO"),
    Route("DELETE", "/studies/{study}", "MDO"),
    Route("POST", "/studies/{study}/cancel", "MDO"),
    Route("GET", "/benchmarks", "VMDO", own=True),
    Route("POST", "/benchmarks", "DO", BOARD, own=True),
    Route("GET", "/benchmark-scores?benchmark={benchmark}", "VMDO"),
    Route("GET", "/benchmarks/{benchmark}", "VMDO"),
    Route("PATCH", "/benchmarks/{benchmark}", "DO", {"description": "d"}),
    Route("DELETE", "/benchmarks/{benchmark}", "DO"),
    Route("GET", "/orgs/{org}/alerts", "VMDO"),
    Route("POST", "/orgs/{org}/alerts", "MDO", ALERT),
    Route("GET", "/orgs/{org}/alerts/{alert}", "VMDO"),
    Route("PATCH", "/orgs/{org}/alerts/{alert}", "MDO", {"enabled": True}),
    Route("DELETE", "/orgs/{org}/alerts/{alert}", "MDO"),
    Route("POST", "/orgs/{org}/alerts/{alert}/test", "MDO"),
    Route("GET", "/orgs/{org}/alert-events", "VMDO"),
    Route("GET", "/orgs/{org}/webhooks", "MDO"),
    Route("POST", "/orgs/{org}/webhooks", "DO", {"name": "w", "url": "https://hooks.example.org/"}),
    Route("GET", "/orgs/{org}/webhooks/{webhook}", "DO"),
    Route("PATCH", "/orgs/{org}/webhooks/{webhook}", "DO", {"enabled": True}),
    Route("DELETE", "/orgs/{org}/webhooks/{webhook}", "DO"),
    Route("POST", "/orgs/{org}/webhooks/{webhook}/rotate", "DO"),
    Route("POST", "/orgs/{org}/webhooks/{webhook}/test", "DO"),
    Route("GET", "/orgs/{org}/webhooks/{webhook}/deliveries", "DO"),
    Route("POST", "/orgs/{org}/webhooks/{webhook}/deliveries/{delivery}/redeliver", "DO"),
    Route("GET", "/nodes", "VMDO", own=True),
    Route("GET", "/quotas", "VMDO", own=True),
    Route("GET", "/usage", "VMDO", own=True),
    Route("POST", "/agent/attach", "", {"incarnation": "one", "devices": []}, machine=True),
    Route("POST", "/agent/heartbeat", "", {"incarnation": "one"}, machine=True),
    Route("GET", "/agent/runs", "", machine=True),
    Route("POST", "/agent/runs/{run}/claim", "", {"epoch": 1, "incarnation": "one"}, machine=True),
    Route("POST", "/agent/runs/{run}/started", "", {"epoch": 1}, machine=True),
    Route("POST", "/agent/runs/{run}/stopping", "", {"epoch": 1}, machine=True),
    Route("POST", "/agent/runs/{run}/checkpoint", "", {"epoch": 1, "step": 1, "files": [FILE]}, machine=True),
    Route("POST", "/agent/runs/{run}/finish", "", {"epoch": 1, "outcome": "stopped", "final_seq": 0}, machine=True),
]  # fmt: skip

LETTERS = {"anonymous": "A", "viewer": "V", "member": "M", "admin": "D", "owner": "O"}


@dataclass(frozen=True)
class World:
    """Aster's things, each marked with the canary."""

    cast: Cast
    run: Running
    names: dict[str, str]

    def fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        if value == "{spec}":
            return small_spec()
        return value.format(**self.names) if isinstance(value, str) else value


@pytest.fixture
def world(cast: Cast) -> World:
    run = running(cast.ada, attach_node(), name=CANARY, notes=CANARY, tags={CANARY: CANARY})
    logs = [{"time": 1.7e9, "message": CANARY}]
    assert run.points(1, logs=logs, progress={"step": 1, "total": 2, "note": CANARY}).status == 200
    run.http.put(f"/runs/{run.id}/artifacts/{CANARY}?epoch=1", CANARY.encode())
    place = f"/orgs/aster/projects/{PROJECT}"
    study = cast.ada.http.post(
        f"{place}/studies", {"name": CANARY, "recipe": "optimizer_benchmark", "spec": small_spec()}
    )
    board = {
        "name": CANARY,
        "recipe": "optimizer_benchmark",
        "frozen": {"steps": small_spec()["steps"]},
        "metric": "eval/loss",
        "goal": "min",
        "target": 0.1,
    }
    benchmark = cast.ada.http.post("/benchmarks", board)
    token = cast.mel.http.post("/tokens", {"name": CANARY})
    upload = run.http.post(f"/runs/{run.id}/uploads", {"path": CANARY, "epoch": 1, "size_bytes": 1})
    thrown = logged(cast.ada, name=CANARY)
    thrown.end()
    assert cast.ada.http.delete(f"/runs/{thrown.id}").status == 200
    hook = cast.ada.http.post("/orgs/aster/webhooks", {"name": CANARY, "url": f"https://example.org/{CANARY}"})
    alert = cast.ada.http.post("/orgs/aster/alerts", {**ALERT, "name": CANARY, "webhooks": [hook.body["id"]]})
    delivery = cast.ada.http.post(f"/orgs/aster/webhooks/{hook.body['id']}/test")
    names = {
        "org": "aster",
        "project": PROJECT,
        "user": cast.vera.user.id,
        "run": run.id,
        "study": study.body["id"],
        "benchmark": benchmark.body["id"],
        "token": token.body["id"],
        "alert": alert.body["id"],
        "webhook": hook.body["id"],
        "delivery": delivery.body["id"],
        "name": "optimizer_benchmark",
        "path": CANARY,
        "upload": upload.body["id"],
        "item": thrown.id,
    }
    return World(cast, run, names)


def call(http: Http, route: Route, world: World, **names: str) -> Any:
    path = route.path.format(**{**world.names, **names})
    if route.method == "PUT" and route.body is None:
        return http.put(path, b"x")
    return http.call(route.method, path, world.fill(route.body) if route.body is not None else {})


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/me", 405), ("PUT", "/runs", 405)]
)
def test_refusals_of_the_framework_have_the_one_form_too(world: World, method: str, path: str, status: int) -> None:
    assert world.cast.ada.http.call(method, path).status == status


def test_every_route_is_listed() -> None:
    described = {
        (method.upper(), path.removeprefix("/api/v1").replace("{path:path}", "{path}").replace("{number}", "1"))
        for path, methods in openapi()["paths"].items()
        for method in methods
    }
    assert described == {(route.method, route.path.partition("?")[0]) for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_who_may(world: World, route: Route) -> None:
    for role, http in world.cast.people.items():
        if role == "other owner":
            continue
        status = call(http, route, world).status
        if role == "anonymous":
            assert status == 401, role
        elif LETTERS[role] in route.allowed:
            assert status not in (401, 403, 404, 500), f"{role} got {status}"
            break
        else:
            assert status == 403, f"{role} got {status}"


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if not route.own and not route.machine],
    ids=lambda route: f"{route.method} {route.path}",
)
def test_another_tenants_thing_looks_like_one_that_never_existed(world: World, route: Route) -> None:
    olga = world.cast.olga.http
    real = call(olga, route, world)
    absent = {
        "org": "nowhere",
        "run": "r_0000000000",
        "study": "s_0000000000",
        "benchmark": "b_0000000000",
        "token": "t_0000000000",
        "item": "r_0000000000",
        "alert": "a_0000000000",
        "webhook": "w_0000000000",
        "delivery": "v_0000000000",
    }
    if route.path == "/series/query":
        fake = olga.post("/series/query", {"runs": [absent["run"]], "keys": ["train/loss"]})
    else:
        fake = call(olga, route, world, **absent)
    assert real.status == fake.status == 404
    if route.method == "HEAD":
        assert real.text == fake.text == ""
        return
    assert {**real.body, "request_id": ""} == {**fake.body, "request_id": ""}
    assert CANARY not in real.text


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.own], ids=lambda route: f"{route.method} {route.path}"
)
def test_nothing_of_aster_shows_in_anothers_own_lists(world: World, route: Route) -> None:
    answer = call(world.cast.olga.http, route, world)
    assert answer.status < 500
    assert CANARY not in answer.text
    assert world.run.id not in answer.text


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.machine], ids=lambda route: f"{route.method} {route.path}"
)
def test_another_node_can_do_nothing_with_a_run(world: World, route: Route) -> None:
    stranger = attach_node("stranger", slots=0)
    status = call(stranger.http, route, world).status
    assert status in ((409, 422) if "{run}" in route.path else (200,))
    for http in (world.run.http, world.cast.ada.http):
        assert call(http, route, world).status == 403


def test_nothing_changed_for_aster(world: World) -> None:
    before = fingerprint(world)
    for route in ROUTES:
        call(world.cast.olga.http, route, world)
    assert fingerprint(world) == before


def fingerprint(world: World) -> str:
    ada = world.cast.ada.http
    paths = [
        "/audit",
        "/runs",
        f"/runs/{world.run.id}",
        f"/runs/{world.run.id}/events",
        "/orgs/aster/members",
        "/benchmarks",
        "/orgs/aster/alerts",
        "/orgs/aster/webhooks",
    ]
    bodies = [ada.get(path).text for path in paths]
    return hashlib.sha256("".join(bodies).encode()).hexdigest()


@pytest.fixture(autouse=True)
def _one_error_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refusal in this module has the one form of an error."""
    from support import cast as module

    original = module.Http.call

    def checked(self: Http, *arguments: Any, **options: Any) -> Any:
        answer = original(self, *arguments, **options)
        if answer.status >= 400 and arguments[0] != "HEAD":
            assert {"code", "message", "fields", "request_id"} <= set(answer.body), answer.text
            assert answer.body["message"].endswith((".", "?"))
        return answer

    monkeypatch.setattr(module.Http, "call", checked)
