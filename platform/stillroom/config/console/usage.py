"""Device time by organisation and kind, between two days, as a page and as CSV."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from stillroom.config.console.hours import usage_by_tenant
from stillroom.tenants.admin.base import csv_response, page, record
from stillroom.tenants.admin.wording import HOUR, hours

DEFAULT_DAYS = 30
LONGEST_DAYS = 731


def _day(name: str) -> forms.DateField:
    return forms.DateField(label=name, widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}))


class SpanForm(forms.Form):
    """First and last day, both included, in UTC."""

    since = _day("From")
    until = _day("To")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        since, until = values.get("since"), values.get("until")
        if since and until and not 0 <= (until - since).days <= LONGEST_DAYS:
            raise forms.ValidationError(f"The last day comes after the first, at most {LONGEST_DAYS} days later.")
        return values


def _read(request: HttpRequest) -> tuple[SpanForm, date, date]:
    today = timezone.now().date()
    since, until = today - timedelta(days=DEFAULT_DAYS - 1), today
    form = SpanForm(request.GET if "since" in request.GET else {"since": since.isoformat(), "until": until.isoformat()})
    if form.is_valid():
        since, until = form.cleaned_data["since"], form.cleaned_data["until"]
    return form, since, until


def usage_page(request: HttpRequest, frame: dict[str, Any]) -> HttpResponse:
    """The table with sums by kind."""
    form, since, until = _read(request)
    rows = usage_by_tenant(since, until)
    totals: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        totals[row.kind] += row.device_seconds
    return page(
        request,
        "console/usage.html",
        frame,
        "Usage",
        form=form,
        since=since,
        until=until,
        rows=[(row, hours(row.device_seconds), 100 * row.device_seconds / (totals[row.kind] or 1)) for row in rows],
        totals=[(kind, hours(total)) for kind, total in sorted(totals.items())],
    )


def usage_csv(request: HttpRequest, frame: dict[str, Any]) -> HttpResponse:
    """The same rows as a file; exporting is recorded."""
    _, since, until = _read(request)
    rows = usage_by_tenant(since, until)
    span = {"since": since.isoformat(), "until": until.isoformat(), "rows": len(rows)}
    record(request, action="usage.export", object_id="usage_ledger", tenant_id=None, after=span)
    header = ("organisation", "name", "kind", "from", "to", "runs", "device_hours", "device_seconds")
    return csv_response(
        f"usage-{since}-{until}.csv",
        header,
        (
            (
                row.slug,
                row.tenant,
                row.kind,
                since.isoformat(),
                until.isoformat(),
                row.runs,
                round(row.device_seconds / HOUR, 4),
                round(row.device_seconds, 3),
            )
            for row in rows
        ),
    )
