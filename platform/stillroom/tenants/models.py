"""Organisation, membership, API token and audit entry."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from stillroom.core import ids
from stillroom.core.tenancy import IdentityManager, TenantModel
from stillroom.tenants.policies import Role, TokenScope

slug_is_plain = RegexValidator(
    r"\A[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?\Z", "Use 1 to 48 lower-case letters, digits and hyphens."
)


class Organisation(models.Model):
    """A tenant."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.organisation_id, editable=False)
    slug = models.CharField(max_length=48, unique=True, validators=[slug_is_plain])
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[IdentityManager[Self]] = IdentityManager()

    class Meta:
        db_table = "organisation"

    def __str__(self) -> str:
        return self.name


class Membership(TenantModel):
    """A person in an organisation, with a role."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.membership_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=8, choices=[(role.value, role.value) for role in Role])
    created_at = models.DateTimeField(auto_now_add=True)

    identities: ClassVar[IdentityManager[Self]] = IdentityManager()

    class Meta(TenantModel.Meta):
        db_table = "membership"
        constraints = (
            models.UniqueConstraint(fields=["tenant", "user"], name="one_membership_per_person"),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]), name="membership_role_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_id} as {self.role}"


class ApiToken(TenantModel):
    """A person's token for one organisation: its secret is stored as a SHA-256 hash and shown once."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.token_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=100)
    secret_hash = models.BinaryField(max_length=32)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    identities: ClassVar[IdentityManager[Self]] = IdentityManager()

    class Meta(TenantModel.Meta):
        db_table = "api_token"
        indexes = (models.Index(fields=["tenant", "user"], name="api_token_by_user"),)

    def __str__(self) -> str:
        return self.name

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and self.expires_at > timezone.now()

    @property
    def token_scopes(self) -> tuple[TokenScope, ...]:
        return tuple(TokenScope(scope) for scope in self.scopes)


class AuditEntry(models.Model):
    """One line of the audit trail. Append-only; entries without a tenant concern the installation."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        Organisation,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
        db_column="tenant_id",
    )
    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=200)
    actor_ip = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)

    objects: ClassVar[IdentityManager[Self]] = IdentityManager()

    class Meta:
        db_table = "audit_log"
        verbose_name_plural = "audit entries"
        indexes = (models.Index(fields=["tenant", "-id"], name="audit_by_tenant"),)

    def __str__(self) -> str:
        return f"{self.action} {self.object_id}"
