"""The audit trail: read, searched, exported; never changed."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from stillroom.tenants.admin.base import ConsoleAdmin, csv_response, record
from stillroom.tenants.admin.wording import NOTHING, stamp
from stillroom.tenants.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ConsoleAdmin):
    """Every change and every look into one organisation's runs: who, when, from where, why."""

    plural = "Audit trail"
    list_display = ("when", "actor", "action", "object_id", "organisation", "change", "reason")
    list_filter = ("tenant", "action", "at")
    list_select_related = ("tenant",)
    search_fields = ("actor", "action", "object_id", "reason")
    search_help_text = "Person, action, object or reason"
    ordering = ("-id",)
    show_full_result_count = False
    date_hierarchy = "at"
    fields = ("when", "actor", "actor_ip", "action", "object_id", "organisation", "was", "became", "reason")
    list_before_template = "console/export_link.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields

    def get_urls(self) -> list[URLPattern]:
        """Adds the export."""
        export = path("export.csv", self.admin_site.admin_view(self.export), name="tenants_auditentry_export")
        return [export, *super().get_urls()]

    @admin.display(description="When (UTC)", ordering="id")
    def when(self, row: AuditEntry) -> str:
        return stamp(row.at)

    @admin.display(description="Change")
    def change(self, row: AuditEntry) -> str:
        """What became different, in one line."""
        before, after = row.before or {}, row.after or {}
        pairs = [
            f"{key}: {before[key]} → {after.get(key, NOTHING)}" if key in before else f"{key}: {after[key]}"
            for key in {**before, **after}
            if before.get(key) != after.get(key)
        ]
        return ", ".join(pairs)[:160] or NOTHING

    @admin.display(description="Before")
    def was(self, row: AuditEntry) -> SafeString | str:
        return _pretty(row.before)

    @admin.display(description="After")
    def became(self, row: AuditEntry) -> SafeString | str:
        return _pretty(row.after)

    def export(self, request: HttpRequest) -> HttpResponse:
        """The rows that the list shows, as CSV. Exporting is itself recorded."""
        rows = list(self.filtered(request))
        record(request, action="audit.export", object_id="audit_log", tenant_id=None, after={"rows": len(rows)})
        header = ("id", "at", "actor", "actor_ip", "action", "object", "organisation", "before", "after", "reason")
        return csv_response(
            "audit.csv",
            header,
            (
                (
                    row.id,
                    row.at.isoformat(),
                    row.actor,
                    row.actor_ip or "",
                    row.action,
                    row.object_id,
                    "" if row.tenant is None else row.tenant.slug,
                    "" if row.before is None else json.dumps(row.before, sort_keys=True),
                    "" if row.after is None else json.dumps(row.after, sort_keys=True),
                    row.reason,
                )
                for row in rows
            ),
        )


def _pretty(value: Any) -> SafeString | str:
    if value is None:
        return NOTHING
    return format_html('<pre class="console-code">{}</pre>', json.dumps(value, indent=2, sort_keys=True))
