"""Subscribe, replay, follow: every viewer ends with exactly what the database has, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import random

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings

from stillroom.core.tenancy import tenant_tx
from stillroom.telemetry.selectors.visible import visible_points
from support.cast import Cast, Running, attach_node, running, submit
from support.socket import viewer


@sync_to_async
def make_run(cast: Cast) -> Running:
    return running(cast.ada)


@sync_to_async
def post(run: Running, seq: int) -> None:
    logs = [{"time": 1.7e9, "message": f"line {seq}"}]
    assert run.points(seq, steps=[2 * seq, 2 * seq + 1], logs=logs).status == 200


@sync_to_async
def stored(cast: Cast, run: Running) -> list[tuple[float, float]]:
    with tenant_tx(cast.ada.tenant):
        points = visible_points(run.id)["train/loss"]
    return list(zip(points.step.astype(float).tolist(), points.value.tolist(), strict=True))


async def test_a_late_viewer_gets_a_snapshot_and_then_contiguous_deltas(cast: Cast) -> None:
    run = await make_run(cast)
    for seq in (1, 2, 3):
        await post(run, seq)
    async with viewer(cast.ada.http.token) as ada:
        await ada.say(type="sub", run=run.id, hz=20)
        model = await ada.until(3)
        assert model.snapshots == 1
        for seq in (4, 5, 6):
            await post(run, seq)
        model = await ada.until(6)
        assert model.snapshots == 1
        assert model.points["train/loss"] == await stored(cast, run)
        assert model.logs == list(range(6))


async def test_viewers_that_join_while_points_arrive_miss_nothing(cast: Cast) -> None:
    run = await make_run(cast)
    last = 60

    async def feed() -> None:
        for seq in range(1, last + 1):
            await post(run, seq)

    async def watch(delay_s: float) -> list[tuple[float, float]]:
        await asyncio.sleep(delay_s)
        async with viewer(cast.ada.http.token) as ada:
            await ada.say(type="sub", run=run.id, hz=20)
            return (await ada.until(last)).points["train/loss"]

    dice = random.Random(0)
    _, *seen = await asyncio.gather(feed(), *(watch(dice.uniform(0, 1.0)) for _ in range(6)))
    expected = await stored(cast, run)
    assert all(points == expected for points in seen)


async def test_a_returning_viewer_continues_where_it_was(cast: Cast) -> None:
    run = await make_run(cast)
    for seq in range(1, 6):
        await post(run, seq)
    async with viewer(cast.ada.http.token) as ada:
        ada.model.epoch, ada.model.seq = 1, 2
        await ada.say(type="sub", run=run.id, since={"epoch": 1, "seq": 2})
        model = await ada.until(5)
        assert model.snapshots == 0
        assert model.logs == [2, 3, 4]


async def test_only_the_keys_asked_for_arrive(cast: Cast) -> None:
    run = await make_run(cast)
    await post(run, 1)
    async with viewer(cast.ada.http.token) as ada:
        await ada.say(type="sub", run=run.id, keys=["something/else"], hz=20)
        await ada.until(1)
        await post(run, 2)
        model = await ada.until(2)
        assert dict(model.points) == {}
        assert model.logs == [0, 1]


async def test_what_the_bus_loses_the_database_repairs(cast: Cast) -> None:
    run = await make_run(cast)
    async with viewer(cast.ada.http.token) as ada:
        await ada.say(type="sub", run=run.id)
        await ada.until(0)
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.client_kill_filter(_type="pubsub")
        for seq in range(1, 8):
            await post(run, seq)
        model = await ada.until(7)
        assert model.points["train/loss"] == await stored(cast, run)


async def test_a_new_attempt_begins_with_a_snapshot(cast: Cast) -> None:
    run = await make_run(cast)
    await post(run, 1)
    async with viewer(cast.ada.http.token) as ada:
        await ada.say(type="sub", run=run.id)
        await ada.until(1)
        again = await sync_to_async(next_attempt)(cast, run)
        await post(again, 1)
        model = await ada.until(1, epoch=again.epoch)
        assert model.snapshots == 2
        assert model.points["train/loss"] == await stored(cast, run)


def next_attempt(cast: Cast, run: Running) -> Running:
    from stillroom.scheduling.services.dispatch import dispatch
    from support.cast import take
    from support.database import superuser

    run.node.finish(run.id, run.epoch, final_seq=1, outcome="failed", error={"code": "process.killed"}, retryable=True)
    with superuser() as owner:
        owner.execute("update run set not_before = null")
    dispatch()
    return take(cast.ada, run.node, run.id)


async def test_state_changes_reach_who_watches_the_project(cast: Cast) -> None:
    async with viewer(cast.vera.http.token) as vera:
        await vera.say(type="watch", topic="project", org="aster", project="first")
        await vera.say(type="ping")
        await vera.notice("pong")
        run = await make_run(cast)
        seen = set()
        while "RUNNING" not in seen:
            seen.add((await vera.notice("run"))["run"]["state"])
        assert vera.notices[-1]["run"]["id"] == run.id


async def test_a_ranking_announces_itself(cast: Cast) -> None:
    board = {"name": "b", "recipe": "optimizer_benchmark", "frozen": {}, "metric": "train/loss", "goal": "min"}
    made = (await sync_to_async(cast.ada.http.post)("/benchmarks", board)).body
    run = await make_run(cast)
    async with viewer(cast.vera.http.token) as vera:
        await vera.say(type="watch", topic="benchmark", id=made["id"])
        await vera.say(type="ping")
        await vera.notice("pong")
        await post(run, 1)
        await sync_to_async(run.node.finish)(run.id, run.epoch, final_seq=1)
        assert (await vera.notice("benchmark"))["id"] == made["id"]
    entries = (await sync_to_async(cast.vera.http.get)(f"/benchmarks/{made['id']}")).body["entries"]
    assert [entry["runs"] for entry in entries] == [[run.id]]


@pytest.mark.parametrize(
    "topic", [{"topic": "project", "org": "aster", "project": "first"}, {"topic": "org", "org": "aster"}]
)
async def test_another_tenant_hears_nothing(cast: Cast, topic: dict[str, str]) -> None:
    run = await make_run(cast)
    async with viewer(cast.olga.http.token) as olga:
        for name in (run.id, "r_0000000000"):
            await olga.say(type="sub", run=name)
            answer = await olga.notice("error")
            assert {**answer, "run": ""} == {
                "type": "error",
                "code": "not_found",
                "message": "This run does not exist, or you may not see it.",
                "run": "",
            }
        await olga.say(type="watch", **topic)
        assert (await olga.notice("error"))["code"] == "not_found"
        await post(run, 1)
        await olga.say(type="ping")
        assert (await olga.hear()) == {"type": "pong"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"type":"sub"}',
        '{"type":"sub","run":5}',
        '{"type":"fly"}',
        '{"type":"sub","run":"r_1","x":1}',
        "x" * 70_000,
    ],
)
async def test_garbage_is_answered_and_the_socket_lives(cast: Cast, text: str) -> None:
    async with viewer(cast.ada.http.token) as ada:
        await ada.say_text(text)
        assert (await ada.notice("error"))["code"] == "bad_message"
        await ada.say(type="ping")
        await ada.notice("pong")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sr_api_0000000000_nothing"},
        {"Origin": "https://elsewhere.example", "Host": "localhost"},
        {"Cookie": "session=nonsense", "Origin": "http://localhost", "Host": "localhost"},
    ],
)
async def test_strangers_are_shown_out(cast: Cast, headers: dict[str, str]) -> None:
    async with viewer(headers=headers) as stranger:
        assert await stranger.closed() == 4401


async def test_a_cookie_counts_only_from_our_own_pages(cast: Cast) -> None:
    cookie = await sync_to_async(session_cookie)(cast)
    run = await sync_to_async(submit)(cast.ada)
    for origin, allowed in (("http://localhost:8000", True), ("https://elsewhere.example", False), ("null", False)):
        async with viewer(headers={"Cookie": cookie, "Origin": origin, "Host": "localhost:8000"}) as ada:
            if allowed:
                await ada.say(type="sub", run=run)
                assert (await ada.until(0)).snapshots == 1
            else:
                assert await ada.closed() == 4401


def session_cookie(cast: Cast) -> str:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    user = cast.ada.user
    store = SessionStore()
    store[SESSION_KEY] = user.pk
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return f"{settings.SESSION_COOKIE_NAME}={store.session_key}"


async def test_a_revoked_token_loses_its_socket(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillroom.live.consumers.RECHECK_S", 0.2)
    made = (await sync_to_async(cast.mel.http.post)("/tokens", {"name": "t"})).body
    async with viewer(made["token"]) as mel:
        await sync_to_async(cast.mel.http.delete)(f"/tokens/{made['id']}")
        assert await mel.closed() == 4401


async def test_two_viewers_of_two_tenants_see_their_own(cast: Cast) -> None:
    node = await sync_to_async(attach_node)(slots=4)
    ours = await sync_to_async(running)(cast.ada, node)
    theirs = await sync_to_async(running)(cast.olga, node)
    async with viewer(cast.ada.http.token) as ada, viewer(cast.olga.http.token) as olga:
        await ada.say(type="sub", run=ours.id)
        await olga.say(type="sub", run=theirs.id)
        await post(ours, 1)
        await post(theirs, 1)
        await post(theirs, 2)
        assert len((await ada.until(1)).points["train/loss"]) == 2
        assert len((await olga.until(2)).points["train/loss"]) == 4
