"""Who may open a live socket, and who loses it when rights end."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import InterfaceError, OperationalError

from support.cast import Cast, Person, submit
from support.socket import viewer


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


def session_cookie(cast: Cast, person: Person | None = None) -> str:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    user = (person or cast.ada).user
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


async def test_a_revoked_token_loses_its_socket_at_once(cast: Cast) -> None:
    made = (await sync_to_async(cast.mel.http.post)("/tokens", {"name": "t"})).body
    async with viewer(made["token"]) as mel, viewer(cast.mel.http.token) as other:
        await other.say(type="ping")
        await other.notice("pong")
        await sync_to_async(cast.mel.http.delete)(f"/tokens/{made['id']}")
        assert await mel.closed() == 4401
        await other.say(type="ping")
        await other.notice("pong")


async def test_who_is_removed_hears_nothing_more_of_the_organisation(cast: Cast) -> None:
    cookie = await sync_to_async(session_cookie)(cast, cast.mel)
    headers = {"Cookie": cookie, "Origin": "http://localhost:8000", "Host": "localhost:8000"}
    async with viewer(headers=headers) as mel:
        await mel.say(type="watch", topic="org", org="aster")
        await mel.say(type="ping")
        await mel.notice("pong")
        gone = await sync_to_async(cast.ada.http.delete)(f"/orgs/aster/members/{cast.mel.user.id}")
        assert gone.status == 204
        assert await mel.closed() == 4403


async def test_a_look_that_the_database_could_not_answer_is_repeated(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stillroom.live import consumers

    asked = consumers.caller_of
    failures = iter([OperationalError("away"), InterfaceError("closed")])

    async def sometimes(headers: dict[str, str]) -> object:
        for failure in failures:
            raise failure
        return await asked(headers)

    monkeypatch.setattr(consumers, "RECHECK_S", 0.1)
    monkeypatch.setattr(consumers, "caller_of", sometimes)
    monkeypatch.setattr("stillroom.core.pubsub.announce_rights", lambda user_id: None)
    made = (await sync_to_async(cast.mel.http.post)("/tokens", {"name": "t"})).body
    async with viewer(made["token"]) as mel:
        await sync_to_async(cast.mel.http.delete)(f"/tokens/{made['id']}")
        assert await mel.closed() == 4401
