"""`manage.py provision`: roles, migrations and grants, as the database's owner. Safe to repeat."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from stillroom.config.env import ROLES, role_password
from stillroom.core.tenancy import OWNER

PROVISION_LOCK = 0x5711_0002
# Tables of libraries: the app signs people in, the console shows them, nobody else sees them.
LIBRARY_TABLES = ("auth_", "django_", "account_", "mfa_", "socialaccount_")
TIMEOUTS = {"stillroom_app": "30s", "stillroom_sched": "60s", "stillroom_admin": "60s"}


class Command(BaseCommand):
    """Prepares the database that DATABASE_URL names."""

    help = "Create the database roles, migrate, grant. Uses DATABASE_URL, whose role must be allowed to create roles."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.ENV.database_url:
            raise CommandError("DATABASE_URL is not set: provisioning needs the owner's address.")
        if not settings.ENV.secret_key:
            raise CommandError("STILLROOM_SECRET_KEY is not set: the roles' passwords derive from it.")
        connection = connections[OWNER]
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", [PROVISION_LOCK])
            for role in ROLES:
                self._role(cursor, role)
            executor = MigrationExecutor(connection)
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                call_command("migrate", database=OWNER, interactive=False, verbosity=options["verbosity"])
            self._library_grants(cursor)
            cursor.execute("select pg_advisory_unlock(%s)", [PROVISION_LOCK])
        self.stdout.write("The database is ready.")

    def _role(self, cursor: Any, role: str) -> None:
        name, password = sql.Identifier(role), sql.Literal(role_password(role, settings.ENV.secret_key))
        cursor.execute("select 1 from pg_roles where rolname = %s", [role])
        verb = "alter" if cursor.fetchone() else "create"
        cursor.execute(
            sql.SQL(verb + " role {} login password {} nosuperuser nobypassrls nocreatedb nocreaterole").format(
                name, password
            )
        )
        cursor.execute(sql.SQL("alter role {} set statement_timeout = {}").format(name, sql.Literal(TIMEOUTS[role])))
        cursor.execute(sql.SQL("alter role {} set idle_in_transaction_session_timeout = '60s'").format(name))
        cursor.execute("revoke all on schema public from public")
        cursor.execute(sql.SQL("grant usage on schema public to {}").format(name))

    def _library_grants(self, cursor: Any) -> None:
        cursor.execute("select tablename from pg_tables where schemaname = 'public'")
        tables = [
            table for (table,) in cursor.fetchall() if table.startswith(LIBRARY_TABLES) and table != "account_user"
        ]
        for table in tables:
            rights = "select" if table == "django_migrations" else "select, insert, update, delete"
            cursor.execute(
                sql.SQL("grant " + rights + " on {} to stillroom_app, stillroom_admin").format(sql.Identifier(table))
            )
        roles = ", ".join(ROLES)
        cursor.execute(f"grant usage, select on all sequences in schema public to {roles}")
        cursor.execute(f"grant select on django_content_type, django_migrations to {roles}")
