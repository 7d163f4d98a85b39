"""The end of an attempt, told to a platform that is hard to reach."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillroom_client.agent import AgentApi
from stillroom_client.points import AttemptApi, decode_batch, encode_batch
from stillroom_client.spool import Spool
from stillroom_client.transport import ONCE, Retries, Transport
from tests.stillroom_client.faulty_server import RESET, Answer, Asked, FaultyServer, refuse, reply, serving
from workers import report as report_module
from workers.folders import AttemptFolder, AttemptState
from workers.report import Announcer, report_end
from workers.salvage import salvage
from workers.sandbox import sender as sender_module
from workers.sandbox.outcome import Outcome
from workers.sandbox.sender import Sender

DONE = Outcome("succeeded", 0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    for module in (report_module, sender_module):
        monkeypatch.setattr(module, "PATIENCE", Retries(base_s=0.002, cap_s=0.01))
    with serving() as running:
        yield running


def transport(server: FaultyServer) -> Transport:
    return Transport(server.url, retries=ONCE)


def finish(server: FaultyServer, folder: Path, is_over: threading.Event) -> str | None:
    spool = Spool(folder)
    sender = Sender(AttemptApi(transport(server), "r_1", 1), spool, on_ack=lambda ack: None, on_stale=is_over.set)
    sender.start()
    for seq in (1, 2, 3):
        spool.append(encode_batch(1, seq))
        sender.wake()
    try:
        return report_end(AgentApi(transport(server)), sender, "r_1", 1, DONE, 3, is_over=is_over.is_set)
    finally:
        sender.stop()


def seqs(asked: list[Asked]) -> list[int | str]:
    return [
        decode_batch(one.body)["seq"] if one.path.endswith("/points") else one.path.rpartition("/")[2] for one in asked
    ]


def accepting(asked: Asked) -> Answer:
    if asked.path.endswith("/points"):
        return reply({"last_seq": decode_batch(asked.body)["seq"], "intent": "run", "flush_ms": 500})
    return reply({"state": "SUCCEEDED"})


def test_it_finishes_after_the_last_batch(server: FaultyServer, tmp_path: Path) -> None:
    server.otherwise = accepting
    assert finish(server, tmp_path, threading.Event()) == "SUCCEEDED"
    assert seqs(server.asked) == [1, 2, 3, "finish"]
    assert json.loads(server.asked[-1].body)["final_seq"] == 3


def test_a_tail_that_the_platform_has_lost_is_sent_again(server: FaultyServer, tmp_path: Path) -> None:
    lost = iter([refuse(409, "run.tail_missing", last_seq=1)])

    def forgetful(asked: Asked) -> Answer:
        return next(lost, accepting(asked)) if asked.path.endswith("/finish") else accepting(asked)

    server.otherwise = forgetful
    assert finish(server, tmp_path, threading.Event()) == "SUCCEEDED"
    assert seqs(server.asked) == [1, 2, 3, "finish", 2, 3, "finish"]


def test_it_is_repeated_until_the_platform_answers(server: FaultyServer, tmp_path: Path) -> None:
    faults = iter([RESET, reply({"code": "busy"}, 503), RESET])

    def flaky(asked: Asked) -> Answer:
        return next(faults, accepting(asked)) if asked.path.endswith("/finish") else accepting(asked)

    server.otherwise = flaky
    assert finish(server, tmp_path, threading.Event()) == "SUCCEEDED"


def test_an_attempt_that_is_over_is_not_reported(server: FaultyServer, tmp_path: Path) -> None:
    server.otherwise = lambda asked: refuse(409, "run.stale") if asked.path.endswith("/finish") else accepting(asked)
    assert finish(server, tmp_path / "a", threading.Event()) is None
    server.otherwise = lambda asked: refuse(409, "ingest.stale_epoch")
    over = threading.Event()
    assert finish(server, tmp_path / "b", over) is None
    assert over.is_set()


def test_announcements_arrive_in_order_whatever_happens_to_the_first(server: FaultyServer) -> None:
    server.answers = [refuse(409, "run.stale")]
    agent, announcer = AgentApi(transport(server)), Announcer("r_1")
    announcer.say(lambda: agent.started("r_1", 1), "started")
    announcer.say(lambda: agent.stopping("r_1", 1), "stopping")
    announcer.wait(10.0)
    assert seqs(server.asked) == ["started", "stopping"]


def test_a_dead_agents_attempts_are_sent_and_reported(server: FaultyServer, tmp_path: Path) -> None:
    server.otherwise = accepting
    folder = AttemptFolder.of(tmp_path, "r_1", 4)
    folder.create(None)
    folder.write_state(AttemptState("r_1", 4, "sr_run_old"))
    spool = Spool(folder.spool)
    spool.append(encode_batch(4, 1))
    spool.close()
    AttemptFolder.of(tmp_path, "r_2", 1).create(None)
    salvage(tmp_path, AgentApi(transport(server)), transport(server))
    assert seqs(server.asked) == [1, "finish"]
    assert server.asked[0].headers["Authorization"] == "Bearer sr_run_old"
    told = json.loads(server.asked[1].body)
    assert (told["outcome"], told["error"]["code"], told["retryable"]) == ("failed", "node.agent_restarted", True)
    assert AttemptFolder.all(tmp_path) == []


def test_what_the_platform_does_not_want_any_more_is_deleted(server: FaultyServer, tmp_path: Path) -> None:
    server.otherwise = lambda asked: refuse(409, "run.stale")
    folder = AttemptFolder.of(tmp_path, "r_1", 4)
    folder.create(None)
    folder.write_state(AttemptState("r_1", 4, "sr_run_old"))
    salvage(tmp_path, AgentApi(transport(server)), transport(server))
    assert AttemptFolder.all(tmp_path) == []


def test_a_run_id_cannot_be_a_path(tmp_path: Path) -> None:
    for run in ("../x", "a/b", "", "a.b"):
        with pytest.raises(ValueError, match="run id"):
            AttemptFolder.of(tmp_path, run, 1)
