"""Members, roles and tokens."""

from __future__ import annotations

import contextlib
import threading
from itertools import pairwise

import pytest

from stillroom.core.tenancy import tenant_tx
from stillroom.tenants.models import Membership
from stillroom.tenants.policies import Can, Role, TokenScope, grants, may_change_role
from support.cast import Cast, Http, submit
from support.database import superuser
from support.threads import at_once


def test_roles_only_grow() -> None:
    sets = [grants(role, None) for role in Role]
    assert all(smaller < larger for smaller, larger in pairwise(sets))


def test_a_scope_never_adds_to_a_role() -> None:
    for role in Role:
        for scope in TokenScope:
            assert grants(role, (scope,)) <= grants(role, None)
    assert Can.RUN_SUBMIT not in grants(Role.OWNER, (TokenScope.READ,))
    assert grants(Role.OWNER, ()) == frozenset()


@pytest.mark.parametrize(
    ("actor", "current", "wanted", "allowed"),
    [
        (Role.OWNER, Role.ADMIN, Role.OWNER, True),
        (Role.ADMIN, Role.MEMBER, Role.VIEWER, True),
        (Role.ADMIN, Role.MEMBER, Role.ADMIN, False),
        (Role.ADMIN, Role.OWNER, Role.MEMBER, False),
        (Role.MEMBER, Role.VIEWER, Role.MEMBER, False),
    ],
)
def test_who_may_change_whom(actor: Role, current: Role, wanted: Role, allowed: bool) -> None:
    assert may_change_role(actor, current, wanted) is allowed


def test_a_new_member_gets_a_password_once(cast: Cast) -> None:
    made = cast.adam.http.post("/orgs/aster/members", {"email": "New@Example.org", "role": "viewer"})
    assert made.status == 201
    assert len(made.body["password"]) >= 12
    again = cast.adam.http.post("/orgs/aster/members", {"email": "new@example.org"})
    assert (again.status, list(again.body["fields"])) == (409, ["email"])
    existing = cast.adam.http.post("/orgs/aster/members", {"email": "olga@example.org"})
    assert existing.body["password"] is None


def test_the_last_owner_stays(cast: Cast) -> None:
    path = f"/orgs/aster/members/{cast.ada.user.id}"
    assert cast.ada.http.delete(path).status == 409
    assert cast.ada.http.patch(path, {"role": "member"}).status == 409
    assert cast.adam.http.patch(path, {"role": "member"}).status == 403


def test_a_removed_members_token_is_worth_nothing(cast: Cast) -> None:
    assert cast.mel.http.get("/me").status == 200
    assert cast.adam.http.delete(f"/orgs/aster/members/{cast.mel.user.id}").status == 204
    assert cast.mel.http.get("/me").status == 401


def test_a_token_is_shown_once_and_stored_as_a_hash(cast: Cast) -> None:
    made = cast.mel.http.post("/tokens", {"name": "laptop", "scopes": ["read"]}).body
    secret = made["token"].split("_", 3)[3]
    listed = cast.mel.http.get("/tokens").text
    assert made["id"] in listed
    assert secret not in listed
    with superuser() as owner:
        row = owner.execute("select t::text from api_token t where id = %s", [made["id"]]).fetchone()
    assert row is not None
    assert secret not in row[0]


def test_a_read_token_cannot_write(cast: Cast) -> None:
    made = cast.mel.http.post("/tokens", {"name": "dashboard", "scopes": ["read"]}).body
    reader = Http(made["token"])
    run = submit(cast.mel)
    assert reader.get(f"/runs/{run}").status == 200
    assert reader.post(f"/runs/{run}/cancel").status == 403


def test_revoked_and_expired_tokens_are_refused(cast: Cast) -> None:
    made = cast.mel.http.post("/tokens", {"name": "short"}).body
    holder = Http(made["token"])
    assert holder.get("/me").status == 200
    with superuser() as owner:
        owner.execute("update api_token set expires_at = now() - interval '1 second' where id = %s", [made["id"]])
    assert holder.get("/me").status == 401
    assert cast.mel.http.delete(f"/tokens/{made['id']}").body["revoked_at"]


def test_a_person_cannot_revoke_anothers_token(cast: Cast) -> None:
    made = cast.ada.http.post("/tokens", {"name": "hers"}).body
    assert cast.mel.http.delete(f"/tokens/{made['id']}").status == 404
    assert cast.adam.http.delete(f"/tokens/{made['id']}").status == 200


@pytest.mark.parametrize("text", ["", "x", "sr_api_", "sr_api_AAAA_bbbb", "sr_run_r_1.2.o_3.9999999999.sig", "é" * 50])
def test_garbage_tokens_are_refused_alike(cast: Cast, text: str) -> None:
    answer = Http().get("/me", headers={"Authorization": f"Bearer {text}"})
    assert answer.status == 401
    assert answer.body["code"] == "auth.required"


def test_every_change_of_members_and_tokens_is_audited(cast: Cast) -> None:
    cast.adam.http.post("/orgs/aster/members", {"email": "new@example.org"})
    cast.mel.http.post("/tokens", {"name": "laptop"})
    entries = cast.adam.http.get("/audit").body["items"]
    assert {"member.add", "token.create"} <= {entry["action"] for entry in entries}
    assert cast.mel.http.get("/audit").status == 403
    assert all(entry["actor"] != "olga@example.org" for entry in entries)


def test_two_owners_who_go_at_the_same_moment_leave_one(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is the other's reason to be allowed to go: they meet where that is looked up, unless one has to wait."""
    from stillroom.tenants import services

    cast.ada.http.patch(f"/orgs/aster/members/{cast.adam.user.id}", {"role": "owner"})
    others, meeting, turns = services._other_owners, threading.Barrier(2), iter([cast.ada, cast.adam])

    def look(user_id: str) -> bool:
        found = others(user_id)
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(timeout=1)
        return found

    monkeypatch.setattr(services, "_other_owners", look)
    answers: list[int] = []

    def step_down() -> None:
        person = next(turns)
        answers.append(person.http.patch(f"/orgs/aster/members/{person.user.id}", {"role": "admin"}).status)

    at_once(2, step_down)
    assert sorted(answers) == [200, 409]
    with tenant_tx(cast.ada.tenant):
        assert Membership.objects.filter(role="owner").count() == 1
