"""Every setting that comes from the environment, in one place. A malformed value stops the start with its name.

`.env.example` and `docs/reference/settings.md` are generated from the fields of `Env`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

REPOSITORY = Path(__file__).resolve().parents[3]
MAIL_SCHEMES = ("smtp", "smtps", "smtp+plain")
ROLES = ("stillroom_app", "stillroom_sched", "stillroom_admin")


class EnvError(Exception):
    """A variable is missing or malformed; the message names it and says what was expected."""


def setting(name: str, help: str, default: Any = MISSING) -> Any:
    """One field of `Env`: the variable's name and what it does."""
    metadata = {"name": name, "help": help}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Env:
    """The process's environment, parsed."""

    home: Path = setting("STILLROOM_HOME", "Folder of state, logs and artifacts.", REPOSITORY / ".stillroom")
    secret_key: str = setting("STILLROOM_SECRET_KEY", "At least 32 characters; signs sessions and run tokens.", "")
    debug: bool = setting("STILLROOM_DEBUG", "1 shows error pages with code. Never in production.", False)
    port: int = setting("STILLROOM_PORT", "Port of the web process; the next free one is taken when busy.", 8000)
    public_url: str = setting(
        "STILLROOM_PUBLIC_URL", "Address at which people reach the site.", "http://127.0.0.1:8000"
    )
    allowed_hosts: tuple[str, ...] = setting(
        "STILLROOM_ALLOWED_HOSTS",
        "Host names, comma separated, besides the public one.",
        ("127.0.0.1", "localhost", "[::1]"),
    )
    database_url: str = setting(
        "DATABASE_URL",
        "PostgreSQL URL of the owner role. Only `provision` and `up` need it; nothing is embedded when set.",
        "",
    )
    database_app_url: str = setting("DATABASE_APP_URL", "URL of the role stillroom_app; derived when empty.", "")
    database_sched_url: str = setting("DATABASE_SCHED_URL", "URL of the role stillroom_sched; derived when empty.", "")
    database_admin_url: str = setting("DATABASE_ADMIN_URL", "URL of the role stillroom_admin; derived when empty.", "")
    redis_url: str = setting(
        "REDIS_URL", "Valkey or Redis URL; nothing is embedded when set.", "redis://127.0.0.1:6379/0"
    )
    artifact_root: Path | None = setting("STILLROOM_ARTIFACTS", "Folder of artifacts; HOME/artifacts when empty.", None)
    max_batch_bytes: int = setting("STILLROOM_MAX_BATCH_BYTES", "Largest ingest batch, decompressed.", 4 * 1024 * 1024)
    max_batch_points: int = setting("STILLROOM_MAX_BATCH_POINTS", "Most points in one ingest batch.", 100_000)
    max_artifact_bytes: int = setting("STILLROOM_MAX_ARTIFACT_BYTES", "Largest single artifact.", 10 * 1024**3)
    max_keys: int = setting("STILLROOM_MAX_KEYS", "Most distinct metric keys in one run.", 10_000)
    ingest_batches_per_s: int = setting(
        "STILLROOM_INGEST_BATCHES_PER_S", "Ingest batches a second that one token or attempt may send.", 100
    )
    ingest_points_per_s: int = setting(
        "STILLROOM_INGEST_POINTS_PER_S", "Points a second that one organisation may send.", 1_000_000
    )
    ingest_bytes_per_s: int = setting(
        "STILLROOM_INGEST_BYTES_PER_S", "Bytes a second, as sent, that one organisation may ingest.", 64 * 1024**2
    )
    ingest_burst_s: int = setting("STILLROOM_INGEST_BURST_S", "Seconds of each ingest rate that may come at once.", 10)
    org_artifact_bytes: int = setting(
        "STILLROOM_ORG_ARTIFACT_BYTES", "Bytes of artifacts that one organisation may keep.", 1024**4
    )
    upload_days: int = setting("STILLROOM_UPLOAD_DAYS", "Days after which an unfinished upload is removed.", 2)
    trash_days: int = setting("STILLROOM_TRASH_DAYS", "Days that the trash keeps what was thrown away.", 30)
    max_import_bytes: int = setting(
        "STILLROOM_MAX_IMPORT_BYTES", "Largest project archive to import, packed and unpacked.", 20 * 1024**3
    )
    s3_bucket: str = setting("STILLROOM_S3_BUCKET", "Bucket of artifacts; a folder keeps them when empty.", "")
    s3_endpoint: str = setting("STILLROOM_S3_ENDPOINT_URL", "Address of an S3-compatible store that is not AWS.", "")
    s3_prefix: str = setting("STILLROOM_S3_PREFIX", "Prefix of the keys in the bucket.", "")
    s3_redirect: bool = setting("STILLROOM_S3_REDIRECT", "1 sends downloads to the store by presigned address.", False)
    lease_s: int = setting("STILLROOM_LEASE_S", "Seconds after which a silent attempt is given up.", 60)
    mlflow_lease_s: int = setting(
        "STILLROOM_MLFLOW_LEASE_S",
        "Seconds after which a silent MLflow run is LOST; its next write revives it.",
        21_600,
    )
    heartbeat_s: int = setting("STILLROOM_HEARTBEAT_S", "Seconds between two heartbeats of a node.", 10)
    grace_s: int = setting("STILLROOM_GRACE_S", "Seconds that a stopping run has for its last checkpoint.", 30)
    webhook_allow: tuple[str, ...] = setting(
        "STILLROOM_WEBHOOK_ALLOW",
        "Private hosts (name or name:port) and networks (CIDR) that webhooks may reach, comma separated.",
        (),
    )
    email_url: str = setting(
        "STILLROOM_EMAIL_URL",
        "Mail server: smtp://user:password@host:587 (STARTTLS), smtps://... (TLS), smtp+plain://... (neither). "
        "Without it mails are written to the log.",
        "",
    )
    email_from: str = setting("STILLROOM_EMAIL_FROM", "Sender of mails.", "stillroom@localhost")
    log_level: str = setting("STILLROOM_LOG_LEVEL", "debug, info, warning or error.", "info")
    log_json: bool = setting("STILLROOM_LOG_JSON", "1 writes logs as JSON lines.", False)

    def role_url(self, role: str) -> str:
        """The URL with which a process of that role connects: the explicit one, or derived from the owner's."""
        explicit = {
            "stillroom_app": self.database_app_url,
            "stillroom_sched": self.database_sched_url,
            "stillroom_admin": self.database_admin_url,
        }[role]
        if explicit:
            return explicit
        return role_url(self.database_url, role, self.secret_key) if self.database_url else ""

    @property
    def artifacts(self) -> Path:
        """Folder of the artifact store."""
        return self.artifact_root or self.home / "artifacts"


def role_password(role: str, secret_key: str) -> str:
    """The password of a database role: derived, so that no process needs more than its own URL."""
    digest = hmac.new(secret_key.encode(), role.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def role_url(database_url: str, role: str, secret_key: str) -> str:
    """`database_url` with another role and that role's derived password."""
    parts = urlsplit(database_url)
    host = parts.hostname or "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    address = f"{quote(role)}:{role_password(role, secret_key)}@{host}" + (f":{parts.port}" if parts.port else "")
    return urlunsplit((parts.scheme, address, parts.path, parts.query, ""))


def read(environ: Mapping[str, str] = os.environ) -> Env:
    """Parse the environment; raises EnvError."""
    values: dict[str, Any] = {}
    for item in fields(Env):
        name = item.metadata["name"]
        text = environ.get(name, "").strip()
        if text:
            values[item.name] = _parse(name, text, str(item.type))
    env = Env(**values)
    if env.secret_key and len(env.secret_key) < 32:
        raise EnvError("STILLROOM_SECRET_KEY must have at least 32 characters.")
    _check_networks(env.webhook_allow)
    if env.email_url and urlsplit(env.email_url).scheme not in MAIL_SCHEMES:
        raise EnvError(f"STILLROOM_EMAIL_URL must begin with one of {', '.join(MAIL_SCHEMES)}.")
    if env.heartbeat_s * 3 > env.lease_s:
        raise EnvError("STILLROOM_LEASE_S must be at least three times STILLROOM_HEARTBEAT_S.")
    return env


def _check_networks(entries: tuple[str, ...]) -> None:
    for entry in entries:
        if "/" in entry:
            try:
                ipaddress.ip_network(entry)
            except ValueError as error:
                raise EnvError(f"STILLROOM_WEBHOOK_ALLOW: {error}.") from None


def at_home(env: Env) -> Env:
    """`env`, completed by what an installation in its home keeps: the secret key, and its embedded servers' addresses.

    So that commands work beside a running `manage.py up` without any variable set. Explicit settings win.
    """
    kept, state = _json(env.home / "secrets.json"), _json(env.home / "state.json")
    ports = state.get("ports") or {}
    changes: dict[str, Any] = {}
    if not env.secret_key and kept.get("secret_key"):
        changes["secret_key"] = kept["secret_key"]
    if not (env.database_url or env.database_app_url) and ports.get("postgres"):
        password = quote(kept.get("postgres_password", ""), safe="")
        changes["database_url"] = f"postgresql://stillroom:{password}@127.0.0.1:{ports['postgres']}/stillroom"
    if env.redis_url == Env.redis_url and ports.get("valkey"):
        password = quote(kept.get("valkey_password", ""), safe="")
        changes["redis_url"] = f"redis://:{password}@127.0.0.1:{ports['valkey']}/0"
    return replace(env, **changes)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _parse(name: str, text: str, kind: str) -> Any:
    if kind == "bool":
        if text.lower() not in ("0", "1", "true", "false"):
            raise EnvError(f"{name} must be 0 or 1, not {text!r}.")
        return text.lower() in ("1", "true")
    if kind == "int":
        if not text.isdecimal() or int(text) < 1:
            raise EnvError(f"{name} must be a whole number above 0, not {text!r}.")
        return int(text)
    if kind.startswith("Path"):
        path = Path(text)
        return path if path.is_absolute() else REPOSITORY / path
    if kind.startswith("tuple"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if name.endswith("_URL") and not urlsplit(text).scheme:
        raise EnvError(f"{name} must be a URL, not {text!r}.")
    return text
