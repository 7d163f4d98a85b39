"""Every page renders with data, for administrators alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from stillroom.boards.models import Benchmark
from stillroom.config.console.hours import seconds_by_day, usage_by_tenant
from stillroom.core.tenancy import ADMIN, admin_tx
from stillroom.runs.models import RunEvent
from stillroom.scheduling.models import Device, Node, UsageRecord
from stillroom.scheduling.services.dispatch import dispatch
from stillroom.scheduling.services.quotas import quota_set
from stillroom.tenants.models import AuditEntry
from support.cast import Cast, attach_node, running, submit

MODELS = sorted(admin.site._registry, key=lambda model: model.__name__)
NAMES = [f"{model._meta.app_label}_{model._meta.model_name}" for model in MODELS]
PAGES = ("index", "queue", "usage", "usage_csv", "tenants_auditentry_export")
READ_ONLY = ("tenants_auditentry", "runs_run", "boards_benchmark", "scheduling_node", "tenants_organisation")


@pytest.fixture
def world(cast: Cast) -> Cast:
    """Something in every list: a running run, one that waits, one over its maximum, a down node, broken devices."""
    node = attach_node(slots=2)
    running(cast.ada, node)
    submit(cast.ada, resources={"kind": "cpu", "devices": 2})
    submit(cast.olga, resources={"kind": "nvidia-h100", "devices": 1})
    attach_node("gone-01", slots=1)
    with admin_tx():
        quota_set(tenant_id=cast.ada.tenant, kind="cpu", max_devices=1, actor="test")
        Node.objects.filter(name="gone-01").update(heartbeat_at=timezone.now() - timedelta(hours=1))
        Device.objects.filter(node__name="gone-01").update(status=Device.Status.BROKEN)
        Benchmark.objects.create(tenant_id=cast.ada.tenant, name="=1+1", recipe="r", metric="m", goal="min")
    dispatch()
    return cast


def test_only_the_platforms_own_models_are_shown() -> None:
    assert all(model.__module__.startswith("stillroom.") for model in MODELS)
    assert len(MODELS) == 11


@pytest.mark.parametrize("name", PAGES)
def test_pages_render(name: str, world: Cast, root: Any) -> None:
    assert root.get(name).status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_lists_render(name: str, world: Cast, root: Any) -> None:
    assert root.get(f"{name}_changelist").status_code == 200
    assert root.get(f"{name}_changelist", q="a").status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_forms_render(model: Any, world: Cast, root: Any) -> None:
    with admin_tx():
        key = model._default_manager.order_by("pk").values_list("pk", flat=True).first()
    assert root.get(f"{model._meta.app_label}_{model._meta.model_name}_change", key).status_code == 200


@pytest.mark.parametrize("key", ["n_3D00000000", "n_5FAAAAAAAA", "n_ZZZZZZZZZZ"])
def test_an_id_is_found_whether_or_not_the_address_quotes_it(key: str, root: Any) -> None:
    with admin_tx():
        Node.objects.create(id=key, name=key, secret_hash=b"")
    for part in (key, quote(key)):
        assert root.get("scheduling_node_change", part).status_code == 200
        assert root.post("scheduling_node_cordon", part, data={"reason": "test"}).url.endswith(f"/{quote(key)}/change/")


@pytest.mark.parametrize("name", ["tenants_organisation", "tenants_membership", "scheduling_node", "scheduling_quota"])
def test_add_forms_render(name: str, world: Cast, root: Any) -> None:
    assert root.get(f"{name}_add").status_code == 200


@pytest.mark.parametrize("name", [*PAGES, *(f"{name}_changelist" for name in NAMES)])
def test_a_member_of_an_organisation_gets_no_console(name: str, stranger: Any) -> None:
    response = stranger.get(name)
    assert response.status_code == 302
    assert stranger.client.get(response.url).status_code == 403


def test_nobody_is_sent_to_the_sign_in_page(nobody: Any) -> None:
    response = nobody.client.get(nobody.get("runs_run_changelist").url)
    assert response.url == "/signin?next=%2Fadmin%2Fruns%2Frun%2F"


def test_signing_out_ends_the_session(root: Any) -> None:
    assert root.get("logout").status_code == 405
    assert root.post("logout").url == "/signin"
    assert root.get("index").status_code == 302


def test_a_password_is_not_changed_past_the_audit_trail(root: Any) -> None:
    assert root.get("password_change").status_code == 404


def test_sign_in_never_leads_to_another_site(nobody: Any) -> None:
    response = nobody.get("login", next="https://evil.example/")
    assert response.url == "/signin?next=%2Fadmin%2F"


def test_overview_says_what_needs_somebody(world: Cast, root: Any) -> None:
    from stillroom.config.console.selectors import capacity_now, needs

    page = root.get("index").content.decode()
    with admin_tx():
        found = [need.what for need in needs()]
        cpu = next(kind for kind in capacity_now() if kind.kind == "cpu")
    assert found == [
        "gone-01 is down.",
        "1 device of gone-01 is broken.",
        "1 run of Other cannot be placed.",
        "Aster is at its maximum of 1 cpu.",
    ]
    assert all(what in page for what in found)
    assert (cpu.parts["used"], cpu.parts["free"], cpu.parts["broken"], cpu.waiting_runs) == (1, 1, 1, 1)


def test_hours_are_split_at_midnight(cast: Cast) -> None:
    noon = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)
    start = noon - timedelta(days=3)
    with admin_tx():
        UsageRecord.objects.create(
            tenant_id=cast.ada.tenant,
            run_id="r_1",
            epoch=1,
            kind="cpu",
            device="d_1",
            from_at=start,
            to_at=start + timedelta(days=1),
            device_seconds=86400,
        )
        days = seconds_by_day(start.date(), noon.date())[cast.ada.tenant]
        (usage,) = usage_by_tenant(start.date(), start.date())
    assert days == {start.date(): 43200.0, (start + timedelta(days=1)).date(): 43200.0}
    assert (usage.slug, usage.kind, usage.runs, usage.device_seconds) == ("aster", "cpu", 1, 43200.0)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_deleted_from_the_console(name: str, world: Cast, root: Any) -> None:
    model = MODELS[NAMES.index(name)]
    with admin_tx():
        key = model._default_manager.order_by("pk").values_list("pk", flat=True).first()
    assert root.post(f"{name}_delete", key, data={"post": "yes"}).status_code == 403
    with admin_tx():
        assert model._default_manager.filter(pk=key).exists()


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_is_read_only_refuses_a_form(name: str, world: Cast, root: Any) -> None:
    model = MODELS[NAMES.index(name)]
    with admin_tx():
        key = model._default_manager.order_by("pk").values_list("pk", flat=True).first()
    assert root.post(f"{name}_change", key, data={"name": "changed", "reason": "changed"}).status_code == 403


@pytest.mark.parametrize("model", [AuditEntry, UsageRecord, RunEvent])
def test_the_consoles_role_cannot_change_what_is_append_only(model: Any, cast: Cast) -> None:
    with admin_tx():
        with pytest.raises(DatabaseError), transaction.atomic(using=ADMIN):
            with connections[ADMIN].cursor() as cursor:
                cursor.execute(f'update "{model._meta.db_table}" set tenant_id = tenant_id')


def test_exports_defuse_formulas(root: Any, trail: Any, cast: Cast) -> None:
    from stillroom.tenants.services import audit

    with admin_tx():
        for start in "=+-@":
            audit(actor=f"{start}cmd()", action="test", object_id="x", tenant_id=None)
    lines = root.get("tenants_auditentry_export", q="cmd()").content.decode().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == ["'@cmd()", "'-cmd()", "'+cmd()", "'=cmd()"]
    assert [entry.actor for entry in trail("audit.export")] == ["root@example.org"]
