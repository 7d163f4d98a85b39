"""The two walls between tenants, each tested without the other."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from stillroom.config.env import ROLES
from stillroom.core.tenancy import TenancyError, sched_tx, tenant_tx
from stillroom.runs.models import Project, Run
from support.cast import Cast, submit
from support.database import superuser

WALLED = """
select c.relname, c.relrowsecurity, c.relforcerowsecurity,
       exists (select 1 from pg_policy p where p.polrelid = c.oid and p.polname = 'tenant_wall')
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
 where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
"""


def test_the_suite_runs_as_roles_that_own_nothing(database: None) -> None:
    with superuser() as owner:
        rows = owner.execute(
            "select rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole from pg_roles where rolname = any(%s)",
            [list(ROLES)],
        ).fetchall()
        owned = owner.execute(
            "select count(*) from pg_class where relowner in (select oid from pg_roles where rolname = any(%s))",
            [list(ROLES)],
        ).fetchone()
    assert {row[0] for row in rows} == set(ROLES)
    assert not any(any(row[1:]) for row in rows)
    assert owned == (0,)
    with connection.cursor() as cursor:
        cursor.execute("select current_user")
        assert cursor.fetchone() == ("stillroom_app",)


def test_every_table_with_a_tenant_is_walled(database: None) -> None:
    with superuser() as owner:
        tables = {name: flags for name, *flags in owner.execute(WALLED).fetchall()}
    assert "run" in tables
    assert "series_chunk" in tables
    assert {name: flags for name, flags in tables.items() if flags != [True, True, True]} == {}


def test_a_query_outside_a_scope_raises(cast: Cast) -> None:
    with pytest.raises(TenancyError):
        list(Run.objects.all())
    with pytest.raises(TenancyError), tenant_tx(cast.ada.tenant), tenant_tx(cast.olga.tenant):
        pass
    with pytest.raises(TenancyError), tenant_tx(cast.ada.tenant), sched_tx():
        pass


def test_the_manager_alone_hides_other_tenants(cast: Cast) -> None:
    submit(cast.ada)
    with tenant_tx(cast.olga.tenant):
        assert Run.objects.count() == 0
        assert "tenant_id" in str(Run.objects.all().query)


def test_the_database_alone_hides_other_tenants(cast: Cast) -> None:
    run = submit(cast.ada)
    with tenant_tx(cast.olga.tenant), connection.cursor() as cursor:
        cursor.execute("select count(*) from run")
        assert cursor.fetchone() == (0,)
        cursor.execute("update run set name = 'taken' where id = %s", [run])
        assert cursor.rowcount == 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select count(*) from run")
        assert cursor.fetchone() == (0,), "without a tenant nothing is visible"


def test_a_row_cannot_be_written_into_another_tenant(cast: Cast) -> None:
    with pytest.raises(DatabaseError), tenant_tx(cast.olga.tenant):
        Project.objects.create(tenant_id=cast.ada.tenant, slug="smuggled", name="x")


def test_a_row_cannot_point_at_another_tenants_run(cast: Cast) -> None:
    run = submit(cast.ada)
    with pytest.raises(DatabaseError), tenant_tx(cast.olga.tenant), connection.cursor() as cursor:
        cursor.execute(
            "insert into run_fence (run_id, tenant_id, epoch, open, last_seq, log_lines, key_count) "
            "values (%s, %s, 0, false, 0, 0, 0)",
            [run, cast.olga.tenant],
        )


def test_nothing_of_a_tenant_stays_on_a_pooled_connection(cast: Cast) -> None:
    submit(cast.ada)
    with tenant_tx(cast.ada.tenant):
        assert Run.objects.count() == 1
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('app.tenant', true)")
        assert cursor.fetchone()[0] in ("", None)


def test_the_machine_role_sees_no_tokens_and_no_metrics(cast: Cast) -> None:
    for table in ("api_token", "series_chunk", "log_chunk", "account_user", "django_session"):
        with (
            psycopg.connect(settings.ENV.role_url("stillroom_sched")) as machine,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            machine.execute(f"select * from {table}")


@pytest.mark.parametrize("table", ["audit_log", "usage_ledger"])
def test_records_can_only_be_appended(cast: Cast, table: str) -> None:
    with superuser() as owner:
        rows = owner.execute(f"select count(*) from {table}").fetchone()
        assert rows is not None
        if rows[0]:
            with pytest.raises(psycopg.errors.RaiseException):
                owner.execute(f"delete from {table}")
    for role in ("stillroom_app", "stillroom_admin"):
        with psycopg.connect(settings.ENV.role_url(role)) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(f"delete from {table}")
