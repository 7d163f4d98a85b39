"""Questions about rules, webhooks, events and deliveries of the open tenant."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models
from django.db.models import Count, Q, QuerySet

from stillroom.alerts.models import AlertEvent, AlertRule, Delivery, Webhook
from stillroom.alerts.services.rules import host_of
from stillroom.core.errors import NotFound
from stillroom.core.pagination import MAX_LIMIT, decode_cursor, encode_cursor
from stillroom.tenants.callers import Member
from stillroom.tenants.policies import Can

Row = TypeVar("Row", bound=models.Model)


def rules() -> QuerySet[AlertRule]:
    """Rules with what their rendering needs. Two queries."""
    firing = Count("states", filter=Q(states__firing=True), distinct=True)
    return AlertRule.objects.select_related("project").prefetch_related("webhooks").annotate(firing_count=firing)


def rule_get(rule_id: str) -> AlertRule:
    return _one(rules(), rule_id, "This alert rule")


def webhook_get(webhook_id: str) -> Webhook:
    return _one(Webhook.objects.all(), webhook_id, "This webhook")


def delivery_get(webhook: Webhook, delivery_id: str) -> Delivery:
    return _one(Delivery.objects.filter(webhook=webhook), delivery_id, "This delivery")


def rule_shown(rule: AlertRule) -> dict[str, Any]:
    """A rule of `rules()` as the wire has it."""
    plain = ("id", "name", "enabled", "recipe", "tags", "condition", "emails", "created_at")
    return {
        **{name: getattr(rule, name) for name in plain},
        "project": rule.project.slug if rule.project else None,
        "webhooks": sorted(one.id for one in rule.webhooks.all()),
        "firing": getattr(rule, "firing_count", 0),
    }


def webhook_shown(webhook: Webhook, member: Member) -> dict[str, Any]:
    """A webhook; its address only for those who manage webhooks."""
    return {
        "id": webhook.id,
        "name": webhook.name,
        "url": webhook.url if Can.WEBHOOK_MANAGE in member.can else "",
        "host": host_of(webhook),
        "enabled": webhook.enabled,
        "created_at": webhook.created_at,
    }


def event_page(*, rule: str, run: str, cursor: str | None, limit: int) -> dict[str, Any]:
    """What rules found, newest first. Two queries."""
    found = AlertEvent.objects.prefetch_related("deliveries").order_by("-id")
    if rule:
        found = found.filter(rule_id=rule)
    if run:
        found = found.filter(run_id=run)
    if cursor:
        found = found.filter(id__lt=_whole(cursor))
    rows, after = _cut(list(found[: _limit(limit) + 1]), limit)
    return {"items": [_event(row) for row in rows], "next_cursor": after}


def delivery_page(webhook: Webhook, *, state: str, cursor: str | None, limit: int) -> dict[str, Any]:
    """Messages to one webhook, newest first. One query."""
    found = Delivery.objects.filter(webhook=webhook).order_by("-event_id")
    if state:
        found = found.filter(state=state)
    if cursor:
        found = found.filter(event_id__lt=_whole(cursor))
    rows, after = _cut(list(found[: _limit(limit) + 1]), limit, "event_id")
    return {"items": [delivery_shown(row) for row in rows], "next_cursor": after}


def delivery_shown(row: Delivery) -> dict[str, Any]:
    plain = ("id", "state", "attempts", "delivered_at", "created_at", "log")
    waits = row.state == Delivery.State.PENDING
    return {
        **{name: getattr(row, name) for name in plain},
        "event": row.event_id,
        "run": row.run_id,
        "next_at": row.next_at if waits else None,
    }


def _event(row: AlertEvent) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for delivery in row.deliveries.all():
        counts[delivery.state] = counts.get(delivery.state, 0) + 1
    return {
        "id": row.id,
        "alert": row.rule_id,
        "name": row.rule_name,
        "run": row.run_id,
        "kind": row.kind,
        "message": row.message,
        "detail": row.detail,
        "at": row.at,
        "deliveries": counts,
    }


def _one(rows: QuerySet[Row], row_id: str, what: str) -> Row:
    found = rows.filter(pk=row_id).first()
    if found is None:
        raise NotFound(what)
    return found


def _limit(limit: int) -> int:
    return max(1, min(limit, MAX_LIMIT))


def _whole(cursor: str) -> int:
    (value,) = decode_cursor(cursor, length=1)
    return int(value) if isinstance(value, int) else 0


def _cut(rows: list[Any], limit: int, key: str = "id") -> tuple[list[Any], str | None]:
    size = _limit(limit)
    if len(rows) <= size:
        return rows, None
    return rows[:size], encode_cursor([getattr(rows[size - 1], key)])
