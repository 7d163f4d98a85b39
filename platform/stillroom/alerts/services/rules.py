"""Making and changing rules and webhooks. Each change is audited."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from stillroom.alerts.egress import Allowed, Blocked, target_of
from stillroom.alerts.models import AlertRule, AlertState, RuleWebhook, Webhook
from stillroom.alerts.signing import webhook_secret
from stillroom.core.errors import Conflict, Invalid
from stillroom.runs.models import Project
from stillroom.tenants.callers import Member
from stillroom.tenants.models import Membership
from stillroom.tenants.services import audit

MOST_RULES, MOST_WEBHOOKS = 100, 20


def rule_create(*, member: Member, values: dict[str, Any]) -> AlertRule:
    """A new rule. Raises Invalid naming an unknown project, e-mail address or webhook; Conflict on the name."""
    if AlertRule.objects.count() >= MOST_RULES:
        raise Conflict(f"An organisation has at most {MOST_RULES} alert rules.", code="alert.too_many")
    slug, hooks = values.pop("project"), values.pop("webhooks")
    project = Project.objects.filter(slug=slug).first() if slug is not None else None
    if slug is not None and project is None:
        raise Invalid("The project does not exist.", fields={"project": "There is no such project."})
    _check_channels(values["emails"], hooks)
    try:
        with transaction.atomic():
            rule = AlertRule.objects.create(
                tenant_id=member.tenant_id, project=project, created_by_id=member.user_id, **values
            )
    except IntegrityError:
        raise _taken(values["name"]) from None
    _tell(rule, hooks)
    _audit(member, "alert.create", rule.id, after=_shown(rule, hooks))
    return rule


def rule_change(*, member: Member, rule: AlertRule, changes: dict[str, Any]) -> AlertRule:
    """Change a rule. A new condition starts afresh: what held before may fire again."""
    before = _shown(rule, _hooks(rule))
    hooks = changes.pop("webhooks", None)
    _check_channels(changes.get("emails") or [], hooks or [])
    for name, value in changes.items():
        setattr(rule, name, value)
    try:
        with transaction.atomic():
            rule.save()
    except IntegrityError:
        raise _taken(rule.name) from None
    if hooks is not None:
        _tell(rule, hooks)
    if {"condition", "tags", "recipe"} & set(changes):
        AlertState.objects.filter(rule=rule).delete()
    _audit(member, "alert.change", rule.id, before=before, after=_shown(rule, _hooks(rule)))
    return rule


def rule_delete(*, member: Member, rule: AlertRule) -> None:
    """Remove a rule; what it found stays in the list of events."""
    _audit(member, "alert.delete", rule.id, before=_shown(rule, _hooks(rule)))
    rule.delete()


def webhook_create(*, member: Member, values: dict[str, Any]) -> Webhook:
    """A new webhook. Raises Invalid on an address that may not be called."""
    if Webhook.objects.count() >= MOST_WEBHOOKS:
        raise Conflict(f"An organisation has at most {MOST_WEBHOOKS} webhooks.", code="webhook.too_many")
    check_url(values["url"])
    try:
        with transaction.atomic():
            row = Webhook.objects.create(tenant_id=member.tenant_id, created_by_id=member.user_id, **values)
    except IntegrityError:
        raise _taken(values["name"]) from None
    _audit(member, "webhook.create", row.id, after={"name": row.name, "host": host_of(row)})
    return row


def webhook_change(*, member: Member, webhook: Webhook, changes: dict[str, Any]) -> Webhook:
    """Change name or address, or switch it off and on."""
    if "url" in changes:
        check_url(changes["url"])
    before = {"name": webhook.name, "host": host_of(webhook), "enabled": webhook.enabled}
    for name, value in changes.items():
        setattr(webhook, name, value)
    try:
        with transaction.atomic():
            webhook.save()
    except IntegrityError:
        raise _taken(webhook.name) from None
    after = {"name": webhook.name, "host": host_of(webhook), "enabled": webhook.enabled}
    _audit(member, "webhook.change", webhook.id, before=before, after=after)
    return webhook


def webhook_rotate(*, member: Member, webhook: Webhook) -> Webhook:
    """A new secret; the old one signs nothing any more."""
    webhook.secret_version += 1
    webhook.save(update_fields=["secret_version"])
    _audit(member, "webhook.rotate", webhook.id, after={"version": webhook.secret_version})
    return webhook


def webhook_delete(*, member: Member, webhook: Webhook) -> None:
    """Remove a webhook and its deliveries; rules that told it go on without it."""
    _audit(member, "webhook.delete", webhook.id, before={"name": webhook.name, "host": host_of(webhook)})
    webhook.delete()


def check_url(url: str) -> None:
    """Raise Invalid naming `url` when it may not be called."""
    try:
        target_of(url, Allowed.parse(settings.ENV.webhook_allow))
    except Blocked as error:
        raise Invalid("The webhook's address is refused.", fields={"url": str(error)}, code="webhook.url") from None


def secret_of(webhook: Webhook) -> str:
    return webhook_secret(webhook.id, webhook.secret_version, settings.SECRET_KEY)


def host_of(webhook: Webhook) -> str:
    """The address without what may be secret in it."""
    return webhook.url.split("/")[2].rpartition("@")[2]


def _check_channels(emails: list[str], hooks: list[str]) -> None:
    members = {email.lower() for email in Membership.objects.values_list("user__email", flat=True)}
    unknown = {f"emails.{n}": "Not a member's address." for n, one in enumerate(emails) if one.lower() not in members}
    known = set(Webhook.objects.filter(id__in=hooks).values_list("id", flat=True))
    unknown |= {f"webhooks.{n}": "There is no such webhook." for n, one in enumerate(hooks) if one not in known}
    if unknown:
        raise Invalid("Some of those to be told are unknown.", fields=unknown)


def _tell(rule: AlertRule, hooks: list[str]) -> None:
    RuleWebhook.objects.filter(rule=rule).exclude(webhook_id__in=hooks).delete()
    have = set(_hooks(rule))
    for webhook_id in dict.fromkeys(hooks):
        if webhook_id not in have:
            RuleWebhook.objects.create(tenant_id=rule.tenant_id, rule=rule, webhook_id=webhook_id)


def _hooks(rule: AlertRule) -> list[str]:
    return list(RuleWebhook.objects.filter(rule=rule).order_by("id").values_list("webhook_id", flat=True))


def _shown(rule: AlertRule, hooks: list[str]) -> dict[str, Any]:
    return {
        "name": rule.name,
        "enabled": rule.enabled,
        "condition": rule.condition,
        "emails": rule.emails,
        "webhooks": hooks,
    }


def _taken(name: str) -> Conflict:
    return Conflict(f"There is already one named {name}.", fields={"name": "Taken."})


def _audit(member: Member, action: str, object_id: str, **more: Any) -> None:
    audit(actor=member.email, action=action, object_id=object_id, tenant_id=member.tenant_id, **more)
