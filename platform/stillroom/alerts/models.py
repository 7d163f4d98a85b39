"""Rules, webhooks, what was found, and the outbox of deliveries."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from stillroom.core import ids
from stillroom.core.tenancy import TenantModel


class Webhook(TenantModel):
    """An address that is told. Its signing secret is derived from the installation's key, never stored."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.webhook_id, editable=False)
    name = models.CharField(max_length=100)
    url = models.CharField(max_length=2000)
    enabled = models.BooleanField(default=True)
    secret_version = models.PositiveIntegerField(default=1)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "webhook"
        constraints = (models.UniqueConstraint(fields=["tenant", "name"], name="webhook_name_unique"),)

    def __str__(self) -> str:
        return self.name


class AlertRule(TenantModel):
    """A condition on runs and whom to tell. `condition` is one of `schemas.Condition`."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.alert_id, editable=False)
    name = models.CharField(max_length=100)
    enabled = models.BooleanField(default=True)
    project = models.ForeignKey("runs.Project", null=True, on_delete=models.CASCADE, related_name="+")
    recipe = models.CharField(max_length=64, blank=True)
    tags = models.JSONField(default=dict)
    condition = models.JSONField()
    emails = models.JSONField(default=list)
    webhooks = models.ManyToManyField(Webhook, through="RuleWebhook", related_name="rules")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "alert_rule"
        constraints = (models.UniqueConstraint(fields=["tenant", "name"], name="alert_rule_name_unique"),)

    def __str__(self) -> str:
        return self.name


class RuleWebhook(TenantModel):
    """Which webhooks a rule tells."""

    id = models.BigAutoField(primary_key=True)
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="+")
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="+")

    class Meta(TenantModel.Meta):
        db_table = "alert_rule_webhook"
        constraints = (models.UniqueConstraint(fields=["rule", "webhook"], name="rule_tells_webhook_once"),)


class AlertState(TenantModel):
    """Whether a rule's condition holds for a run now: it fires when that becomes true, and again after it was false."""

    id = models.BigAutoField(primary_key=True)
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="states")
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="+")
    firing = models.BooleanField(default=False)

    class Meta(TenantModel.Meta):
        db_table = "alert_state"
        constraints = (models.UniqueConstraint(fields=["rule", "run"], name="one_state_per_rule_and_run"),)


class AlertCursor(TenantModel):
    """How far the sweep has looked in a tenant."""

    id = models.BigAutoField(primary_key=True)
    looked_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "alert_cursor"
        constraints = (models.UniqueConstraint(fields=["tenant"], name="one_cursor_per_tenant"),)


class AlertEvent(TenantModel):
    """What a rule found, once. `source` makes it unique: the history entry, or the moment at which it began to hold."""

    id = models.BigAutoField(primary_key=True)
    rule = models.ForeignKey(AlertRule, null=True, on_delete=models.SET_NULL, related_name="events")
    rule_name = models.CharField(max_length=100)
    run = models.ForeignKey("runs.Run", null=True, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16)
    source = models.CharField(max_length=64)
    message = models.TextField()
    detail = models.JSONField(default=dict)
    at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "alert_event"
        constraints = (models.UniqueConstraint(fields=["rule", "run", "source"], name="one_event_per_source"),)
        indexes = (models.Index(fields=["tenant", "-id"], name="alert_event_newest"),)


class Delivery(TenantModel):
    """One message to one target: an outbox row. Sent at least once, in order per target and run."""

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    id = models.CharField(primary_key=True, max_length=16, default=ids.delivery_id, editable=False)
    event = models.ForeignKey(AlertEvent, on_delete=models.CASCADE, related_name="deliveries")
    webhook = models.ForeignKey(Webhook, null=True, on_delete=models.CASCADE, related_name="deliveries")
    email = models.CharField(max_length=254, blank=True)
    run_id = models.CharField(max_length=16, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField()
    log = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "delivery"
        indexes = (
            models.Index(fields=["next_at"], name="delivery_due", condition=models.Q(state="pending")),
            models.Index(fields=["tenant", "webhook", "-event"], name="delivery_by_webhook"),
        )
