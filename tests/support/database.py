"""Direct access for tests: emptying tables, and looking past the walls as the superuser."""

from __future__ import annotations

from functools import cache
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections

KEPT = ("django_migrations", "django_content_type", "auth_permission")


def superuser() -> psycopg.Connection[Any]:
    """A connection that no wall binds; for arranging and for looking, never for exercising the code under test."""
    return psycopg.connect(settings.ENV.database_url, autocommit=True)


@cache
def _tables() -> tuple[str, ...]:
    with superuser() as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    return tuple(name for (name,) in rows if name not in KEPT)


def empty() -> None:
    """Remove all rows, triggers and foreign keys asleep: with a handful of rows this is far quicker than truncating."""
    with superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("; ".join(f'delete from "{name}"' for name in _tables()))
    for alias in connections:
        connections[alias].close()
