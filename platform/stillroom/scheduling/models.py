"""Node, device, quota, allocation and the usage ledger."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from stillroom.core import ids
from stillroom.core.tenancy import TenantModel


class AcceleratorKind(models.Model):
    """A kind of device. `weight` converts its hours for fair share."""

    name = models.CharField(primary_key=True, max_length=64)
    title = models.CharField(max_length=100, blank=True)
    memory_bytes = models.BigIntegerField(null=True, blank=True)
    weight = models.FloatField(default=1.0)

    class Meta:
        db_table = "accelerator_kind"

    def __str__(self) -> str:
        return self.name


class Node(models.Model):
    """A machine that executes runs. It belongs to the installation, not to a tenant.

    `status` is what the administrator wants; whether the node is alive follows from its heartbeat.
    `accepting` is what its agent says: False while it leaves.
    """

    class Status(models.TextChoices):
        READY = "ready"
        CORDONED = "cordoned"
        DRAINING = "draining"

    id = models.CharField(primary_key=True, max_length=16, default=ids.node_id, editable=False)
    name = models.CharField(max_length=100, unique=True)
    secret_hash = models.BinaryField(max_length=32)
    status = models.CharField(max_length=8, choices=Status, default=Status.READY)
    labels = models.JSONField(default=dict, blank=True)
    incarnation = models.CharField(max_length=64, blank=True)
    hostname = models.CharField(max_length=200, blank=True)
    version = models.CharField(max_length=32, blank=True)
    accepting = models.BooleanField(default=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "node"

    def __str__(self) -> str:
        return self.name

    @property
    def is_alive(self) -> bool:
        """Heard from within one lease."""
        limit = timezone.now() - timedelta(seconds=settings.ENV.lease_s)
        return self.heartbeat_at is not None and self.heartbeat_at > limit

    @property
    def queue(self) -> str:
        """The Celery queue that only this node reads."""
        return f"node.{self.id}"


class Device(models.Model):
    """One schedulable device of a node; on a CPU node, one slot."""

    class Status(models.TextChoices):
        FREE = "free"
        QUARANTINED = "quarantined"
        BROKEN = "broken"
        GONE = "gone"

    id = models.CharField(primary_key=True, max_length=16, default=ids.device_id, editable=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="devices")
    kind = models.ForeignKey(AcceleratorKind, on_delete=models.PROTECT, related_name="devices")
    index = models.IntegerField()
    name = models.CharField(max_length=100, blank=True)
    memory_bytes = models.BigIntegerField(null=True, blank=True)
    status = models.CharField(max_length=12, choices=Status, default=Status.FREE)

    class Meta:
        db_table = "device"
        constraints = (models.UniqueConstraint(fields=["node", "kind", "index"], name="one_device_per_index"),)

    def __str__(self) -> str:
        return f"{self.node_id} {self.kind_id} {self.index}"


class Quota(TenantModel):
    """How many devices of a kind a tenant may hold at once. No row: the installation's default."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.quota_id, editable=False)
    kind = models.ForeignKey(AcceleratorKind, on_delete=models.CASCADE, related_name="+")
    max_devices = models.PositiveIntegerField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        db_table = "quota"
        constraints = (models.UniqueConstraint(fields=["tenant", "kind"], name="one_quota_per_kind"),)

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.kind_id} at most {self.max_devices}"


class Allocation(TenantModel):
    """A device held by one attempt. The partial unique index makes a second holder impossible."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="allocations")
    epoch = models.BigIntegerField()
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="allocations")
    from_at = models.DateTimeField()
    to_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "allocation"
        indexes = (models.Index(fields=["run", "epoch"], name="allocation_by_attempt"),)
        constraints = (
            models.UniqueConstraint(
                fields=["device"], condition=models.Q(to_at__isnull=True), name="one_holder_per_device"
            ),
        )


class UsageRecord(TenantModel):
    """The append-only ledger of device time."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    epoch = models.BigIntegerField()
    kind = models.CharField(max_length=64)
    device = models.CharField(max_length=16)
    from_at = models.DateTimeField()
    to_at = models.DateTimeField()
    device_seconds = models.FloatField()

    class Meta(TenantModel.Meta):
        db_table = "usage_ledger"
        indexes = (models.Index(fields=["tenant", "kind", "to_at"], name="usage_by_tenant"),)
        constraints = (models.UniqueConstraint(fields=["run", "epoch", "device"], name="one_usage_per_hold"),)
