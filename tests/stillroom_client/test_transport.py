"""What the transport repeats, what it never repeats, and how long it waits."""

from __future__ import annotations

import json
import socket
import time
from email.utils import formatdate

import pytest

from stillroom_client.errors import ApiError, BadAddress, ConnectionFailed, NotSignedIn
from stillroom_client.transport import RETRY_AFTER_CAP_S, Retries, Transport
from tests.stillroom_client.faulty_server import RESET, Answer, FaultyServer, refuse, reply, serving


def patient(server: FaultyServer, pauses: list[float] | None = None) -> Transport:
    """A transport that notes its pauses instead of making them."""
    return Transport(server.url, "sr_api_1", sleep=(pauses if pauses is not None else []).append)


def test_a_reset_connection_is_tried_again() -> None:
    with serving(RESET, RESET, reply({"ok": 1})) as server:
        assert patient(server).call("POST", "/x", json={}).data == {"ok": 1}
    assert len(server.asked) == 3


def test_it_gives_up_and_names_the_platform() -> None:
    with serving(otherwise=lambda asked: RESET) as server, pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1"):
        patient(server).call("GET", "/x")
    assert len(server.asked) == Retries().attempts


def test_nobody_listening_is_no_answer() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(ConnectionFailed):
        Transport(url, sleep=lambda s: None).call("GET", "/x")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 507])
def test_answers_that_may_pass_are_repeated(status: int) -> None:
    with serving(refuse(status, "busy"), reply([])) as server:
        assert patient(server).call("GET", "/x").status == 200


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_a_refusal_is_never_repeated(status: int) -> None:
    with serving(refuse(status, "no.way"), reply([])) as server, pytest.raises(ApiError) as caught:
        patient(server).call("POST", "/x", json={})
    assert len(server.asked) == 1
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "no.way", "q1")


def test_an_error_keeps_its_fields_and_everything_else_in_the_answer() -> None:
    with (
        serving(refuse(422, "spec.invalid", fields={"spec.lr": "Too large."}, last_seq=7)) as server,
        pytest.raises(ApiError) as caught,
    ):
        patient(server).call("POST", "/x", json={})
    assert caught.value.fields == {"spec.lr": "Too large."}
    assert caught.value.body["last_seq"] == 7
    assert "spec.lr: Too large." in str(caught.value)


def test_retry_after_in_seconds_is_waited_for() -> None:
    pauses: list[float] = []
    with serving(reply({"code": "busy"}, 429, Retry_After="7"), reply({})) as server:
        patient(server, pauses).call("GET", "/x")
    assert pauses == [7.0]


def test_retry_after_as_a_date_is_waited_for() -> None:
    pauses: list[float] = []
    with serving(
        reply({"code": "busy"}, 503, Retry_After=formatdate(time.time() + 20, usegmt=True)), reply({})
    ) as server:
        patient(server, pauses).call("GET", "/x")
    assert 17 < pauses[0] <= 20


def test_retry_after_is_bounded_and_nonsense_is_ignored() -> None:
    pauses: list[float] = []
    answers = [reply({"code": "busy"}, 503, Retry_After=text) for text in ("86400", "soon")]
    with serving(*answers, reply({})) as server:
        patient(server, pauses).call("GET", "/x")
    assert pauses[0] == RETRY_AFTER_CAP_S
    assert pauses[1] < 1.0


def test_pauses_grow_with_jitter_up_to_the_cap() -> None:
    retries = Retries(base_s=1.0, cap_s=8.0)
    for failures, step_s in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 8.0), (5000, 8.0)):
        samples = [retries.pause_s(failures, None) for _ in range(50)]
        assert all(step_s / 2 <= pause_s <= step_s for pause_s in samples)
        assert len(set(samples)) > 1


def test_a_streamed_body_starts_afresh_on_each_try() -> None:
    with serving(RESET, reply({})) as server:
        patient(server).call("PUT", "/x", content=lambda: iter([b"ab", b"cd"]), headers={"Content-Length": "4"})
    assert server.asked[-1].body == b"abcd"


def test_a_proxys_error_page_is_summarised() -> None:
    page = Answer(502, b"<html>Bad   Gateway</html>", {"Content-Type": "text/html"})
    with serving(otherwise=lambda asked: page) as server, pytest.raises(ApiError) as caught:
        patient(server).call("GET", "/x")
    assert caught.value.code == "http.502"
    assert "Bad Gateway" in caught.value.message


def test_a_page_where_json_should_be_is_an_error() -> None:
    with serving(Answer(200, b"<!doctype html>")) as server, pytest.raises(ApiError, match="address"):
        patient(server).call("GET", "/x")


def test_a_redirect_says_which_address_to_use() -> None:
    moved = Answer(308, headers={"Location": "https://there.example/"})
    with serving(moved) as server, pytest.raises(ApiError, match=r"https://there\.example/"):
        patient(server).call("GET", "/x")


def test_a_call_may_bring_its_own_token() -> None:
    with serving() as server:
        transport = patient(server)
        transport.call("GET", "/x")
        transport.call("GET", "/x", token="sr_run_2")
    assert [one.headers["Authorization"] for one in server.asked] == ["Bearer sr_api_1", "Bearer sr_run_2"]


def test_a_download_cut_in_the_middle_is_repeated_from_the_start() -> None:
    taken: list[bytes] = []
    with serving(Answer(200, b"x" * 1000, cut_at=300), Answer(200, b"x" * 1000)) as server:
        patient(server).download("/x", lambda blocks: taken.append(b"".join(blocks)))
    assert [len(one) for one in taken] == [1000]


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://x", "http://", "http://[::", "http://a b:x"])
def test_what_is_no_address_is_said_at_once(url: str) -> None:
    with pytest.raises(BadAddress, match="is not an address like"):
        Transport(url)


@pytest.mark.parametrize("token", ["a\nb", "sr_api_ü", "two words", "\x7f"])
def test_a_token_that_no_header_can_carry_is_said_and_never_sent(token: str) -> None:
    with serving(reply({})) as server, pytest.raises(NotSignedIn, match="Copy it again"):
        Transport(server.url, token).call("GET", "/x")
    assert server.asked == []


def test_half_a_character_is_sent_as_a_question_mark() -> None:
    with serving(reply({})) as server:
        patient(server).call("POST", "/x", json={"name": "a\ud800b", "other": "ü"})
    assert json.loads(server.asked[0].body) == {"name": "a?b", "other": "ü"}
    assert server.asked[0].headers["Content-Type"] == "application/json"
