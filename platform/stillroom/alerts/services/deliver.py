"""Sending what the outbox holds: at least once, in order per target and run, with growing pauses, then given up.

A row is claimed in one short transaction, sent outside of any, and recorded in another. A process that dies in between
sends again a minute later; the receiver tells repetitions by the id.
"""

from __future__ import annotations

import smtplib
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connections
from django.utils import timezone

from stillroom.alerts.egress import Allowed, Blocked, Failed, call
from stillroom.alerts.models import Delivery
from stillroom.alerts.services.rules import secret_of
from stillroom.alerts.signing import signature
from stillroom.core.errors import Conflict
from stillroom.core.tenancy import SCHED, sched_tx, tenant_tx
from stillroom.tenants.callers import Member
from stillroom.tenants.models import Membership
from stillroom.tenants.services import audit

log = structlog.get_logger(__name__)

PAUSES_S = (10, 30, 60, 300, 900, 3600, 3 * 3600, 6 * 3600)
CLAIM_S = 60
MOST_LOG = 20

_CLAIM = """
update delivery set next_at = now() + make_interval(secs => %(claim)s)
 where id in (
    select d.id from delivery d
     where d.state = 'pending' and d.next_at <= now() and not exists (
        select 1 from delivery e
         where e.tenant_id = d.tenant_id and e.state = 'pending' and e.run_id = d.run_id and e.event_id < d.event_id
           and e.webhook_id is not distinct from d.webhook_id and e.email = d.email)
     order by d.next_at, d.id limit %(limit)s for update skip locked)
returning id, tenant_id
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery, read and ready to be sent."""

    id: str
    body: bytes
    subject: str
    text: str
    email: str
    url: str
    secret: str
    refusal: str


def claim(limit: int = 20) -> list[tuple[str, str]]:
    """(delivery, tenant) of what is due; nobody else gets these for a minute."""
    with sched_tx(), connections[SCHED].cursor() as cursor:
        cursor.execute(_CLAIM, {"claim": CLAIM_S, "limit": limit})
        return [(str(row[0]), str(row[1])) for row in cursor.fetchall()]


def deliver(delivery_id: str, tenant_id: str) -> bool:
    """Send one claimed delivery and record what came of it; True when it arrived."""
    with tenant_tx(tenant_id):
        message = _read(delivery_id)
    if message is None:
        return False
    began = time.monotonic()
    status, error, final = _send(message)
    outcome = {
        "at": timezone.now().isoformat(),
        "status": status,
        "error": error,
        "ms": int(1000 * (time.monotonic() - began)),
    }
    with tenant_tx(tenant_id):
        return _record(delivery_id, outcome, arrived=not error, final=final)


def delivery_again(*, member: Member, delivery: Delivery) -> Delivery:
    """Send an old message once more, from its first try on. Raises Conflict while it is still being tried."""
    if delivery.state == Delivery.State.PENDING:
        raise Conflict("This message is still being sent.", code="delivery.pending")
    delivery.state, delivery.attempts, delivery.next_at = Delivery.State.PENDING, 0, timezone.now()
    delivery.delivered_at = None
    delivery.save(update_fields=["state", "attempts", "next_at", "delivered_at"])
    audit(actor=member.email, action="delivery.again", object_id=delivery.id, tenant_id=member.tenant_id)
    return delivery


def _read(delivery_id: str) -> Message | None:
    row = Delivery.objects.select_related("event", "webhook").filter(id=delivery_id, state="pending").first()
    if row is None:
        return None
    event, refusal = row.event, ""
    payload = {
        "id": row.id,
        "type": f"alert.{event.kind}",
        "at": event.at,
        "alert": {"id": event.rule_id, "name": event.rule_name},
        "message": event.message,
        **event.detail,
    }
    if row.email and not Membership.objects.filter(user__email__iexact=row.email, user__is_active=True).exists():
        refusal = "This address belongs to no member any more."
    if row.webhook is not None and not row.webhook.enabled:
        refusal = "The webhook is switched off."
    link = event.detail.get("run", {}).get("url", "")
    return Message(
        id=row.id,
        body=orjson.dumps(payload, option=orjson.OPT_UTC_Z),
        subject=" ".join(f"[Stillroom] {event.rule_name}: {event.message}".split())[:200],
        text=f"{event.message}\n\n{link}\n\nRule: {event.rule_name}\n",
        email=row.email,
        url=row.webhook.url if row.webhook else "",
        secret=secret_of(row.webhook) if row.webhook else "",
        refusal=refusal,
    )


def _send(message: Message) -> tuple[int | None, str, bool]:
    """(HTTP status, what went wrong, whether trying again is useless)."""
    if message.refusal:
        return None, message.refusal, True
    if message.email:
        return _send_mail(message)
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Stillroom-Webhook/1",
        "Stillroom-Id": message.id,
        "Stillroom-Timestamp": str(timestamp),
        "Stillroom-Signature": signature(message.secret, timestamp, message.body),
    }
    try:
        status = call(message.url, message.body, headers, allowed=Allowed.parse(settings.ENV.webhook_allow))
    except Blocked as error:
        return None, str(error), True
    except Failed as error:
        return None, str(error), False
    if 200 <= status < 300:
        return status, "", False
    redirects = " Redirects are not followed." if 300 <= status < 400 else ""
    return status, f"The receiver answered {status}.{redirects}", status == 410


def _send_mail(message: Message) -> tuple[int | None, str, bool]:
    mail = EmailMessage(message.subject, message.text, to=[message.email], headers={"Message-ID": _mail_id(message.id)})
    try:
        mail.send()
    except (OSError, smtplib.SMTPException) as error:
        return None, f"The mail server refused: {error}"[:300], False
    return None, "", False


def _mail_id(delivery_id: str) -> str:
    """The same for every try, so that a mailbox can tell repetitions."""
    return f"<{delivery_id}@{settings.ENV.email_from.rpartition('@')[2] or 'stillroom'}>"


def _record(delivery_id: str, outcome: dict[str, Any], *, arrived: bool, final: bool) -> bool:
    row = Delivery.objects.select_for_update().filter(id=delivery_id, state=Delivery.State.PENDING).first()
    if row is None:
        return arrived
    row.attempts += 1
    row.log = [*row.log, outcome][-MOST_LOG:]
    if arrived:
        row.state, row.delivered_at = Delivery.State.DELIVERED, timezone.now()
    elif final or row.attempts > len(PAUSES_S):
        row.state = Delivery.State.DEAD
    else:
        row.next_at = timezone.now() + timedelta(seconds=PAUSES_S[row.attempts - 1])
    row.save(update_fields=["attempts", "log", "state", "delivered_at", "next_at"])
    if not arrived:
        log.warning("delivery.failed", delivery=row.id, state=row.state, error=outcome["error"])
    return arrived
