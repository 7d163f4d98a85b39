"""Ids: a typed prefix and ten random Crockford base32 digits (50 bits). One id in URL, row, log and message."""

from __future__ import annotations

import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DIGITS = 10


def new_id(prefix: str) -> str:
    """A fresh id such as `r_7Q4M2K9XHD`."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(DIGITS))


def user_id() -> str:
    return new_id("u")


def organisation_id() -> str:
    return new_id("o")


def membership_id() -> str:
    return new_id("m")


def token_id() -> str:
    return new_id("t")


def project_id() -> str:
    return new_id("p")


def study_id() -> str:
    return new_id("s")


def run_id() -> str:
    return new_id("r")


def node_id() -> str:
    return new_id("n")


def device_id() -> str:
    return new_id("d")


def quota_id() -> str:
    return new_id("q")


def benchmark_id() -> str:
    return new_id("b")


def upload_id() -> str:
    return new_id("up")


def alert_id() -> str:
    return new_id("a")


def webhook_id() -> str:
    return new_id("w")


def delivery_id() -> str:
    return new_id("v")
