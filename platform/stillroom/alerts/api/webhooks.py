"""Doors to webhooks and their deliveries."""

from __future__ import annotations

from typing import Literal

from ninja import Status

from stillroom.alerts.models import Webhook
from stillroom.alerts.schemas import (
    DeliveryList,
    DeliveryOut,
    WebhookIn,
    WebhookList,
    WebhookOut,
    WebhookPatch,
    WebhookSecretOut,
)
from stillroom.alerts.selectors import delivery_get, delivery_page, delivery_shown, webhook_get, webhook_shown
from stillroom.alerts.services.deliver import delivery_again
from stillroom.alerts.services.rules import (
    secret_of,
    webhook_change,
    webhook_create,
    webhook_delete,
    webhook_rotate,
)
from stillroom.alerts.services.trial import webhook_try
from stillroom.core.pagination import DEFAULT_LIMIT
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["alerts"])


@door.get("/orgs/{org}/webhooks", needs=Can.ALERT_MANAGE, response=WebhookList)
def webhook_list(request: DoorRequest, org: str) -> object:
    """The organisation's webhooks, for choosing; addresses only for those who manage them."""
    with request.door.org(org) as member:
        return {"items": [webhook_shown(row, member) for row in Webhook.objects.order_by("name", "id")]}


@door.post("/orgs/{org}/webhooks", needs=Can.WEBHOOK_MANAGE, response={201: WebhookSecretOut})
def webhook_make(request: DoorRequest, org: str, payload: WebhookIn) -> object:
    """Make a webhook; the answer shows its signing secret this once."""
    with request.door.org(org) as member:
        row = webhook_create(member=member, values=payload.model_dump())
        return Status(201, {**webhook_shown(row, member), "secret": secret_of(row)})


@door.get("/orgs/{org}/webhooks/{webhook}", needs=Can.WEBHOOK_MANAGE, response=WebhookOut)
def webhook_one(request: DoorRequest, org: str, webhook: str) -> object:
    """One webhook with its address."""
    with request.door.org(org) as member:
        return webhook_shown(webhook_get(webhook), member)


@door.patch("/orgs/{org}/webhooks/{webhook}", needs=Can.WEBHOOK_MANAGE, response=WebhookOut)
def webhook_patch(request: DoorRequest, org: str, webhook: str, payload: WebhookPatch) -> object:
    """Change name or address, or switch it off and on."""
    with request.door.org(org) as member:
        changes = payload.model_dump(exclude_none=True)
        return webhook_shown(webhook_change(member=member, webhook=webhook_get(webhook), changes=changes), member)


@door.delete("/orgs/{org}/webhooks/{webhook}", needs=Can.WEBHOOK_MANAGE, response={204: None})
def webhook_remove(request: DoorRequest, org: str, webhook: str) -> object:
    """Remove a webhook and what waits for it."""
    with request.door.org(org) as member:
        webhook_delete(member=member, webhook=webhook_get(webhook))
        return Status(204, None)


@door.post("/orgs/{org}/webhooks/{webhook}/rotate", needs=Can.WEBHOOK_MANAGE, response=WebhookSecretOut)
def webhook_new_secret(request: DoorRequest, org: str, webhook: str) -> object:
    """A new signing secret, shown this once; the old one is void at once."""
    with request.door.org(org) as member:
        row = webhook_rotate(member=member, webhook=webhook_get(webhook))
        return {**webhook_shown(row, member), "secret": secret_of(row)}


@door.post("/orgs/{org}/webhooks/{webhook}/test", needs=Can.WEBHOOK_MANAGE, response={202: DeliveryOut})
def webhook_test(request: DoorRequest, org: str, webhook: str) -> object:
    """Send a test message; its delivery tells what became of it."""
    with request.door.org(org) as member:
        return Status(202, delivery_shown(webhook_try(member=member, webhook=webhook_get(webhook))))


@door.get("/orgs/{org}/webhooks/{webhook}/deliveries", needs=Can.WEBHOOK_MANAGE, response=DeliveryList)
def webhook_deliveries(
    request: DoorRequest,
    org: str,
    webhook: str,
    state: Literal["", "pending", "delivered", "dead"] = "",
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> object:
    """Messages to this webhook, newest first, each with its tries."""
    with request.door.org(org):
        return delivery_page(webhook_get(webhook), state=state, cursor=cursor, limit=limit)


@door.post(
    "/orgs/{org}/webhooks/{webhook}/deliveries/{delivery}/redeliver",
    needs=Can.WEBHOOK_MANAGE,
    response={202: DeliveryOut},
)
def webhook_redeliver(request: DoorRequest, org: str, webhook: str, delivery: str) -> object:
    """Send a message once more, under the same id."""
    with request.door.org(org) as member:
        row = delivery_get(webhook_get(webhook), delivery)
        return Status(202, delivery_shown(delivery_again(member=member, delivery=row)))
