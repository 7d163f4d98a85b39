"""Test messages: the same way as real ones."""

from __future__ import annotations

import uuid

from django.utils import timezone

from stillroom.alerts.models import AlertEvent, AlertRule, Delivery, Webhook
from stillroom.alerts.services.sweep import fire
from stillroom.core.errors import Conflict
from stillroom.tenants.callers import Member
from stillroom.tenants.services import audit


def rule_try(*, member: Member, rule: AlertRule) -> AlertEvent | None:
    """A test message to everybody whom the rule tells."""
    audit(actor=member.email, action="alert.test", object_id=rule.id, tenant_id=member.tenant_id)
    message = f"A test of the rule {rule.name} by {member.name}."
    return fire(rule, None, kind="test", source=f"test:{uuid.uuid4().hex}", message=message, found={})


def webhook_try(*, member: Member, webhook: Webhook) -> Delivery:
    """A test message to one webhook. Raises Conflict when it is switched off."""
    if not webhook.enabled:
        raise Conflict("The webhook is switched off.", code="webhook.off")
    audit(actor=member.email, action="webhook.test", object_id=webhook.id, tenant_id=member.tenant_id)
    event = AlertEvent.objects.create(
        tenant_id=member.tenant_id,
        kind="test",
        rule_name="test",
        source=f"test:{uuid.uuid4().hex}",
        message=f"A test of the webhook {webhook.name} by {member.name}.",
    )
    return Delivery.objects.create(tenant_id=member.tenant_id, event=event, webhook=webhook, next_at=timezone.now())
