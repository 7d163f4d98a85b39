"""Looking: which rules hold for which runs now. Costs nothing at ingest and is proportional to what is new.

History entries are looked at with an overlap and told once each (a unique row); everything else fires when it begins to
hold. Only runs that were written to since the last look are evaluated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import structlog
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from stillroom.alerts.models import AlertCursor, AlertEvent, AlertRule, AlertState, Delivery, RuleWebhook
from stillroom.core.tenancy import sched_tx, tenant_tx
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Run, RunEvent, Series
from stillroom.telemetry.selectors.tail import newest_points
from stillroom.telemetry.selectors.visible import NEVER_REPEATED

log = structlog.get_logger(__name__)

# A history entry carries the time at which its transaction wrote it; it is seen when that transaction ends.
OVERLAP = timedelta(minutes=5)
HOLDS = {
    "gt": lambda value, threshold: value > threshold,
    "ge": lambda value, threshold: value >= threshold,
    "lt": lambda value, threshold: value < threshold,
    "le": lambda value, threshold: value <= threshold,
}
WORDS = {"gt": "above", "ge": "at or above", "lt": "below", "le": "at or below"}


def sweep() -> int:
    """Look in every organisation that has a rule. Returns how many events that made."""
    with sched_tx():
        tenants = sorted(set(AlertRule.objects.filter(enabled=True).values_list("tenant_id", flat=True)))
    return sum(sweep_tenant(tenant_id) for tenant_id in tenants)


def sweep_tenant(tenant_id: str) -> int:
    """One organisation, in one transaction; 0 also when another notifier looks there just now."""
    with tenant_tx(tenant_id):
        with connection.cursor() as cursor:
            cursor.execute("select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"alerts:{tenant_id}"])
            if not cursor.fetchone()[0]:
                return 0
        now = timezone.now()
        place, _ = AlertCursor.objects.get_or_create(tenant_id=tenant_id, defaults={"looked_at": now})
        since = place.looked_at - OVERLAP
        made = 0
        for rule in AlertRule.objects.select_related("project", "tenant").filter(enabled=True).order_by("id"):
            made += _LOOK[rule.condition["kind"]](rule, since, now)
        AlertCursor.objects.filter(id=place.id).update(looked_at=now)
    return made


def fire(
    rule: AlertRule, run: Run | None, *, kind: str, source: str, message: str, found: dict[str, Any]
) -> AlertEvent | None:
    """Write what was found and the messages to be sent, once per source; None when it was written before."""
    event, made = AlertEvent.objects.get_or_create(
        tenant_id=rule.tenant_id,
        rule=rule,
        run=run,
        source=source,
        defaults={"kind": kind, "rule_name": rule.name, "message": message, "detail": found},
    )
    if not made:
        return None
    hooks = RuleWebhook.objects.filter(rule=rule, webhook__enabled=True).values_list("webhook_id", flat=True)
    for webhook_id in hooks:
        _enqueue(event, run, webhook_id=webhook_id)
    for email in dict.fromkeys(rule.emails):
        _enqueue(event, run, email=email)
    return event


def _enqueue(event: AlertEvent, run: Run | None, **target: Any) -> None:
    Delivery.objects.create(
        tenant_id=event.tenant_id, event=event, run_id=run.id if run else "", next_at=timezone.now(), **target
    )


def matches(rule: AlertRule, run: Run) -> bool:
    """Whether the rule concerns the run at all."""
    return (
        (rule.project_id is None or rule.project_id == run.project_id)
        and (not rule.recipe or rule.recipe == run.recipe)
        and all(run.tags.get(key) == value for key, value in rule.tags.items())
    )


def about(run: Run) -> dict[str, Any]:
    """The run as a message shows it."""
    return {
        "id": run.id,
        "name": run.name,
        "project": run.project.slug,
        "org": run.tenant.slug,
        "state": run.state,
        "url": f"{settings.ENV.public_url.rstrip('/')}/o/{run.tenant.slug}/runs/{run.id}",
    }


def _look_at_states(rule: AlertRule, since: datetime, now: datetime) -> int:
    rows = RunEvent.objects.filter(
        at__gt=max(since, rule.created_at), to_state__in=rule.condition["states"]
    ).select_related("run__project", "run__tenant")
    made = 0
    for entry in rows.exclude(from_state=F("to_state")).order_by("id")[:1000]:
        if matches(rule, entry.run):
            reason = entry.message or entry.run.reason
            message = f"Run {entry.run.name} is {entry.to_state}" + (f": {reason}" if reason else ".")
            shown = {**about(entry.run), "state": entry.to_state}
            found = {"run": shown, "from": entry.from_state, "to": entry.to_state}
            made += bool(_found(rule, entry.run, "state", f"event:{entry.id}", message, found))
    return made


def _look_at_metric(rule: AlertRule, since: datetime, now: datetime) -> int:
    wanted = rule.condition
    made = 0
    for row in _written(rule, since, key=wanted["key"]):
        value = _reduced(row, wanted["reduce"], wanted["window"])
        holds = value is not None and HOLDS[wanted["op"]](value, wanted["threshold"])
        if _began(rule, row.run, holds):
            message = (
                f"Run {row.run.name}: {row.key} is {value:g}"
                f" ({wanted['reduce']} of {wanted['window']}), {WORDS[wanted['op']]} {wanted['threshold']:g}."
            )
            found = {"run": about(row.run), "key": row.key, "value": value, "step": row.last_step}
            made += bool(_found(rule, row.run, "metric", f"at:{time.time_ns()}", message, found))
    return made


def _look_at_divergence(rule: AlertRule, since: datetime, now: datetime) -> int:
    broken: dict[str, tuple[Run, Series | None]] = {}
    for row in _written(rule, since, key=rule.condition.get("key")):
        if row.key.startswith(NEVER_REPEATED) and row.key != rule.condition.get("key"):
            continue
        bad = row if row.non_finite else None
        broken[row.run_id] = (row.run, broken.get(row.run_id, (row.run, None))[1] or bad)
    made = 0
    for run, bad in broken.values():
        if _began(rule, run, bad is not None) and bad is not None:
            message = f"Run {run.name}: {bad.key} is no longer finite ({bad.non_finite} points so far)."
            found = {"run": about(run), "key": bad.key, "step": bad.last_step}
            made += bool(_found(rule, run, "divergence", f"at:{time.time_ns()}", message, found))
    return made


def _look_at_silence(rule: AlertRule, since: datetime, now: datetime) -> int:
    minutes = rule.condition["minutes"]
    running = Run.objects.filter(state=State.RUNNING).select_related("project", "tenant")
    if rule.project_id:
        running = running.filter(project_id=rule.project_id)
    made, silent = 0, set()
    quiet = running.annotate(heard_at=Coalesce("fence__ingested_at", "started_at"))
    for run in quiet.filter(heard_at__lt=now - timedelta(minutes=minutes)).order_by("id"):
        if not matches(rule, run):
            continue
        silent.add(run.id)
        if _began(rule, run, True):
            message = f"Run {run.name} has sent nothing for {minutes} min."
            made += bool(_found(rule, run, "silence", f"at:{time.time_ns()}", message, {"run": about(run)}))
    AlertState.objects.filter(rule=rule, firing=True).exclude(run_id__in=silent).update(firing=False)
    return made


_LOOK = {
    "state": _look_at_states,
    "metric": _look_at_metric,
    "divergence": _look_at_divergence,
    "silence": _look_at_silence,
}


def _written(rule: AlertRule, since: datetime, *, key: str | None) -> Iterable[Series]:
    """Series of the runs that were written to since then and that the rule concerns."""
    rows = Series.objects.filter(run__fence__ingested_at__gt=since).select_related("run__project", "run__tenant")
    if key is not None:
        rows = rows.filter(key=key)
    if rule.project_id:
        rows = rows.filter(run__project_id=rule.project_id)
    return [row for row in rows.order_by("run_id", "key") if matches(rule, row.run)]


def _reduced(row: Series, reduce: str, window: int) -> float | None:
    if reduce == "last" or window == 1:
        return row.last if row.last is not None and math.isfinite(row.last) else None
    values = newest_points(row.run_id, row.key, window).value
    finite = values[np.isfinite(values)]
    if len(values) < window or not len(finite):
        return None
    return float(finite.mean() if reduce == "mean" else finite.min() if reduce == "min" else finite.max())


def _began(rule: AlertRule, run: Run, holds: bool) -> bool:
    """Note whether the condition holds; True when it holds now and did not before."""
    state = AlertState.objects.filter(rule=rule, run=run).first()
    if state is None:
        if holds:
            AlertState.objects.create(tenant_id=rule.tenant_id, rule=rule, run=run, firing=True)
        return holds
    if state.firing != holds:
        AlertState.objects.filter(id=state.id).update(firing=holds)
        return holds
    return False


def _found(rule: AlertRule, run: Run, kind: str, source: str, message: str, found: dict[str, Any]) -> AlertEvent | None:
    event = fire(rule, run, kind=kind, source=source, message=message, found=found)
    if event is not None:
        log.info("alert.fired", rule=rule.id, run=run.id, kind=kind)
    return event
