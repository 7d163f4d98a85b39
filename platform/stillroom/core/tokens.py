"""Bearer tokens: how they look, how they are made, how a presented one is compared.

`sr_<kind>_<id>_<secret>`: the id finds the row, the secret (32 random bytes) is stored as SHA-256. Run tokens are
signed instead of stored: run, epoch, tenant and expiry under an HMAC, so that ingest needs no look-up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Literal

from django.conf import settings

Kind = Literal["api", "node"]


@dataclass(frozen=True, slots=True)
class Presented:
    """A token as a caller sent it."""

    kind: str
    id: str
    secret: str


@dataclass(frozen=True, slots=True)
class RunGrant:
    """What a run token proves: the bearer is this attempt of this run."""

    run_id: str
    epoch: int
    tenant_id: str


def new_secret() -> str:
    """32 random bytes as URL-safe text."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """SHA-256; the secret has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).digest()


def render(kind: Kind, row_id: str, secret: str) -> str:
    """The text shown once to its owner."""
    return f"sr_{kind}_{row_id.partition('_')[2]}_{secret}"


def parse(text: str) -> Presented | None:
    """Take a token apart; None when it has not the form."""
    head, _, rest = text.partition("_")
    kind, _, rest = rest.partition("_")
    row, _, secret = rest.partition("_")
    if head != "sr" or kind not in ("api", "node") or not row or not secret or len(text) > 200:
        return None
    return Presented(kind, {"api": "t_", "node": "n_"}[kind] + row, secret)


def matches(secret: str, stored: bytes | memoryview) -> bool:
    """Constant-time comparison."""
    return hmac.compare_digest(hash_secret(secret), bytes(stored))


def run_token(grant: RunGrant, *, valid_s: float) -> str:
    """A token for one attempt, valid for `valid_s` seconds."""
    body = f"{grant.run_id}.{grant.epoch}.{grant.tenant_id}.{int(time.time() + valid_s)}"
    return f"sr_run_{body}.{_sign(body)}"


def read_run_token(text: str) -> RunGrant | None:
    """The grant, or None when the token is forged, malformed or expired."""
    body, _, signature = text.removeprefix("sr_run_").rpartition(".")
    parts = body.split(".")
    if (
        not text.startswith("sr_run_")
        or len(parts) != 4
        or not hmac.compare_digest(_sign(body).encode(), signature.encode())
    ):
        return None
    run_id, epoch, tenant_id, expiry = parts
    if int(expiry) < time.time():
        return None
    return RunGrant(run_id, int(epoch), tenant_id)


def _sign(body: str) -> str:
    digest = hmac.new(settings.SECRET_KEY.encode(), b"run-token:" + body.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
