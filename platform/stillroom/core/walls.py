"""The SQL that raises the walls: forced row-level security, policies and grants, as migration operations.

A table that carries `tenant_id` gets `wall(...)` in the migration that creates it; a test reads pg_class and fails
on one without.
"""

from __future__ import annotations

from django.db.migrations.operations import RunSQL

TENANT = "(select nullif(current_setting('app.tenant', true), ''))"
USER = "(select nullif(current_setting('app.user', true), ''))"
TOKEN = "(select nullif(current_setting('app.token', true), ''))"
ALL = "select, insert, update, delete"


def wall(
    table: str, *, key: str = "tenant_id", app: str = ALL, sched: str = "", admin: str = ALL, also_visible: str = ""
) -> RunSQL:
    """Force row-level security on `table`.

    key: the column that must equal the tenant. app, sched, admin: privileges of the three roles ("" for none).
    also_visible: a further SQL condition under which the app role may read a row (identity look-ups).
    """
    mine, owner = f"({key} = {TENANT})", "(current_setting('app.owner_door', true) = 'open')"
    sql = [
        f'alter table "{table}" enable row level security',
        f'alter table "{table}" force row level security',
        f'create policy tenant_wall on "{table}" to stillroom_app using {mine} with check {mine}',
    ]
    if also_visible:
        sql.append(f'create policy identity on "{table}" for select to stillroom_app using ({also_visible})')
    # The owner is bound by FORCE too; migrations that move data open this door explicitly for their transaction.
    sql.append(f'create policy owner_door on "{table}" to current_user using {owner} with check {owner}')
    for role, privileges in (("stillroom_sched", sched), ("stillroom_admin", admin)):
        if privileges:
            sql.append(f'create policy {role} on "{table}" to {role} using (true) with check (true)')
    sql += _grants(table, app, sched, admin)
    return RunSQL("; ".join(sql), reverse_sql=RunSQL.noop)


def shared(table: str, *, app: str = ALL, sched: str = "", admin: str = ALL) -> RunSQL:
    """Privileges on a table that belongs to no tenant."""
    return RunSQL("; ".join(_grants(table, app, sched, admin)), reverse_sql=RunSQL.noop)


def append_only(table: str) -> RunSQL:
    """A trigger that refuses to change or delete rows, whoever asks."""
    return RunSQL(
        [
            "create or replace function refuse_change() returns trigger language plpgsql as "
            "$$ begin raise exception 'table % is append-only', tg_table_name; end $$",
            f'create trigger append_only before update or delete on "{table}" '
            "for each row execute function refuse_change()",
        ],
        reverse_sql=RunSQL.noop,
    )


def unique_in_tenant(table: str) -> RunSQL:
    """What `same_tenant` refers to."""
    return RunSQL(
        f'alter table "{table}" add constraint {table}_id_in_tenant unique (tenant_id, id)', reverse_sql=RunSQL.noop
    )


def same_tenant(child: str, parent: str, column: str) -> RunSQL:
    """A composite foreign key: a child row can only point at a parent of its own tenant."""
    return RunSQL(
        f'alter table "{child}" add constraint {child}_{column}_same_tenant foreign key (tenant_id, {column}) '
        f'references "{parent}" (tenant_id, id) on delete cascade deferrable initially deferred',
        reverse_sql=RunSQL.noop,
    )


def _grants(table: str, app: str, sched: str, admin: str) -> list[str]:
    roles = (("stillroom_app", app), ("stillroom_sched", sched), ("stillroom_admin", admin))
    return [f'grant {privileges} on "{table}" to {role}' for role, privileges in roles if privileges]
