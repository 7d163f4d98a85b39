"""Who is somebody before a body is read."""

from __future__ import annotations

from django.conf import settings
from django.test import Client

from stillroom.tenants.intake import somebody
from support.cast import Cast, attach_node, running


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def cookie_of(cast: Cast) -> dict[str, str]:
    client = Client()
    client.force_login(cast.mel.user)
    return {"cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"}


def test_people_and_runs_are_known(cast: Cast) -> None:
    run = running(cast.ada, attach_node())
    assert somebody(bearer(cast.mel.http.token))
    assert somebody(bearer(run.http.token))
    assert somebody(cookie_of(cast))


def test_garbage_strangers_and_nodes_are_not(cast: Cast) -> None:
    token = cast.mel.http.token
    for headers in (
        {},
        bearer(""),
        bearer("nonsense"),
        bearer(token[:-1] + ("A" if token[-1] != "A" else "B")),
        bearer("sr_run_e30.e30"),
        {"authorization": f"Basic {token}"},
        {"cookie": f"{settings.SESSION_COOKIE_NAME}=nonsense"},
        {"cookie": "\x00;=;;"},
        {**cookie_of(cast), **bearer("nonsense")},
        bearer(attach_node().http.token),
    ):
        assert not somebody(headers), headers


def test_a_session_ends_with_its_person(cast: Cast) -> None:
    headers = cookie_of(cast)
    cast.mel.user.is_active = False
    cast.mel.user.save()
    assert not somebody(headers)
