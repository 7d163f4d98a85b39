"""Doors to alert rules and to what they found."""

from __future__ import annotations

from ninja import Status

from stillroom.alerts.schemas import AlertEventList, AlertIn, AlertList, AlertOut, AlertPatch
from stillroom.alerts.selectors import event_page, rule_get, rule_shown, rules
from stillroom.alerts.services.rules import rule_change, rule_create, rule_delete
from stillroom.alerts.services.trial import rule_try
from stillroom.core.pagination import DEFAULT_LIMIT
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["alerts"])


@door.get("/orgs/{org}/alerts", needs=Can.RUN_READ, response=AlertList)
def alert_list(request: DoorRequest, org: str) -> object:
    """The organisation's alert rules."""
    with request.door.org(org):
        return {"items": [rule_shown(row) for row in rules().order_by("name", "id")]}


@door.post("/orgs/{org}/alerts", needs=Can.ALERT_MANAGE, response={201: AlertOut})
def alert_create(request: DoorRequest, org: str, payload: AlertIn) -> object:
    """Make a rule. It looks at what happens from now on."""
    with request.door.org(org) as member:
        row = rule_create(member=member, values=payload.model_dump())
        return Status(201, rule_shown(rule_get(row.id)))


@door.get("/orgs/{org}/alerts/{alert}", needs=Can.RUN_READ, response=AlertOut)
def alert_get(request: DoorRequest, org: str, alert: str) -> object:
    """One rule; `firing` counts the runs for which it holds now."""
    with request.door.org(org):
        return rule_shown(rule_get(alert))


@door.patch("/orgs/{org}/alerts/{alert}", needs=Can.ALERT_MANAGE, response=AlertOut)
def alert_change(request: DoorRequest, org: str, alert: str, payload: AlertPatch) -> object:
    """Change a rule; a new condition starts afresh."""
    with request.door.org(org) as member:
        changes = {name: value for name, value in payload.model_dump(exclude_unset=True).items() if value is not None}
        rule_change(member=member, rule=rule_get(alert), changes=changes)
        return rule_shown(rule_get(alert))


@door.delete("/orgs/{org}/alerts/{alert}", needs=Can.ALERT_MANAGE, response={204: None})
def alert_delete(request: DoorRequest, org: str, alert: str) -> object:
    """Remove a rule; what it found stays listed."""
    with request.door.org(org) as member:
        rule_delete(member=member, rule=rule_get(alert))
        return Status(204, None)


@door.post("/orgs/{org}/alerts/{alert}/test", needs=Can.ALERT_MANAGE, response={202: AlertOut})
def alert_test(request: DoorRequest, org: str, alert: str) -> object:
    """Send a test message over all of the rule's channels."""
    with request.door.org(org) as member:
        rule_try(member=member, rule=rule_get(alert))
        return Status(202, rule_shown(rule_get(alert)))


@door.get("/orgs/{org}/alert-events", needs=Can.RUN_READ, response=AlertEventList)
def alert_events(
    request: DoorRequest,
    org: str,
    alert: str = "",
    run: str = "",
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> object:
    """What rules found, newest first; `deliveries` counts messages by state."""
    with request.door.org(org):
        return event_page(rule=alert, run=run, cursor=cursor, limit=limit)
