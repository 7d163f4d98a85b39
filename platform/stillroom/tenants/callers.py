"""Who is calling: turns a session or a bearer token into a `Caller`, and a caller into a `Member` of one
organisation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db import connections
from django.http import HttpRequest
from django.utils import timezone

from stillroom.accounts.models import User
from stillroom.core import tokens
from stillroom.core.errors import Forbidden, Invalid, NotFound, Unauthenticated
from stillroom.core.tenancy import APP, identity_tx, tenant_tx
from stillroom.tenants.models import ApiToken, Membership
from stillroom.tenants.policies import Can, Role, TokenScope, grants

LAST_USE_RESOLUTION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Member:
    """A person inside one organisation, as far as this request may act."""

    user_id: str
    email: str
    name: str
    tenant_id: str
    org: str
    org_name: str
    role: Role
    can: frozenset[Can]

    def require(self, needs: Can) -> None:
        """Raise Forbidden unless the member may do this."""
        if needs not in self.can:
            raise Forbidden(f"This needs the right {needs.value}; your role here is {self.role.value}.")


@dataclass(frozen=True, slots=True)
class Caller:
    """A person (through a session or an API token) with their memberships, or a machine."""

    via: Literal["session", "token", "node", "run"]
    user: User | None = None
    members: tuple[Member, ...] = ()
    run: tokens.RunGrant | None = None
    node: tokens.Presented | None = None

    @property
    def actor(self) -> str:
        """The name that history and audit show."""
        if self.user is not None:
            return self.user.email
        return f"node {self.node.id}" if self.node else "agent"

    def member_of(self, org: str | None, needs: Can) -> Member:
        """The membership to act under; NotFound for an organisation that the caller does not belong to."""
        if self.user is None:
            raise Forbidden("This is for people; a machine's token cannot do it.")
        if org is None:
            if len(self.members) != 1:
                raise Invalid(
                    "Say which organisation: you belong to several.", fields={"org": "Add ?org=slug to the address."}
                )
            member = self.members[0]
        else:
            found = next((member for member in self.members if member.org == org), None)
            if found is None:
                raise NotFound("This organisation")
            member = found
        member.require(needs)
        return member


def members_of(
    user: User, scopes: tuple[TokenScope, ...] | None = None, tenant_id: str | None = None
) -> tuple[Member, ...]:
    """The user's memberships, inside `identity_tx`; a token narrows them to its organisation and scopes. One query."""
    rows = Membership.identities.filter(user=user).select_related("tenant").order_by("tenant__slug")
    return tuple(
        Member(
            user_id=user.id,
            email=user.email,
            name=user.get_short_name(),
            tenant_id=row.tenant_id,
            org=row.tenant.slug,
            org_name=row.tenant.name,
            role=Role(row.role),
            can=grants(Role(row.role), scopes),
        )
        for row in rows
        if tenant_id is None or row.tenant_id == tenant_id
    )


def caller_from_bearer(text: str) -> Caller:
    """Who a bearer token stands for; raises Unauthenticated when it stands for nobody."""
    if text.startswith("sr_run_"):
        grant = tokens.read_run_token(text)
        if grant is None:
            raise Unauthenticated("The run token is not valid, or its attempt is over.")
        return Caller(via="run", run=grant)
    presented = tokens.parse(text)
    if presented is None:
        raise Unauthenticated("The token has not the form sr_api_..., sr_node_... or sr_run_....")
    if presented.kind == "node":
        return Caller(via="node", node=presented)
    with identity_tx(token_id=presented.id):
        row = ApiToken.identities.filter(id=presented.id).select_related("user").first()
    if (
        row is None
        or not tokens.matches(presented.secret, row.secret_hash)
        or not row.is_usable
        or not row.user.is_active
    ):
        raise Unauthenticated("The token is unknown, revoked or expired.")
    with identity_tx(user_id=row.user_id):
        members = members_of(row.user, row.token_scopes, row.tenant_id)
    if not members:
        raise Unauthenticated("The token's owner no longer belongs to its organisation.")
    _mark_used(row.id, row.tenant_id, row.last_used_at)
    return Caller(via="token", user=row.user, members=members)


_TOKEN = """
select t.secret_hash, t.scopes, t.revoked_at is null and t.expires_at > now() and u.is_active, t.last_used_at,
       t.tenant_id, t.user_id, u.email, u.name
  from api_token t join account_user u on u.id = t.user_id where t.id = %s
"""
_MEMBERSHIP = """
select set_config('app.user', %s, true);
select m.role, o.slug, o.name from membership m join organisation o on o.id = m.tenant_id
 where m.user_id = %s and m.tenant_id = %s
"""


def member_from_token(text: str) -> Member:
    """Whom an API token makes its bearer, by the same rules as `caller_from_bearer`, in one transaction.

    For the door that scripts call for every few points; raises Unauthenticated for everything but an API token.
    """
    presented = tokens.parse(text)
    if presented is None or presented.kind != "api":
        raise Unauthenticated("The token has not the form sr_api_....")
    with identity_tx(token_id=presented.id), connections[APP].cursor() as cursor:
        cursor.execute(_TOKEN, [presented.id])
        row = cursor.fetchone()
        if row is None or not tokens.matches(presented.secret, row[0]) or not row[2]:
            raise Unauthenticated("The token is unknown, revoked or expired.")
        _, scopes, _, used_at, tenant_id, user_id, email, name = row
        cursor.execute(_MEMBERSHIP, [user_id, user_id, tenant_id])
        cursor.nextset()
        membership = cursor.fetchone()
    if membership is None:
        raise Unauthenticated("The token's owner no longer belongs to its organisation.")
    _mark_used(presented.id, tenant_id, used_at)
    narrowed = tuple(TokenScope(scope) for scope in (json.loads(scopes) if isinstance(scopes, str) else scopes))
    role, slug, title = membership
    return Member(
        user_id=user_id,
        email=email,
        name=User(email=email, name=name).get_short_name(),
        tenant_id=tenant_id,
        org=slug,
        org_name=title,
        role=Role(role),
        can=grants(Role(role), narrowed),
    )


def _mark_used(token_id: str, tenant_id: str, used_at: datetime | None) -> None:
    if used_at is None or used_at < timezone.now() - LAST_USE_RESOLUTION:
        with tenant_tx(tenant_id):
            ApiToken.objects.filter(id=token_id).update(last_used_at=timezone.now())


def caller_from_user(user: User) -> Caller:
    """A signed-in person."""
    with identity_tx(user_id=user.id):
        return Caller(via="session", user=user, members=members_of(user))


def client_ip(request: HttpRequest) -> str | None:
    """The peer's address, for the audit trail."""
    return request.META.get("REMOTE_ADDR") or None


@contextmanager
def acting_in(caller: Caller, org: str | None, needs: Can) -> Iterator[Member]:
    """Enter the organisation's transaction as a member who may do `needs`."""
    member = caller.member_of(org, needs)
    with tenant_tx(member.tenant_id):
        yield member
