"""How a receiver knows that a message is ours: HMAC-SHA256 over the time and the body."""

from __future__ import annotations

import base64
import hashlib
import hmac

PREFIX = "whsec_"


def webhook_secret(webhook_id: str, version: int, secret_key: str) -> str:
    """The webhook's own secret: derived, so that the database holds none and a rotation is a number."""
    digest = hmac.new(secret_key.encode(), f"webhook:{webhook_id}:{version}".encode(), hashlib.sha256).digest()
    return PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and the hex HMAC-SHA256 of "<timestamp>.<body>" under the whole secret text."""
    return "v1=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
