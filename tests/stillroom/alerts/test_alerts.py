"""Rules: what fires, how often, for whom; deliveries: signed, repeated, ordered, given up, sent again."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.utils import timezone

from stillroom.alerts.models import Delivery
from stillroom.alerts.services.deliver import PAUSES_S, claim, deliver
from stillroom.alerts.services.sweep import sweep
from stillroom.runs.models import RunFence
from support.cast import PROJECT, Cast, in_tenant
from support.threads import at_once

RULES, HOOKS = "/orgs/aster/alerts", "/orgs/aster/webhooks"


def rule(cast: Cast, condition: dict[str, Any], **more: Any) -> str:
    answer = cast.mel.http.post(RULES, {"name": "r", "condition": condition, **more})
    assert answer.status == 201, answer.text
    return str(answer.body["id"])


def script(cast: Cast, **more: Any) -> str:
    made = cast.mel.http.post(f"/orgs/aster/projects/{PROJECT}/runs", {"external": True, "name": "n", **more})
    return str(made.body["id"])


def log(cast: Cast, run: str, seq: int, values: list[Any], key: str = "loss") -> None:
    steps = list(range(len(values)))
    series = [{"key": key, "step": steps, "value": values, "time": steps}]
    assert cast.mel.http.post(f"/runs/{run}/points", {"epoch": 1, "seq": seq, "series": series}).status == 200


def events(cast: Cast) -> list[dict[str, Any]]:
    """What was found, oldest first."""
    return list(reversed(cast.ada.http.get("/orgs/aster/alert-events").body["items"]))


def test_a_state_is_told_once_and_only_for_runs_that_match(cast: Cast) -> None:
    rule(cast, {"kind": "state", "states": ["FAILED", "LOST"]}, project=PROJECT, tags={"team": "a"})
    sweep()
    for tags, end in (({"team": "a"}, "FAILED"), ({"team": "b"}, "FAILED"), ({"team": "a"}, "SUCCEEDED")):
        cast.mel.http.post(f"/runs/{script(cast, tags=tags)}/finish", {"state": end})
    assert (sweep(), sweep()) == (1, 0)
    (event,) = events(cast)
    assert (event["kind"], event["detail"]["to"], event["detail"]["run"]["state"]) == ("state", "FAILED", "FAILED")


@pytest.mark.parametrize(
    ("condition", "values", "fires"),
    [
        ({"op": "gt", "threshold": 5}, [1, 6], True),
        ({"op": "gt", "threshold": 5}, [6, 1], False),
        ({"op": "ge", "threshold": 6}, [1, 6], True),
        ({"op": "lt", "threshold": 0.5}, [1, 0.5], False),
        ({"op": "gt", "threshold": 5, "reduce": "max", "window": 3}, [9, 1, 6, 1], True),
        ({"op": "gt", "threshold": 5, "reduce": "max", "window": 3}, [9, 1, 1, 1], False),
        ({"op": "le", "threshold": 2, "reduce": "mean", "window": 2}, [100, 1, 3], True),
        ({"op": "gt", "threshold": 0, "reduce": "mean", "window": 3}, [1, 1], False),
        ({"op": "gt", "threshold": 0}, ["NaN"], False),
    ],
    ids=str,
)
def test_a_metric_and_its_threshold(cast: Cast, condition: dict[str, Any], values: list[Any], fires: bool) -> None:
    rule(cast, {"kind": "metric", "key": "loss", **condition})
    run = script(cast)
    log(cast, run, 1, values[:1])
    log(cast, run, 2, values[1:] or [values[0]])
    assert sweep() == int(fires)


def test_a_condition_fires_when_it_begins_and_again_after_it_ended(cast: Cast) -> None:
    made = rule(cast, {"kind": "metric", "key": "loss", "op": "gt", "threshold": 5})
    run = script(cast)
    counts = []
    for seq, value in enumerate([6, 7, 1, 8], 1):
        log(cast, run, seq, [value])
        counts.append(sweep())
    assert counts == [1, 0, 0, 1]
    assert cast.vera.http.get(f"{RULES}/{made}").body["firing"] == 1
    assert [event["detail"]["value"] for event in events(cast)] == [6, 8]


def test_divergence_is_told_once_a_run_and_names_the_metric(cast: Cast) -> None:
    rule(cast, {"kind": "divergence"})
    run = script(cast)
    log(cast, run, 1, ["NaN"], key="system/odd")
    assert sweep() == 0
    log(cast, run, 2, [1, "Infinity"])
    log(cast, run, 3, [1, "NaN"])
    assert (sweep(), sweep()) == (1, 0)
    assert "loss" in events(cast)[0]["message"]


def test_silence_is_told_and_ends_with_the_next_batch(cast: Cast) -> None:
    rule(cast, {"kind": "silence", "minutes": 5})
    run = script(cast)
    log(cast, run, 1, [1])
    assert sweep() == 0
    quiet(cast, run)
    assert (sweep(), sweep()) == (1, 0)
    log(cast, run, 2, [1])
    assert sweep() == 0
    quiet(cast, run)
    assert sweep() == 1


def quiet(cast: Cast, run: str) -> None:
    with in_tenant(cast.mel):
        RunFence.objects.filter(run_id=run).update(ingested_at=timezone.now() - timedelta(minutes=6))


def test_many_notifiers_find_a_thing_once(cast: Cast) -> None:
    rule(cast, {"kind": "metric", "key": "loss", "op": "gt", "threshold": 0})
    log(cast, script(cast), 1, [1])
    at_once(6, sweep)
    sweep()
    assert len(events(cast)) == 1


def test_a_rule_sees_nothing_of_another_organisation(cast: Cast) -> None:
    rule(cast, {"kind": "state", "states": ["FAILED"]})
    other = cast.olga.http.post(f"/orgs/other/projects/{PROJECT}/runs", {"external": True}).body["id"]
    cast.olga.http.post(f"/runs/{other}/finish", {"state": "FAILED"})
    assert sweep() == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"condition": {"kind": "metric", "key": "a", "op": "gt", "threshold": "NaN"}}, "condition.metric.threshold"),
        ({"condition": {"kind": "silence", "minutes": 0}}, "condition.silence.minutes"),
        ({"condition": {"kind": "state", "states": ["BROKEN"]}}, "condition.state.states.0"),
        ({"emails": ["stranger@example.com"]}, "emails.0"),
        ({"emails": ["olga@example.org"]}, "emails.0"),
        ({"webhooks": ["w_0000000000"]}, "webhooks.0"),
        ({"project": "nowhere"}, "project"),
    ],
)
def test_a_wrong_rule_is_refused_at_its_field(cast: Cast, change: dict[str, Any], field: str) -> None:
    body = {"name": "r", "condition": {"kind": "state", "states": ["FAILED"]}, **change}
    answer = cast.mel.http.post(RULES, body)
    assert (answer.status, list(answer.body["fields"])) == (422, [field])


@dataclasses.dataclass
class Receiver:
    """A webhook's other end. `answers` are given in order, then 204."""

    port: int = 0
    answers: list[int] = dataclasses.field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = dataclasses.field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.answers.pop(0) if found.answers else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    found.port = server.server_address[1]
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        allowed = dataclasses.replace(settings.ENV, webhook_allow=(f"127.0.0.1:{found.port}",))
        monkeypatch.setattr(settings, "ENV", allowed)
        yield found


def hook(cast: Cast, receiver: Receiver, name: str = "w") -> dict[str, Any]:
    answer = cast.adam.http.post(HOOKS, {"name": name, "url": f"http://127.0.0.1:{receiver.port}/in?k=1"})
    assert answer.status == 201, answer.text
    found: dict[str, Any] = answer.body
    return found


def send_all() -> int:
    """Deliver what is due until nothing is; how many arrived."""
    arrived = 0
    while due := claim():
        arrived += sum(deliver(*one) for one in due)
    return arrived


def make_due(cast: Cast) -> None:
    with in_tenant(cast.ada):
        Delivery.objects.update(next_at=timezone.now() - timedelta(seconds=1))


def deliveries(cast: Cast, webhook: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = cast.adam.http.get(f"{HOOKS}/{webhook}/deliveries").body["items"]
    return items


def test_what_arrives_is_signed_over_time_and_body(cast: Cast, receiver: Receiver) -> None:
    webhook = hook(cast, receiver)
    rule(cast, {"kind": "metric", "key": "loss", "op": "gt", "threshold": 0}, webhooks=[webhook["id"]])
    run = script(cast)
    log(cast, run, 1, [1])
    sweep()
    assert send_all() == 1
    ((headers, body),) = receiver.got
    signed = f"{headers['Stillroom-Timestamp']}.".encode() + body
    expected = hmac.new(webhook["secret"].encode(), signed, hashlib.sha256).hexdigest()
    assert headers["Stillroom-Signature"] == f"v1={expected}"
    told = json.loads(body)
    assert (told["type"], told["run"]["id"], told["value"]) == ("alert.metric", run, 1)
    assert told["id"] == headers["Stillroom-Id"]
    assert send_all() == 0
    new = cast.adam.http.post(f"{HOOKS}/{webhook['id']}/rotate").body["secret"]
    assert new != webhook["secret"]


def test_a_failing_receiver_is_tried_again_under_the_same_id_and_then_given_up(cast: Cast, receiver: Receiver) -> None:
    webhook = hook(cast, receiver)["id"]
    receiver.answers = [500] * (len(PAUSES_S) + 1)
    cast.adam.http.post(f"{HOOKS}/{webhook}/test")
    for _ in range(len(PAUSES_S) + 1):
        assert send_all() == 0
        make_due(cast)
    (row,) = deliveries(cast, webhook)
    assert (row["state"], row["attempts"], row["log"][0]["status"]) == ("dead", len(PAUSES_S) + 1, 500)
    assert len({headers["Stillroom-Id"] for headers, _ in receiver.got}) == 1
    assert send_all() == 0, "what was given up rests"
    again = cast.adam.http.post(f"{HOOKS}/{webhook}/deliveries/{row['id']}/redeliver")
    assert (again.status, send_all()) == (202, 1)
    assert deliveries(cast, webhook)[0]["state"] == "delivered"


def test_messages_about_one_run_keep_their_order_and_others_do_not_wait(cast: Cast, receiver: Receiver) -> None:
    webhook = hook(cast, receiver)["id"]
    rule(cast, {"kind": "state", "states": ["SUCCEEDED", "FAILED"]}, webhooks=[webhook])
    rule(cast, {"kind": "metric", "key": "loss", "op": "gt", "threshold": 0}, name="m", webhooks=[webhook])
    sweep()
    first, second = script(cast), script(cast)
    log(cast, first, 1, [1])
    sweep()
    for run in (first, second):
        cast.mel.http.post(f"/runs/{run}/finish", {"state": "FAILED"})
    sweep()
    receiver.answers = [503]
    send_all()
    make_due(cast)
    send_all()
    told = [(body["run"]["id"], body["type"]) for body in (json.loads(body) for _, body in receiver.got)]
    of_first = [kind for run, kind in told if run == first]
    assert of_first[-2:] == ["alert.metric", "alert.state"], told
    assert sorted(row["state"] for row in deliveries(cast, webhook)) == ["delivered"] * 3


def test_many_senders_send_each_message_once(cast: Cast, receiver: Receiver) -> None:
    webhook = hook(cast, receiver)["id"]
    for _ in range(8):
        cast.adam.http.post(f"{HOOKS}/{webhook}/test")
    at_once(4, send_all)
    ids = [headers["Stillroom-Id"] for headers, _ in receiver.got]
    assert (len(ids), len(set(ids))) == (8, 8)


def test_an_address_that_became_private_is_not_called(cast: Cast, receiver: Receiver, monkeypatch: Any) -> None:
    webhook = hook(cast, receiver)["id"]
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, webhook_allow=()))
    cast.adam.http.post(f"{HOOKS}/{webhook}/test")
    assert send_all() == 0
    assert (deliveries(cast, webhook)[0]["state"], receiver.got) == ("dead", [])


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "http://example.org/", "https://u:p@example.org/"])
def test_a_refused_address_is_told_when_the_webhook_is_made(cast: Cast, url: str) -> None:
    answer = cast.adam.http.post(HOOKS, {"name": "w", "url": url})
    assert (answer.status, list(answer.body["fields"])) == (422, ["url"])


def test_members_choose_webhooks_without_seeing_their_addresses(cast: Cast, receiver: Receiver) -> None:
    hook(cast, receiver)
    (seen,) = cast.mel.http.get(HOOKS).body["items"]
    assert (seen["url"], seen["host"]) == ("", f"127.0.0.1:{receiver.port}")
    assert cast.adam.http.get(HOOKS).body["items"][0]["url"].endswith("/in?k=1")


def test_mail_goes_to_members_only_also_to_those_who_left(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "EMAIL_BACKEND", "django.core.mail.backends.locmem.EmailBackend")
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    made = rule(cast, {"kind": "state", "states": ["FAILED"]}, emails=["mel@example.org", "vera@example.org"])
    cast.ada.http.delete(f"/orgs/aster/members/{cast.vera.user.id}")
    cast.mel.http.post(f"{RULES}/{made}/test")
    assert send_all() == 1
    assert [message.to for message in mail.outbox] == [["mel@example.org"]]
    assert events(cast)[0]["deliveries"] == {"delivered": 1, "dead": 1}


def test_changes_are_audited_without_the_address(cast: Cast, receiver: Receiver) -> None:
    webhook = hook(cast, receiver)["id"]
    made = rule(cast, {"kind": "divergence"})
    cast.mel.http.patch(f"{RULES}/{made}", {"enabled": False})
    cast.mel.http.delete(f"{RULES}/{made}")
    cast.adam.http.delete(f"{HOOKS}/{webhook}")
    text = cast.ada.http.get("/audit").text
    for action in ("webhook.create", "alert.create", "alert.change", "alert.delete", "webhook.delete"):
        assert action in text
    assert "k=1" not in text
