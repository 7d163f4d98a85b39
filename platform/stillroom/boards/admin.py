"""Benchmarks of all organisations, to look at: what they rank by is frozen."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from stillroom.boards.models import Benchmark
from stillroom.tenants.admin.base import ConsoleAdmin, moment
from stillroom.tenants.admin.wording import clock


@admin.register(Benchmark)
class BenchmarkAdmin(ConsoleAdmin):
    """Read-only. Organisations make and remove their own."""

    plural = "Benchmarks"
    list_display = ("name", "version", "organisation", "recipe", "rule", "seeds", "made")
    list_filter = ("recipe", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("name", "recipe", "metric", "tenant__slug")
    search_help_text = "Name, recipe, metric or organisation"
    ordering = ("tenant__name", "name", "-version")
    fields = (
        "name",
        "version",
        "id",
        "organisation",
        "recipe",
        "rule",
        "target",
        "seeds",
        "description",
        "frozen_shown",
        moment("created_at", "Made"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return self.fields

    @admin.display(description="Ranks by")
    def rule(self, row: Benchmark) -> str:
        return f"{row.reduce} of {row.metric}, {'lower' if row.goal == 'min' else 'higher'} is better"

    @admin.display(description="Frozen")
    def frozen_shown(self, row: Benchmark) -> SafeString:
        return format_html('<pre class="console-code">{}</pre>', json.dumps(row.frozen, indent=2, sort_keys=True))

    @admin.display(description="Made", ordering="created_at")
    def made(self, row: Benchmark) -> str:
        return clock(row.created_at)
