"""Batches over a network that loses, repeats and refuses."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillroom_client.errors import ApiError
from stillroom_client.points import Ack, AttemptApi, LogLine, Series, decode_batch, encode_batch, without_refused
from stillroom_client.spool import Spool
from stillroom_client.transport import Retries, Transport
from tests.stillroom_client.faulty_server import RESET, Answer, Asked, FaultyServer, refuse, reply, serving
from workers.sandbox import sender as sender_module
from workers.sandbox.sender import Sender


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "PATIENCE", Retries(base_s=0.002, cap_s=0.01))


class Sending:
    def __init__(self, server: FaultyServer, folder: Path) -> None:
        self.spool = Spool(folder)
        self.acks: list[Ack] = []
        self.stale = threading.Event()
        self.token = "sr_run_1"
        api = AttemptApi(Transport(server.url, timeout_s=5.0), "r_1", 1, lambda: self.token)
        self.sender = Sender(api, self.spool, on_ack=self.acks.append, on_stale=self.stale.set)

    def append(self, value: float = 0.0) -> int:
        seq = self.spool.last_seq + 1
        self.spool.append(encode_batch(1, seq, [Series("a", [seq], [value], [1.0])]))
        self.sender.wake()
        return seq


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving() as running:
        yield running


@pytest.fixture
def sending(server: FaultyServer, tmp_path: Path) -> Iterator[Sending]:
    made = Sending(server, tmp_path / "spool")
    made.sender.start()
    yield made
    made.sender.stop()


def batch_of(asked: Asked) -> dict[str, Any]:
    plain = gzip.decompress(asked.body) if asked.headers.get("Content-Encoding") == "gzip" else asked.body
    return decode_batch(plain)


def accepting(asked: Asked) -> Answer:
    return reply({"last_seq": batch_of(asked)["seq"], "intent": "run", "flush_ms": 500})


def test_batches_go_out_in_order_and_acks_come_back(server: FaultyServer, sending: Sending) -> None:
    server.otherwise = accepting
    last = [sending.append() for _ in range(20)][-1]
    assert sending.sender.wait_for(last, 10.0)
    assert [batch_of(one)["seq"] for one in server.asked] == list(range(1, 21))
    assert [ack.last_seq for ack in sending.acks] == list(range(1, 21))
    assert sending.acks[0].flush_ms == 500
    assert sending.sender.backlog == 0


def test_a_network_that_fails_at_random_loses_and_reorders_nothing(server: FaultyServer, sending: Sending) -> None:
    dice = random.Random(7)
    stored: list[bytes] = []
    lock = threading.Lock()

    def moody(asked: Asked) -> Answer:
        mood = dice.random()
        if mood < 0.2:
            return RESET
        if mood < 0.35:
            return reply({"code": "busy"}, 503)
        with lock:
            if batch_of(asked)["seq"] == len(stored) + 1:
                stored.append(asked.body)
        return RESET if mood < 0.5 else accepting(asked)

    server.otherwise = moody
    last = [sending.append(float(n)) for n in range(60)][-1]
    assert sending.sender.wait_for(last, 30.0)
    assert [decode_batch(body)["seq"] for body in stored] == list(range(1, 61))
    assert stored == [sending.spool.read(seq) for seq in range(1, 61)]


def test_a_gap_is_filled_from_the_spool(server: FaultyServer, sending: Sending) -> None:
    server.answers = [reply({"last_seq": 1, "intent": "run", "flush_ms": 1}), refuse(409, "ingest.gap", last_seq=0)]
    server.otherwise = accepting
    sending.append()
    last = sending.append()
    assert sending.sender.wait_for(last, 10.0)
    assert [batch_of(one)["seq"] for one in server.asked] == [1, 2, 1, 2]


def test_rewinding_sends_the_tail_once_more(server: FaultyServer, sending: Sending) -> None:
    server.otherwise = accepting
    last = [sending.append() for _ in range(5)][-1]
    assert sending.sender.wait_for(last, 10.0)
    assert sending.sender.rewind(3)
    assert sending.sender.wait_for(last, 10.0)
    assert [batch_of(one)["seq"] for one in server.asked] == [1, 2, 3, 4, 5, 3, 4, 5]
    assert not sending.sender.rewind(0)


@pytest.mark.parametrize("answer", [refuse(409, "ingest.stale_epoch"), refuse(404, "run.not_found")])
def test_an_attempt_that_is_over_writes_nothing_more(server: FaultyServer, sending: Sending, answer: Answer) -> None:
    server.answers = [answer]
    sending.append()
    assert sending.stale.wait(10.0)
    sending.append()
    assert not sending.sender.wait_for(1, 0.1)
    assert len(server.asked) == 1


def test_a_404_of_a_proxy_is_no_verdict(server: FaultyServer, sending: Sending) -> None:
    server.answers = [Answer(404, b"<html>no such backend</html>")]
    server.otherwise = accepting
    assert sending.sender.wait_for(sending.append(), 10.0)
    assert not sending.stale.is_set()


def test_an_expired_token_is_replaced_while_waiting(server: FaultyServer, sending: Sending) -> None:
    def check(asked: Asked) -> Answer:
        fresh = asked.headers["Authorization"] == "Bearer sr_run_2"
        return accepting(asked) if fresh else refuse(401, "auth.required")

    server.otherwise = check
    last = sending.append()
    server.wait_for(2)
    sending.token = "sr_run_2"
    assert sending.sender.wait_for(last, 10.0)


def test_a_refused_series_is_left_out_and_said(server: FaultyServer, sending: Sending) -> None:
    server.answers = [refuse(422, "ingest.invalid", fields={"series.0.value": "No."})]
    server.otherwise = accepting
    assert sending.sender.wait_for(sending.append(), 10.0)
    mended = batch_of(server.asked[1])
    assert mended["series"] == []
    assert "ingest.invalid" in mended["logs"][0]["message"]


def test_what_is_refused_shrinks_until_nothing_is_left() -> None:
    series = [Series("a", [1], [1.0], [1.0]), Series("b", [1], [1.0], [1.0])]
    body = encode_batch(1, 9, series, [LogLine(1.0, "info", "log", "x")] * 2, {"step": 1, "total": 2, "note": ""})
    named = without_refused(body, ApiError(422, "ingest.invalid", "m", fields={"series.1.step.4": "No."}))
    assert named is not None
    assert [one["key"] for one in decode_batch(named)["series"]] == ["a"]
    assert len(decode_batch(named)["logs"]) == 3
    unnamed = ApiError(413, "ingest.too_large", "m")
    sizes = []
    current: bytes | None = body
    while (current := without_refused(current, unnamed)) is not None:
        batch = decode_batch(current)
        assert batch["seq"] == 9
        sizes.append((len(batch["series"]), len(batch["logs"])))
    assert sizes == [(0, 1), (0, 0)]


def test_a_new_life_sends_what_the_spool_still_holds(server: FaultyServer, tmp_path: Path) -> None:
    server.otherwise = accepting
    spool = Spool(tmp_path / "spool")
    for seq in (1, 2, 3):
        spool.append(encode_batch(1, seq))
    spool.close()
    later = Sending(server, tmp_path / "spool")
    later.sender.start()
    assert later.sender.wait_for(3, 10.0)
    assert [batch_of(one)["seq"] for one in server.asked] == [1, 2, 3]
    later.sender.stop()
