"""Subscribe, replay, follow: every viewer ends with exactly what the database has, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings

from stillroom.core.frames import decode_frame
from stillroom.core.tenancy import tenant_tx
from stillroom.live import hub as hub_module
from stillroom.live.hub import Frame, Viewer, Watched
from stillroom.telemetry.selectors import replay
from stillroom.telemetry.selectors.visible import visible_points
from support.cast import Cast, Running, attach_node, running
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


async def test_who_follows_knows_where_an_ended_stream_ends(cast: Cast) -> None:
    run = await make_run(cast)
    async with viewer(cast.vera.http.token) as vera:
        await vera.say(type="sub", run=run.id)
        await vera.until(0)
        for seq in (1, 2):
            await post(run, seq)
        await sync_to_async(run.node.finish)(run.id, run.epoch, final_seq=2, outcome="succeeded")
        while (await vera.notice("run"))["run"]["state"] != "SUCCEEDED":
            pass
        before = vera.notices[-2]
        assert (before["type"], before["run"], before["epoch"], before["seq"]) == ("head", run.id, run.epoch, 2)


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
        '{"type":"sub","run":"\\u0000"}',
        '{"type":"sub","run":"r_1","keys":["\\u0000"]}',
        '{"type":"watch","topic":"project","org":"aster","project":"\\u0000"}',
        '{"type":"watch","topic":"benchmark","id":"\\u0000"}',
        "x" * 70_000,
    ],
)
async def test_garbage_is_answered_and_the_socket_lives(cast: Cast, text: str) -> None:
    async with viewer(cast.ada.http.token) as ada:
        await ada.say_text(text)
        assert (await ada.notice("error"))["code"] == "bad_message"
        await ada.say(type="ping")
        await ada.notice("pong")


async def test_without_the_bus_a_socket_opens_and_follows_and_is_sent_away_when_it_is_back(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stillroom.live import consumers

    answers = [False]

    async def answer() -> bool:
        return answers[0]

    monkeypatch.setattr(consumers, "bus_answers", answer)
    monkeypatch.setattr(consumers, "BUS_LOOK_S", 0.1)
    run = await make_run(cast)
    async with viewer(cast.ada.http.token) as ada:
        await ada.say(type="sub", run=run.id)
        await ada.until(0)
        await post(run, 1)
        assert len((await ada.until(1)).points["train/loss"]) == 2
        await ada.say(type="unsub", run=run.id)
        await ada.say(type="ping")
        await ada.notice("pong")
        answers[0] = True
        assert await ada.closed() == 1012


async def test_a_bus_that_is_not_there_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from stillroom.live.admission import bus_answers

    assert await bus_answers()
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    assert not await bus_answers()


async def test_no_keys_means_none(cast: Cast) -> None:
    run = await make_run(cast)
    await post(run, 1)
    async with viewer(cast.ada.http.token) as ada:
        await ada.say(type="sub", run=run.id, keys=[])
        assert (await ada.until(1)).points == {}


def frame(seq: int, size: int) -> Frame:
    return Frame(1, seq, seq, b"x" * size)


def test_large_frames_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(message: object) -> None: ...

    monkeypatch.setattr(hub_module, "RING_BYTES", 1000)
    monkeypatch.setattr(hub_module, "MAX_PENDING_BYTES", 500)
    watched = Watched("r_1", "o_1")
    slow = Viewer("r_1", "o_1", send, None, 1000, 0.2, None)
    watched.viewers.add(slow)
    for seq in range(1, 50):
        watched.receive(frame(seq, 100))
        assert sum(len(one.data) for one in watched.ring) <= 1000
        assert sum(len(one.data) for one in slow.pending) <= 500
    assert slow.overflowed, "it catches up from the database"
    watched.receive(frame(50, 2000))
    assert not watched.ring
    watched.receive(frame(51, 10))
    assert [one.last for one in watched.ring] == [51]


async def test_an_old_position_with_too_much_behind_it_gets_a_snapshot(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_REPLAYED_POINTS", 5)
    run = await make_run(cast)
    for seq in range(1, 5):
        await post(run, seq)
    for since, snapshots in ((1, 1), (3, 0)):
        async with viewer(cast.ada.http.token) as ada:
            ada.model.epoch, ada.model.seq = run.epoch, since
            await ada.say(type="sub", run=run.id, since={"epoch": run.epoch, "seq": since})
            assert (await ada.until(4)).snapshots == snapshots


def test_a_snapshot_of_a_very_long_run_keeps_the_extremes(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    run = running(cast.ada)
    values = [float(index % 17) for index in range(400)]
    values[123], values[321], values[200] = 99.0, -99.0, float("nan")
    for seq, at in enumerate(range(0, 400, 40), 1):
        series = [
            {
                "key": key,
                "step": list(range(at, at + 40)),
                "value": [
                    str(value).replace("nan", "NaN") if value != value else value for value in values[at : at + 40]
                ],
                "time": [0.0] * 40,
            }
            for key in ("a", "b")
        ]
        sent = run.http.post(f"/runs/{run.id}/points", {"epoch": run.epoch, "seq": seq, "series": series})
        assert sent.status == 200, sent.text
    monkeypatch.setattr(replay, "MAX_WHOLE_POINTS", 10)
    monkeypatch.setattr(replay, "PIECE_POINTS", 100)
    with tenant_tx(cast.ada.tenant):
        _, data = replay.snapshot(run.id, keys=None, max_points=16)
    header, columns = decode_frame(data)
    assert [series["key"] for series in header["series"]] == ["a", "b"]
    at = 0
    for series in header["series"]:
        n = series["n"]
        steps, found = columns[at : at + n], columns[at + n : at + 2 * n]
        at += 3 * n
        assert n <= 17
        assert (np.nanmax(found), np.nanmin(found)) == (99.0, -99.0)
        assert (steps[0], steps[-1]) == (0, 399)
        assert np.isnan(found).sum() == 1


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
