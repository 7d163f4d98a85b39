"""May this person do that? Pure functions of role, token scopes and action; no query."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    """What a member is in an organisation, weakest first."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"


class Can(StrEnum):
    """Everything a door may ask for."""

    SIGNED_IN = "signed_in"
    ORG_READ = "org.read"
    RUN_READ = "run.read"
    RUN_SUBMIT = "run.submit"
    RUN_CONTROL = "run.control"
    RUN_EDIT = "run.edit"
    TOKEN_OWN = "token.own"
    TOKEN_MANAGE = "token.manage"
    PROJECT_MANAGE = "project.manage"
    BENCHMARK_MANAGE = "benchmark.manage"
    MEMBER_MANAGE = "member.manage"
    ALERT_MANAGE = "alert.manage"
    WEBHOOK_MANAGE = "webhook.manage"
    USAGE_READ = "usage.read"
    AUDIT_READ = "audit.read"
    ORG_MANAGE = "org.manage"
    PUBLIC = "public"
    NODE = "node"
    RUN_WRITE = "run.write"


class TokenScope(StrEnum):
    """What a token narrows its user's role to."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_VIEWER = {Can.SIGNED_IN, Can.ORG_READ, Can.RUN_READ, Can.USAGE_READ}
_MEMBER = _VIEWER | {Can.RUN_SUBMIT, Can.RUN_CONTROL, Can.RUN_EDIT, Can.RUN_WRITE, Can.TOKEN_OWN, Can.ALERT_MANAGE}
_ADMIN = _MEMBER | {
    Can.TOKEN_MANAGE,
    Can.PROJECT_MANAGE,
    Can.BENCHMARK_MANAGE,
    Can.MEMBER_MANAGE,
    Can.AUDIT_READ,
    Can.WEBHOOK_MANAGE,
}
_OWNER = _ADMIN | {Can.ORG_MANAGE}

ROLE_GRANTS: dict[Role, frozenset[Can]] = {
    Role.VIEWER: frozenset(_VIEWER),
    Role.MEMBER: frozenset(_MEMBER),
    Role.ADMIN: frozenset(_ADMIN),
    Role.OWNER: frozenset(_OWNER),
}
SCOPE_GRANTS: dict[TokenScope, frozenset[Can]] = {
    TokenScope.READ: frozenset(_VIEWER),
    TokenScope.WRITE: frozenset(_MEMBER - {Can.TOKEN_OWN}),
    TokenScope.ADMIN: frozenset(_OWNER),
}
RANK = {role: rank for rank, role in enumerate(Role)}


def grants(role: Role, scopes: Iterable[TokenScope] | None) -> frozenset[Can]:
    """What a role may do, narrowed by a token's scopes (None: a signed-in person, not narrowed)."""
    allowed = ROLE_GRANTS[role]
    if scopes is None:
        return allowed
    return allowed & frozenset().union(*(SCOPE_GRANTS[scope] for scope in scopes))


def may_change_role(actor: Role, current: Role | None, wanted: Role | None) -> bool:
    """May `actor` move a member from `current` to `wanted` (None: not a member)? Only owners touch admins and
    owners.
    """
    touched = [RANK[role] for role in (current, wanted) if role is not None]
    if actor is Role.OWNER:
        return True
    return actor is Role.ADMIN and all(rank < RANK[Role.ADMIN] for rank in touched)
