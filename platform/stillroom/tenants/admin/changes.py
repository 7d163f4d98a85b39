"""Changes to people that only the console makes, inside `admin_tx`. Each leaves an audit entry."""

from __future__ import annotations

import secrets

from django.utils import timezone

from stillroom.accounts.models import User
from stillroom.core import pubsub
from stillroom.core.errors import Conflict, NotFound
from stillroom.tenants.models import ApiToken, Membership
from stillroom.tenants.policies import Role
from stillroom.tenants.services import audit


def user_change(*, user: User, actor: str, actor_ip: str | None) -> None:
    """Save name, active and staff. Raises Conflict when an administrator would lock themself out."""
    old = User.objects.filter(id=user.id).values("name", "is_active", "is_staff").first()
    if old is None:
        raise NotFound("This user")
    loses = old["is_staff"] and old["is_active"] and not (user.is_staff and user.is_active)
    if loses and user.email == actor:
        raise Conflict("You cannot take the console away from yourself. Ask another administrator.")
    user.save(update_fields=["name", "is_active", "is_staff"])
    pubsub.announce_rights(user.id)
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action="user.change",
        object_id=user.id,
        tenant_id=None,
        before=dict(old),
        after={"name": user.name, "is_active": user.is_active, "is_staff": user.is_staff},
    )


def user_reset_password(*, user_id: str, actor: str, actor_ip: str | None, reason: str) -> tuple[User, str]:
    """Give an account a generated password; all its sessions end with the old one."""
    user = User.objects.select_for_update().filter(id=user_id).first()
    if user is None:
        raise NotFound("This user")
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save(update_fields=["password"])
    pubsub.announce_rights(user.id)
    audit(
        actor=actor, actor_ip=actor_ip, action="user.password", object_id=user_id, tenant_id=None, reason=reason.strip()
    )
    return user, password


def membership_add(*, membership: Membership, actor: str, actor_ip: str | None) -> None:
    """Add a person to an organisation."""
    membership.save(force_insert=True)
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action="member.add",
        object_id=membership.user_id,
        tenant_id=membership.tenant_id,
        after={"email": membership.user.email, "role": membership.role},
    )


def membership_change(
    *, membership_id: str, role: Role | None, actor: str, actor_ip: str | None, reason: str = ""
) -> None:
    """Change a member's role, or remove them with their tokens there (role None). The last owner stays."""
    row = Membership.objects.select_for_update().filter(id=membership_id).first()
    if row is None:
        raise NotFound("This member")
    of_tenant = Membership.objects.select_for_update().filter(tenant_id=row.tenant_id, role=Role.OWNER)
    others = of_tenant.exclude(id=row.id)
    if row.role == Role.OWNER and role is not Role.OWNER and not others:
        message = "An organisation needs an owner. Make somebody else owner first."
        raise Conflict(message, fields={"role": "The last owner."})
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action="member.remove" if role is None else "member.change",
        object_id=row.user_id,
        tenant_id=row.tenant_id,
        before={"role": row.role},
        after=None if role is None else {"role": role.value},
        reason=reason.strip(),
    )
    pubsub.announce_rights(row.user_id)
    if role is None:
        held = ApiToken.objects.filter(tenant_id=row.tenant_id, user_id=row.user_id, revoked_at__isnull=True)
        held.update(revoked_at=timezone.now())
        row.delete()
        return
    row.role = role.value
    row.save(update_fields=["role"])


def token_end(*, token_id: str, actor: str, actor_ip: str | None, reason: str) -> ApiToken:
    """Revoke anybody's token; revoking twice is no error."""
    row: ApiToken | None = ApiToken.objects.select_for_update().filter(id=token_id).first()
    if row is None:
        raise NotFound("This token")
    if row.revoked_at is None:
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        pubsub.announce_rights(row.user_id)
        audit(
            actor=actor,
            actor_ip=actor_ip,
            action="token.revoke",
            object_id=row.id,
            tenant_id=row.tenant_id,
            reason=reason.strip(),
        )
    return row
