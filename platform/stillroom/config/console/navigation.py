"""The sidebar."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from stillroom.config.console.selectors import queue

GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("", (("Overview", "speed", "index"), ("Queue", "schedule", "queue"))),
    (
        "Capacity",
        (
            ("Nodes", "dns", "scheduling_node_changelist"),
            ("Devices", "memory", "scheduling_device_changelist"),
            ("Kinds", "category", "scheduling_acceleratorkind_changelist"),
            ("Quotas", "balance", "scheduling_quota_changelist"),
            ("Usage", "bar_chart", "usage"),
        ),
    ),
    (
        "Tenants",
        (
            ("Organisations", "domain", "tenants_organisation_changelist"),
            ("Members", "group", "tenants_membership_changelist"),
            ("Tokens", "key", "tenants_apitoken_changelist"),
            ("Users", "person", "accounts_user_changelist"),
        ),
    ),
    (
        "Records",
        (
            ("Runs", "play_circle", "runs_run_changelist"),
            ("Benchmarks", "leaderboard", "boards_benchmark_changelist"),
            ("Audit trail", "history_edu", "tenants_auditentry_changelist"),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups with addresses; the queue carries its length."""
    return [{"title": title, "items": [_item(*entry) for entry in entries]} for title, entries in GROUPS]


def _item(title: str, icon: str, name: str) -> dict[str, Any]:
    item: dict[str, Any] = {"title": title, "icon": icon, "link": reverse(f"admin:{name}")}
    if name == "queue":
        item |= {"badge": queue().count(), "badge_variant": "primary"}
    return item


def style(request: HttpRequest) -> str:
    """The console's own style sheet."""
    return static("console/console.css")
