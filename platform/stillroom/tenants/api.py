"""Doors to oneself, organisations, members, tokens and the audit trail."""

from __future__ import annotations

from django.middleware.csrf import get_token
from ninja import Status

from stillroom.core.errors import NotFound
from stillroom.core.pagination import DEFAULT_LIMIT, MAX_LIMIT, continued, decode_cursor, encode_cursor
from stillroom.tenants import services
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.models import ApiToken, AuditEntry, Membership, Organisation
from stillroom.tenants.policies import Can
from stillroom.tenants.schemas import (
    AuditList,
    MemberAdded,
    MemberIn,
    MemberList,
    MemberOut,
    MemberPatch,
    MeOut,
    OrgList,
    OrgOut,
    TokenIn,
    TokenList,
    TokenMade,
    TokenOut,
)

door = Door(tags=["organisations"])


@door.get("/me", needs=Can.SIGNED_IN, response=MeOut)
def me(request: DoorRequest) -> object:
    """Who am I, and what may I do where. Also sets the `csrftoken` cookie."""
    get_token(request)
    caller = request.door.caller
    if caller.user is None:
        raise NotFound("A person behind this token")
    return {
        "user": caller.user,
        "via": caller.via,
        "orgs": [
            {"slug": member.org, "name": member.org_name, "role": member.role, "can": sorted(member.can)}
            for member in caller.members
        ],
    }


@door.get("/orgs", needs=Can.SIGNED_IN, response=OrgList)
def orgs(request: DoorRequest) -> object:
    """The organisations that the caller belongs to."""
    found = []
    for member in request.door.caller.members:
        with request.door.org(member.org):
            found.append(_org(Organisation.objects.get(id=member.tenant_id), member.role))
    return {"items": found}


@door.get("/orgs/{org}", needs=Can.ORG_READ, response=OrgOut)
def org_get(request: DoorRequest, org: str) -> object:
    """One organisation."""
    with request.door.org(org) as member:
        return _org(Organisation.objects.get(id=member.tenant_id), member.role)


def _org(row: Organisation, role: str) -> dict[str, object]:
    return {"slug": row.slug, "name": row.name, "role": role, "created_at": row.created_at}


@door.get("/orgs/{org}/members", needs=Can.ORG_READ, response=MemberList)
def members(request: DoorRequest, org: str) -> object:
    """Everybody in the organisation, by address."""
    with request.door.org(org):
        rows = Membership.objects.select_related("user").order_by("user__email")
        return {"items": [_member(row) for row in rows]}


@door.post("/orgs/{org}/members", needs=Can.MEMBER_MANAGE, response={201: MemberAdded})
def member_add(request: DoorRequest, org: str, payload: MemberIn) -> object:
    """Add a person by e-mail address; a new account gets a generated password, shown this once."""
    with request.door.org(org) as member:
        row, password = services.member_add(member=member, email=payload.email, role=payload.role)
        return Status(201, {**_member(row), "password": password})


@door.patch("/orgs/{org}/members/{user}", needs=Can.MEMBER_MANAGE, response=MemberOut)
def member_change(request: DoorRequest, org: str, user: str, payload: MemberPatch) -> object:
    """Change a member's role."""
    with request.door.org(org) as member:
        row = services.member_change(member=member, user_id=user, role=payload.role)
        assert row is not None
        return _member(row)


@door.delete("/orgs/{org}/members/{user}", needs=Can.MEMBER_MANAGE, response={204: None})
def member_remove(request: DoorRequest, org: str, user: str) -> object:
    """Remove a member; their tokens for this organisation are revoked."""
    with request.door.org(org) as member:
        services.member_change(member=member, user_id=user, role=None)
        return Status(204, None)


def _member(row: Membership) -> dict[str, object]:
    return {
        "user": row.user_id,
        "email": row.user.email,
        "name": row.user.get_short_name(),
        "role": row.role,
        "created_at": row.created_at,
    }


@door.get("/tokens", needs=Can.ORG_READ, response=TokenList)
def token_list(request: DoorRequest, org: str | None = None) -> object:
    """One's own tokens; all of the organisation's for who manages them. Secrets are never shown again."""
    with request.door.org(org) as member:
        rows = ApiToken.objects.select_related("user").order_by("-created_at")
        if Can.TOKEN_MANAGE not in member.can:
            rows = rows.filter(user_id=member.user_id)
        return {"items": [_token(row) for row in rows]}


@door.post("/tokens", needs=Can.TOKEN_OWN, response={201: TokenMade})
def token_create(request: DoorRequest, payload: TokenIn, org: str | None = None) -> object:
    """Make a token of one's own. `token` in the answer is shown this once."""
    with request.door.org(org) as member:
        user = request.door.caller.user
        assert user is not None
        row, text = services.token_create(
            tenant_id=member.tenant_id,
            user=user,
            name=payload.name,
            scopes=payload.scopes,
            expires_in_days=payload.expires_in_days,
            actor=member.email,
        )
        return Status(201, {**_token(row), "token": text})


@door.delete("/tokens/{token}", needs=Can.TOKEN_OWN, response=TokenOut)
def token_revoke(request: DoorRequest, token: str, org: str | None = None) -> object:
    """Revoke a token now."""
    with request.door.org(org) as member:
        row = services.token_revoke(member=member, token_id=token, may_manage=Can.TOKEN_MANAGE in member.can)
        return _token(row)


def _token(row: ApiToken) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "user": row.user.email,
        "scopes": row.scopes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }


@door.get("/audit", needs=Can.AUDIT_READ, response=AuditList)
def audit_list(
    request: DoorRequest, org: str | None = None, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> object:
    """The organisation's audit trail, newest first."""
    limit = max(1, min(limit, MAX_LIMIT))
    with request.door.org(org) as member:
        rows = AuditEntry.objects.filter(tenant_id=member.tenant_id).order_by("-id")
        with continued(cursor):
            if cursor:
                rows = rows.filter(id__lt=decode_cursor(cursor, length=1)[0])
            page = list(rows[: limit + 1])
        more = len(page) > limit
        return {
            "items": [_audit(row) for row in page[:limit]],
            "next_cursor": encode_cursor([page[limit - 1].id]) if more else None,
        }


def _audit(row: AuditEntry) -> dict[str, object]:
    return {
        "id": row.id,
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "object_id": row.object_id,
        "before": row.before,
        "after": row.after,
        "reason": row.reason,
    }
