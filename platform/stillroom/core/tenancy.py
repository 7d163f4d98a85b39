"""The two walls between tenants.

First wall: `TenantManager` raises unless a scope is open. Second wall: PostgreSQL row-level security, forced, keyed
on a setting that lives only inside the transaction. Every query on tenant data happens inside one of the scopes below;
there is no other entrance. The scope also picks the database role (see `Router`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

from django.db import connections, models, transaction

APP, SCHED, ADMIN, OWNER = "default", "sched", "admin", "owner"


class TenancyError(RuntimeError):
    """The code tried to read or write tenant data outside a scope, or to enter one tenant inside another."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The database alias in use and the tenant whose rows are visible (None: the alias's own policies decide)."""

    alias: str
    tenant_id: str | None


_scope: ContextVar[Scope | None] = ContextVar("stillroom_scope", default=None)


def current_scope() -> Scope | None:
    """The open scope, if any."""
    return _scope.get()


def current_tenant() -> str:
    """The tenant of the open scope; raises TenancyError when there is none."""
    scope = _scope.get()
    if scope is None or scope.tenant_id is None:
        raise TenancyError("No tenant is set. Open tenant_tx(tenant) first.")
    return scope.tenant_id


@contextmanager
def _open(scope: Scope, settings: dict[str, str]) -> Iterator[None]:
    with transaction.atomic(using=scope.alias):
        if settings:
            calls = ", ".join("set_config(%s, %s, true)" for _ in settings)
            with connections[scope.alias].cursor() as cursor:
                cursor.execute(f"select {calls}", [part for pair in settings.items() for part in pair])
        token = _scope.set(scope)
        try:
            yield
        finally:
            _scope.reset(token)


@contextmanager
def tenant_tx(tenant_id: str) -> Iterator[None]:
    """A transaction in which exactly this tenant's rows are visible. May nest inside itself, never in another scope."""
    outer = _scope.get()
    scope = Scope(APP, tenant_id)
    if outer == scope:
        with transaction.atomic(using=APP):
            yield
        return
    if outer is not None:
        raise TenancyError(f"Cannot enter tenant {tenant_id} inside {outer}.")
    with _open(scope, {"app.tenant": tenant_id}):
        yield


@contextmanager
def identity_tx(*, user_id: str = "", token_id: str = "") -> Iterator[None]:
    """A transaction that may only answer who is calling: a user's own memberships, or one token by its id."""
    if _scope.get() is not None:
        raise TenancyError("Identity is settled before a tenant is entered.")
    with _open(Scope(APP, None), {"app.user": user_id, "app.token": token_id}):
        yield


@contextmanager
def sched_tx() -> Iterator[None]:
    """A transaction of the machine side (scheduler, reaper, agents' calls): all tenants, few tables, own role."""
    outer = _scope.get()
    if outer is not None and outer.alias != SCHED:
        raise TenancyError(f"Cannot enter the scheduler's scope inside {outer}.")
    if outer is not None:
        with transaction.atomic(using=SCHED):
            yield
        return
    with _open(Scope(SCHED, None), {}):
        yield


@contextmanager
def admin_tx() -> Iterator[None]:
    """A transaction of the admin console: all tenants, own role; every change is audited by its caller."""
    outer = _scope.get()
    if outer is not None and outer.alias != ADMIN:
        raise TenancyError(f"Cannot enter the admin scope inside {outer}.")
    if outer is not None:
        yield
        return
    with _open(Scope(ADMIN, None), {}):
        yield


Row = TypeVar("Row", bound=models.Model)


class TenantManager(models.Manager[Row]):
    """Objects of the open scope's tenant. Raises TenancyError outside a scope: forgetting is an error, not a leak."""

    def get_queryset(self) -> models.QuerySet[Row]:
        scope = _scope.get()
        if scope is None:
            raise TenancyError(f"{self.model.__name__} was queried outside a tenant scope.")
        queryset = super().get_queryset().using(scope.alias)
        if scope.tenant_id is not None:
            return queryset.filter(tenant_id=scope.tenant_id)
        if scope.alias == APP:
            raise TenancyError(f"{self.model.__name__} was queried while only an identity is known.")
        return queryset


class IdentityManager(models.Manager[Row]):
    """Rows that settle who is calling, readable inside `identity_tx`; row-level security limits them."""

    def get_queryset(self) -> models.QuerySet[Row]:
        if _scope.get() is None:
            raise TenancyError(f"{self.model.__name__} was queried outside a scope.")
        return super().get_queryset()


class TenantModel(models.Model):
    """Base of every row that belongs to a tenant."""

    tenant = models.ForeignKey(
        "tenants.Organisation", on_delete=models.CASCADE, related_name="+", db_column="tenant_id"
    )

    objects: ClassVar[TenantManager[Self]] = TenantManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"


class Router:
    """Sends each query to the alias of the open scope; migrations run as the owner only."""

    def db_for_read(self, model: type[models.Model], **hints: object) -> str:
        scope = _scope.get()
        return scope.alias if scope else APP

    db_for_write = db_for_read

    def allow_relation(self, one: object, other: object, **hints: object) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return db == OWNER
