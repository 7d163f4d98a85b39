"""Changes to organisations, memberships and tokens. Each is one transaction and leaves an audit entry."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from stillroom.accounts.models import User
from stillroom.core import pubsub, tokens
from stillroom.core.errors import Conflict, Forbidden, Invalid, NotFound
from stillroom.core.tenancy import admin_tx, current_scope
from stillroom.tenants.callers import Member
from stillroom.tenants.models import ApiToken, AuditEntry, Membership, Organisation, slug_is_plain
from stillroom.tenants.policies import Role, TokenScope, may_change_role


def audit(
    *,
    actor: str,
    action: str,
    object_id: str,
    tenant_id: str | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    actor_ip: str | None = None,
) -> None:
    """Write one audit entry in the open transaction."""
    AuditEntry.objects.create(
        tenant_id=tenant_id,
        actor=actor,
        actor_ip=actor_ip,
        action=action,
        object_id=object_id,
        before=before,
        after=after,
        reason=reason,
    )


def organisation_create(*, slug: str, name: str, owner_email: str, actor: str) -> tuple[Organisation, User, str | None]:
    """Make an organisation with its owner; the owner's account is made when there is none.

    Returns the organisation, the owner and, for a new account, its generated password. Raises Conflict when the slug
    is taken, Invalid when it is not plain.
    """
    slug_is_plain(slug)
    with admin_tx():
        if Organisation.objects.filter(slug=slug).exists():
            raise Conflict(f"There is already an organisation {slug}.", fields={"slug": "Taken."})
        organisation = Organisation.objects.create(slug=slug, name=name or slug)
        owner, password = _user_for(owner_email)
        Membership.objects.create(tenant=organisation, user=owner, role=Role.OWNER)
        audit(
            actor=actor,
            action="organisation.create",
            object_id=organisation.id,
            tenant_id=organisation.id,
            after={"slug": slug, "owner": owner.email},
        )
    return organisation, owner, password


def _user_for(email: str) -> tuple[User, str | None]:
    """The account with that address, or a new one with a generated password; uses the open scope's role."""
    scope = current_scope()
    found = User.objects.filter(email=email.strip().lower()).first()
    if found is not None or scope is None:
        if found is None:
            raise NotFound("This user")
        return found, None
    password = secrets.token_urlsafe(12)
    return User.objects.db_manager(scope.alias).create_user(email, password), password


def member_add(*, member: Member, email: str, role: Role) -> tuple[Membership, str | None]:
    """Add a person. Raises Conflict when they belong already, Forbidden when the actor may not give that role."""
    if not may_change_role(member.role, None, role):
        raise Forbidden(f"Only an owner may make somebody {role.value}.")
    user, password = _user_for(email)
    try:
        with transaction.atomic():
            row = Membership.objects.create(tenant_id=member.tenant_id, user=user, role=role)
    except IntegrityError:
        raise Conflict(f"{user.email} is a member already.", fields={"email": "A member already."}) from None
    audit(
        actor=member.email,
        action="member.add",
        object_id=user.id,
        tenant_id=member.tenant_id,
        after={"email": user.email, "role": role.value},
    )
    return row, password


def member_change(*, member: Member, user_id: str, role: Role | None) -> Membership | None:
    """Change a member's role, or remove them (role None). The last owner stays."""
    # All owners, so that two of them who go at the same moment do so one after the other.
    held = Membership.objects.select_for_update(of=("self",)).filter(Q(user_id=user_id) | Q(role=Role.OWNER))
    row = next((row for row in held.select_related("user").order_by("id") if row.user_id == user_id), None)
    if row is None:
        raise NotFound("This member")
    current = Role(row.role)
    leaving = role is None and user_id == member.user_id
    if not leaving and not may_change_role(member.role, current, role):
        raise Forbidden("Only an owner may change admins and owners.")
    if current is Role.OWNER and role is not Role.OWNER and not _other_owners(user_id):
        raise Conflict(
            "An organisation needs an owner. Make somebody else owner first.", fields={"role": "The last owner."}
        )
    audit(
        actor=member.email,
        action="member.remove" if role is None else "member.change",
        object_id=user_id,
        tenant_id=member.tenant_id,
        before={"role": current.value},
        after=None if role is None else {"role": role.value},
    )
    pubsub.announce_rights(user_id)
    if role is None:
        ApiToken.objects.filter(user_id=user_id, revoked_at__isnull=True).update(revoked_at=timezone.now())
        row.delete()
        return None
    row.role = role.value
    row.save(update_fields=["role"])
    return row


def _other_owners(user_id: str) -> bool:
    return Membership.objects.filter(role=Role.OWNER).exclude(user_id=user_id).exists()


def token_create(
    *, tenant_id: str, user: User, name: str, scopes: list[TokenScope], expires_in_days: int, actor: str
) -> tuple[ApiToken, str]:
    """Make a token; the second value is its text, which is not stored and cannot be shown again."""
    if not 1 <= expires_in_days <= 366:
        raise Invalid("A token lives between 1 and 366 days.", fields={"expires_in_days": "1 to 366."})
    secret = tokens.new_secret()
    row = ApiToken.objects.create(
        tenant_id=tenant_id,
        user=user,
        name=name,
        secret_hash=tokens.hash_secret(secret),
        scopes=[scope.value for scope in scopes],
        expires_at=timezone.now() + timedelta(days=expires_in_days),
    )
    audit(
        actor=actor,
        action="token.create",
        object_id=row.id,
        tenant_id=tenant_id,
        after={"name": name, "user": user.email, "scopes": row.scopes},
    )
    return row, tokens.render("api", row.id, secret)


def token_revoke(*, member: Member, token_id: str, may_manage: bool) -> ApiToken:
    """Revoke a token: one's own, or anybody's with the right to manage tokens. Revoking twice is no error."""
    rows = ApiToken.objects.select_for_update().filter(id=token_id)
    row = (rows if may_manage else rows.filter(user_id=member.user_id)).first()
    if row is None:
        raise NotFound("This token")
    if row.revoked_at is None:
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        pubsub.announce_rights(row.user_id)
        audit(actor=member.email, action="token.revoke", object_id=row.id, tenant_id=member.tenant_id)
    return row
