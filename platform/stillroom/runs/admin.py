"""Runs of all organisations: a list, and one run with its history. Looking at one run is recorded."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from stillroom.runs.models import Attempt, Run, RunEvent
from stillroom.tenants.admin.base import ConsoleAdmin, moment, page_action, plain_id, record
from stillroom.tenants.admin.wording import NOTHING, age, clock

EVENTS_SHOWN = 200
_LOOKS = {
    "RUNNING": ("alive", "◉"),
    "ASSIGNED": ("alive", "◐"),
    "STARTING": ("alive", "◐"),
    "STOPPING": ("alive", "◐"),
    "QUEUED": ("quiet", "◷"),
    "HELD": ("quiet", "‖"),
    "SUCCEEDED": ("quiet", "✓"),
    "FAILED": ("bad", "✕"),
    "LOST": ("warn", "▲"),
    "CANCELLED": ("quiet", "⊘"),
}


def act_address(act: str, run_ids: list[str], back: str) -> str:
    """The page that asks for a reason and then acts."""
    query = urlencode({"run": run_ids, "next": back}, doseq=True)
    return f"{reverse('admin:act', args=[act])}?{query}"


@admin.register(Run)
class RunAdmin(ConsoleAdmin):
    """Read-only: a run's spec and results belong to its organisation."""

    plural = "Runs"
    list_display = ("id", "label", "organisation", "project", "chip", "asks", "why", "waited", "made")
    list_filter = ("state", "req_kind", "tenant", "recipe", "created_at")
    list_select_related = ("tenant", "project")
    search_fields = ("id", "name", "recipe", "tenant__slug", "tenant__name", "project__slug")
    search_help_text = "Id, name, recipe, organisation or project"
    ordering = ("-created_at", "-id")
    show_full_result_count = False
    fields = (
        "name",
        "id",
        "organisation",
        "project",
        "study",
        "created_by",
        "chip",
        "reason_shown",
        "asks",
        "priority",
        "attempts_used",
        "node_name",
        "recipe",
        "seed",
        "spec_shown",
        moment("created_at", "Submitted"),
        moment("started_at", "Started"),
        moment("ended_at", "Ended"),
    )
    actions: ClassVar[Any] = ("cancel_runs", "pause_runs", "bump_runs")
    actions_detail: ClassVar[Any] = ("bump", "pause", "release", "cancel")
    change_form_outer_after_template = "console/run_history.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return self.fields

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what can be done to a run in this state."""
        run = Run.objects.filter(id=plain_id(object_id)).first()
        able = {"bump", "pause", "cancel"} if run is not None and run.state == "QUEUED" else {"release", "cancel"}
        if run is None or run.is_terminal:
            able = set()
        elif run.is_active:
            able = {"cancel"} if run.external else {"pause", "cancel"}
        found = super().get_actions_detail(request, object_id)
        return [entry for entry in found if entry.action_name.rpartition("_")[2] in able]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One run in detail. Writes that it was read, by whom, into the organisation's trail."""
        run = Run.objects.filter(id=plain_id(object_id)).first()
        more: dict[str, Any] = dict(extra_context or {})
        if run is not None:
            record(request, action="run.read", object_id=run.id, tenant_id=run.tenant_id)
            more["events"] = RunEvent.objects.filter(run=run).order_by("-id")[:EVENTS_SHOWN]
            more["attempts"] = Attempt.objects.filter(run=run).order_by("-epoch")
        response: HttpResponse = super().change_view(request, object_id, form_url, more)
        return response

    @admin.display(description="Name", ordering="name")
    def label(self, row: Run) -> str:
        return row.name[:60]

    @admin.display(description="State", ordering="state")
    def chip(self, row: Run) -> SafeString:
        look, glyph = _LOOKS[row.state]
        word = row.state.capitalize()
        if row.intent != "run" and not row.is_terminal:
            word = f"{word}, asked to {row.intent}"
        return format_html(
            '<span class="console-state console-{}"><span aria-hidden="true">{}</span> {}</span>', look, glyph, word
        )

    @admin.display(description="Asks for")
    def asks(self, row: Run) -> str:
        return f"{row.req_devices} {row.req_kind}"

    @admin.display(description="Why")
    def why(self, row: Run) -> str:
        return (row.waiting if row.state in ("QUEUED", "HELD") else row.reason)[:120] or NOTHING

    @admin.display(description="Reason")
    def reason_shown(self, row: Run) -> str:
        return (row.waiting if row.state in ("QUEUED", "HELD") else row.reason) or NOTHING

    @admin.display(description="Attempts")
    def attempts_used(self, row: Run) -> str:
        return f"{row.attempt} of {row.max_attempts}"

    @admin.display(description="Spec")
    def spec_shown(self, row: Run) -> SafeString:
        return format_html('<pre class="console-code">{}</pre>', json.dumps(row.spec, indent=2, sort_keys=True))

    @admin.display(description="Waits")
    def waited(self, row: Run) -> str:
        return age(row.created_at) if row.state in ("QUEUED", "HELD") else NOTHING

    @admin.display(description="Submitted", ordering="created_at")
    def made(self, row: Run) -> str:
        return clock(row.created_at)

    def _many(self, act: str, queryset: models.QuerySet[Run]) -> HttpResponse:
        return HttpResponseRedirect(act_address(act, list(queryset.values_list("id", flat=True)), self.list_address()))

    @admin.action(description="Cancel…")
    def cancel_runs(self, request: HttpRequest, queryset: models.QuerySet[Run]) -> HttpResponse:
        return self._many("cancel", queryset)

    @admin.action(description="Pause or hold…")
    def pause_runs(self, request: HttpRequest, queryset: models.QuerySet[Run]) -> HttpResponse:
        return self._many("pause", queryset)

    @admin.action(description="Move up in the queue…")
    def bump_runs(self, request: HttpRequest, queryset: models.QuerySet[Run]) -> HttpResponse:
        return self._many("bump", queryset)

    def _one(self, act: str, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(act_address(act, [object_id], self.object_address(object_id)))

    @page_action("Move up…", url_path="bump")
    def bump(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._one("bump", object_id)

    @page_action("Pause or hold…", url_path="pause")
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._one("pause", object_id)

    @page_action("Release…", url_path="release")
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._one("release", object_id)

    @page_action("Cancel…", url_path="cancel")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._one("cancel", object_id)
