"""Every change by an administrator does what it says and leaves an entry with their name."""

from __future__ import annotations

from typing import Any

import pytest

from stillroom.accounts.models import User
from stillroom.core.tenancy import admin_tx
from stillroom.scheduling.models import Device, Node, Quota
from stillroom.scheduling.services.dispatch import dispatch
from stillroom.tenants.models import ApiToken, Membership, Organisation
from support.cast import Cast, Http, attach_node, running, submit

EMAIL = "root@example.org"
WHY = "The machine is needed for the demonstration."


def page_of(response: Any) -> str:
    """What a page says, as HTML."""
    return str(response.content.decode())


def the(model: Any, **where: Any) -> Any:
    """One row, read as the console reads."""
    with admin_tx():
        return model.objects.get(**where)


def test_cancel_writes_who_and_why_where_the_organisation_reads_it(
    cast: Cast, root: Any, trail: Any, run_row: Any
) -> None:
    run = submit(cast.mel)
    response = root.post("act", "cancel", run=run, data={"reason": WHY})
    events = cast.vera.http.get(f"/runs/{run}/events").body
    told = [event for event in events["items"] if event["code"] == "admin.cancel"]
    assert response.status_code == 302
    assert run_row(run).state == "CANCELLED"
    assert [(event["actor"], event["message"]) for event in told] == [(EMAIL, f"Cancelled by an administrator: {WHY}")]
    (entry,) = trail("run.cancel")
    assert (entry.actor, entry.tenant_id, entry.reason, entry.actor_ip) == (EMAIL, cast.mel.tenant, WHY, "127.0.0.1")
    assert (entry.before["state"], entry.after["state"]) == ("QUEUED", "CANCELLED")


def test_nothing_happens_to_a_run_without_a_reason(cast: Cast, root: Any, trail: Any, run_row: Any) -> None:
    run = submit(cast.mel)
    assert root.get("act", "cancel", run=run).status_code == 200
    assert root.post("act", "cancel", run=run, data={"reason": " "}).status_code == 200
    assert run_row(run).state == "QUEUED"
    assert trail("run.cancel") == []


def test_a_running_run_is_asked_to_stop(cast: Cast, root: Any, history: Any, run_row: Any) -> None:
    run = running(cast.mel)
    root.post("act", "pause", run=run.id, data={"reason": WHY})
    assert (run_row(run.id).state, run_row(run.id).intent) == ("RUNNING", "pause")
    assert [event.code for event in history(run.id)][-2:] == ["admin.pause", "intent.pause"]
    assert run.node.beat((run.id, run.epoch)).body["runs"][0]["intent"] == "pause"


def test_hold_and_release(cast: Cast, root: Any, run_row: Any) -> None:
    run = submit(cast.mel)
    root.post("act", "pause", run=run, data={"reason": WHY})
    held = run_row(run)
    root.post("act", "release", run=run, data={"reason": WHY})
    assert (held.state, held.waiting) == ("HELD", f"Held. Paused by an administrator: {WHY}")
    assert run_row(run).state == "QUEUED"


def test_bump_moves_a_run_before_its_organisations_others(cast: Cast, root: Any, run_row: Any) -> None:
    first, second = submit(cast.mel), submit(cast.mel)
    attach_node(slots=1)
    root.post("act", "bump", run=second, data={"reason": WHY})
    dispatch()
    assert (run_row(first).state, run_row(second).state) == ("QUEUED", "ASSIGNED")


def test_an_act_on_many_skips_those_it_does_not_fit(cast: Cast, root: Any, run_row: Any) -> None:
    waits, ended = submit(cast.mel), submit(cast.olga)
    root.post("act", "cancel", run=ended, data={"reason": WHY})
    asked = page_of(root.get("act", "cancel", run=[waits, ended]))
    root.post("act", "cancel", run=[waits, ended], data={"reason": WHY})
    assert "Cancel 1 run" in asked
    assert "Stays as it is." in asked
    assert run_row(waits).state == "CANCELLED"


def test_acting_never_returns_to_another_site(cast: Cast, root: Any) -> None:
    run = submit(cast.mel)
    response = root.post("act", "cancel", run=run, next="https://evil.example/", data={"reason": WHY})
    assert response.url == "/admin/queue/"


def test_looking_at_a_run_is_recorded(cast: Cast, root: Any, trail: Any) -> None:
    run = submit(cast.mel)
    root.get("runs_run_change", run)
    (entry,) = trail("run.read")
    assert (entry.actor, entry.tenant_id, entry.object_id) == (EMAIL, cast.mel.tenant, run)


def quota_form(cast: Cast, most: int, **more: str) -> dict[str, Any]:
    """The form as a browser sends it."""
    return {"tenant": cast.ada.tenant, "kind": "cpu", "max_devices": most, "reason": WHY, "previewed": "", **more}


def test_a_quota_is_previewed_then_saved_and_the_scheduler_follows(
    cast: Cast, root: Any, trail: Any, run_row: Any
) -> None:
    attach_node(slots=2)
    runs = [submit(cast.ada) for _ in range(2)]
    shown = page_of(root.post("scheduling_quota_add", data=quota_form(cast, 1, preview="1")))
    assert "1 run that would start now waits instead." in shown
    with admin_tx():
        assert not Quota.objects.exists()
    seen = f"{cast.ada.tenant}:cpu:1"
    response = root.post("scheduling_quota_add", data=quota_form(cast, 1, save="1", previewed=seen))
    dispatch()
    assert response.status_code == 302
    assert [run_row(run).state for run in runs] == ["ASSIGNED", "QUEUED"]
    assert run_row(runs[1]).waiting_code == "quota"
    (entry,) = trail("quota.create")
    assert (entry.actor, entry.tenant_id, entry.after, entry.reason) == (
        EMAIL,
        cast.ada.tenant,
        {"kind": "cpu", "max_devices": 1},
        WHY,
    )


def test_a_quota_changed_after_its_preview_is_previewed_again(cast: Cast, root: Any) -> None:
    attach_node(slots=1)
    seen = f"{cast.ada.tenant}:cpu:1"
    response = root.post("scheduling_quota_add", data=quota_form(cast, 5, save="1", previewed=seen))
    assert response.status_code == 200
    with admin_tx():
        assert not Quota.objects.exists()


def test_the_preview_counts_what_is_over_the_new_maximum(cast: Cast, root: Any) -> None:
    node = attach_node(slots=3)
    for _ in range(3):
        running(cast.ada, node)
    submit(cast.ada, resources={"kind": "cpu", "devices": 2})
    shown = page_of(root.post("scheduling_quota_add", data=quota_form(cast, 1, preview="1")))
    assert "The organisation holds 3 now." in shown
    assert "2 running runs are over the new maximum." in shown
    assert "1 waiting run asks for more than the new maximum and can then never start." in shown


def test_a_removed_quota_lets_its_runs_start(cast: Cast, root: Any, trail: Any, run_row: Any) -> None:
    attach_node(slots=1)
    seen = f"{cast.ada.tenant}:cpu:0"
    root.post("scheduling_quota_add", data=quota_form(cast, 0, save="1", previewed=seen))
    run = submit(cast.ada)
    dispatch()
    assert run_row(run).state == "QUEUED"
    root.post("scheduling_quota_remove", the(Quota).id, data={"reason": WHY})
    dispatch()
    assert run_row(run).state == "ASSIGNED"
    assert [entry.actor for entry in trail("quota.remove")] == [EMAIL]


def test_a_node_token_is_shown_once_and_works(root: Any, trail: Any) -> None:
    response = root.post("scheduling_node_add", data={"name": "h100-05"})
    page = page_of(response)
    token = page[page.index("sr_node_") :].split()[0].split("<")[0]
    node = the(Node, name="h100-05")
    later = page_of(root.get("scheduling_node_change", node.id)) + page_of(root.get("scheduling_node_changelist"))
    attached = Http(token).post(
        "/agent/attach",
        {"incarnation": "one", "hostname": "h", "version": "0", "devices": [{"kind": "cpu", "index": 0}]},
    )
    assert "python -m workers" in page
    assert "no-store" in response["Cache-Control"]
    assert token not in later
    assert attached.status == 200
    assert [entry.actor for entry in trail("node.token")] == [EMAIL]


def test_a_new_token_ends_the_old_one(root: Any) -> None:
    node = attach_node()
    page = page_of(root.post("scheduling_node_renew", node.id, data={"reason": ""}))
    assert "sr_node_" in page
    assert node.beat().status == 401


@pytest.mark.parametrize(
    ("act", "status", "starts"), [("cordon", "cordoned", "QUEUED"), ("drain", "draining", "QUEUED")]
)
def test_a_node_set_aside_takes_no_run(
    act: str, status: str, starts: str, cast: Cast, root: Any, trail: Any, run_row: Any
) -> None:
    node = attach_node()
    root.post(f"scheduling_node_{act}", node.id, data={"reason": WHY})
    run = submit(cast.ada)
    dispatch()
    assert run_row(run).state == starts
    root.post("scheduling_node_uncordon", node.id, data={"reason": WHY})
    dispatch()
    assert run_row(run).state == "ASSIGNED"
    assert [(entry.actor, entry.reason) for entry in trail(f"node.{status}")] == [(EMAIL, WHY)]


def test_draining_moves_runs_and_tells_their_owner_why(cast: Cast, root: Any, history: Any, run_row: Any) -> None:
    run = running(cast.mel)
    root.post("scheduling_node_drain", run.node.id, data={"reason": WHY})
    assert run_row(run.id).intent == "preempt"
    assert history(run.id)[-1].message == f"An administrator drains aster-01: {WHY}"


def test_draining_needs_a_reason(cast: Cast, root: Any) -> None:
    run = running(cast.mel)
    root.post("scheduling_node_drain", run.node.id, data={"reason": ""})
    assert the(Node, id=run.node.id).status == "ready"


@pytest.mark.parametrize(("act", "status"), [("quarantine", "quarantined"), ("broken", "broken"), ("release", "free")])
def test_a_device_is_set_aside_and_released(act: str, status: str, root: Any, trail: Any) -> None:
    attach_node(slots=1)
    root.post(f"scheduling_device_{act}", the(Device).id, data={"reason": WHY})
    assert the(Device).status == status
    assert [(entry.actor, entry.reason) for entry in trail(f"device.{status}")] == [(EMAIL, WHY)]


def test_a_kind_is_described(root: Any, trail: Any) -> None:
    attach_node(slots=1)
    form = {"title": "Slots of four cores", "memory_bytes": "", "weight": "0.5"}
    assert root.post("scheduling_acceleratorkind_change", "cpu", data=form).status_code == 302
    (entry,) = trail("kind.change")
    assert (entry.actor, entry.after["weight"]) == (EMAIL, 0.5)


def test_an_organisation_is_made_and_its_owners_password_shown_once(root: Any, trail: Any) -> None:
    form = {"name": "Brume", "slug": "brume", "owner_email": "new@brume.example"}
    page = page_of(root.post("tenants_organisation_add", data=form))
    password = page.split("Password</dt>")[1].split("<code")[1].split(">")[1].split("<")[0]
    with admin_tx():
        assert User.objects.get(email="new@brume.example").check_password(password)
    organisation = the(Organisation, slug="brume")
    assert password not in page_of(root.get("tenants_organisation_change", organisation.id))
    assert [entry.actor for entry in trail("organisation.create")] == [EMAIL]


def test_a_taken_slug_is_said_beside_the_form(cast: Cast, root: Any) -> None:
    page = page_of(root.post("tenants_organisation_add", data={"name": "A", "slug": "aster", "owner_email": "a@b.org"}))
    assert "There is already an organisation aster." in page


def test_members_change_in_one_organisation_only(cast: Cast, root: Any, trail: Any) -> None:
    with admin_tx():
        elsewhere = Membership.objects.create(tenant_id=cast.olga.tenant, user=cast.mel.user, role="viewer")
    row = the(Membership, tenant_id=cast.mel.tenant, user=cast.mel.user)
    root.post("tenants_membership_change", row.id, data={"role": "admin"})
    assert the(Membership, id=row.id).role == "admin"
    assert the(Membership, id=elsewhere.id).role == "viewer"
    root.post("tenants_membership_remove", row.id, data={"reason": WHY})
    with admin_tx():
        assert not Membership.objects.filter(id=row.id).exists()
        assert Membership.objects.filter(id=elsewhere.id).exists()
        assert ApiToken.objects.get(tenant_id=cast.mel.tenant, user=cast.mel.user).revoked_at is not None
    assert [(entry.actor, entry.tenant_id) for entry in trail("member.remove")] == [(EMAIL, cast.mel.tenant)]


def test_a_member_is_added(cast: Cast, root: Any, trail: Any) -> None:
    form = {"tenant": cast.ada.tenant, "user": cast.olga.user.id, "role": "viewer"}
    assert root.post("tenants_membership_add", data=form).status_code == 302
    assert the(Membership, tenant_id=cast.ada.tenant, user=cast.olga.user).role == "viewer"
    assert [entry.actor for entry in trail("member.add")] == [EMAIL]


def test_the_last_owner_stays(cast: Cast, root: Any, trail: Any) -> None:
    row = the(Membership, tenant_id=cast.ada.tenant, user=cast.ada.user)
    root.post("tenants_membership_change", row.id, data={"role": "member"})
    root.post("tenants_membership_remove", row.id, data={"reason": WHY})
    assert the(Membership, id=row.id).role == "owner"
    assert trail("member.change") == trail("member.remove") == []


def test_a_token_is_revoked_and_its_hash_never_shown(cast: Cast, root: Any, trail: Any) -> None:
    token = the(ApiToken, user=cast.mel.user)
    page = page_of(root.get("tenants_apitoken_change", token.id))
    root.post("tenants_apitoken_revoke", token.id, data={"reason": WHY})
    assert "secret" not in page.lower()
    assert bytes(token.secret_hash).hex() not in page
    assert cast.mel.http.get("/me").status == 401
    assert [(entry.actor, entry.tenant_id) for entry in trail("token.revoke")] == [(EMAIL, cast.mel.tenant)]


def test_a_reset_password_is_shown_once(cast: Cast, root: Any, trail: Any) -> None:
    page = page_of(root.post("accounts_user_reset_password", cast.mel.user.id, data={"reason": WHY}))
    password = page.split("Password</dt>")[1].split("<code")[1].split(">")[1].split("<")[0]
    with admin_tx():
        assert User.objects.get(id=cast.mel.user.id).check_password(password)
    (entry,) = trail("user.password")
    assert (entry.actor, entry.reason, entry.after) == (EMAIL, WHY, None)


def test_an_account_is_switched_off(cast: Cast, root: Any, trail: Any) -> None:
    root.post("accounts_user_change", cast.mel.user.id, data={"name": "Mel"})
    assert the(User, id=cast.mel.user.id).is_active is False
    (entry,) = trail("user.change")
    assert (entry.actor, entry.before["is_active"], entry.after["is_active"]) == (EMAIL, True, False)


def test_an_administrator_cannot_lock_themself_out(root: Any, trail: Any) -> None:
    me = the(User, email=EMAIL)
    response = root.post("accounts_user_change", me.id, data={"name": "Root", "is_active": "on"})
    assert response.status_code == 302
    assert the(User, email=EMAIL).is_staff is True
    assert trail("user.change") == []


@pytest.mark.parametrize(
    ("name", "args"), [("act", ("cancel",)), ("scheduling_node_add", ()), ("scheduling_quota_add", ())]
)
def test_a_stranger_changes_nothing(name: str, args: tuple[str, ...], cast: Cast, stranger: Any, run_row: Any) -> None:
    run = submit(cast.olga)
    response = stranger.post(name, *args, run=run, data={"reason": WHY, "name": "n", "max_devices": 1})
    assert response.status_code == 302
    assert response.url.startswith("/admin/login/")
    assert run_row(run).state == "QUEUED"
