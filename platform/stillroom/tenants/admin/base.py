"""What all pages of the console share: who may enter, confirmation with a reason, secrets shown once, CSV.

The audit trail is the console's only log: Django's own entries are not written, its history page leads to the trail.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from stillroom.core.errors import StillroomError
from stillroom.core.ids import ALPHABET, DIGITS
from stillroom.core.tenancy import ADMIN
from stillroom.tenants.admin.wording import NOTHING, stamp
from stillroom.tenants.callers import client_ip
from stillroom.tenants.services import audit

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
EXPORT_ROWS = 100_000
ID = re.compile(rf"\A[a-z]_[{ALPHABET}]{{{DIGITS}}}\Z")


def actor_of(request: HttpRequest) -> dict[str, Any]:
    """`actor` and `actor_ip` as services take them."""
    return {"actor": request.user.email, "actor_ip": client_ip(request)}  # type: ignore[union-attr]


def record(request: HttpRequest, *, action: str, object_id: str, tenant_id: str | None, **more: Any) -> None:
    """An audit entry by the person who sent this request."""
    audit(action=action, object_id=object_id, tenant_id=tenant_id, **actor_of(request), **more)


def own_path(address: str | None, otherwise: str) -> str:
    """An address of the console that a form may return to; never another site."""
    return address if address and address.startswith("/admin/") and "\\" not in address else otherwise


def attempt(request: HttpRequest, change: Callable[[], str]) -> bool:
    """Do a change in a savepoint and say how it went; a refusal leaves nothing behind."""
    try:
        with transaction.atomic(using=ADMIN):
            said = change()
    except StillroomError as error:
        messages.error(request, error.message)
        return False
    messages.success(request, said)
    return True


def plain_id(part: str) -> str:
    """An object's id from a part of an address, in Django's quoted form or as it is.

    Django quotes the underscore as `_5F`, and would take the start of an id such as `n_3D00000000` for a quoted
    character.
    """
    return part if ID.match(part) else unquote(part)


class ReasonForm(forms.Form):
    """Why. Shown to whoever reads the trail, and to the tenant where a run is concerned."""

    reason = forms.CharField(max_length=400, label="Reason", widget=UnfoldAdminTextInputWidget)

    def __init__(self, *args: Any, optional: bool = False, help_text: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = not optional
        self.fields["reason"].help_text = help_text


@dataclass(frozen=True, slots=True)
class Question:
    """What a confirmation page asks. `effects` are pairs of a thing and what happens to it."""

    title: str
    button: str
    back: str
    text: str = ""
    effects: Sequence[tuple[str, str]] = ()
    help_text: str = "Recorded in the audit trail."
    optional: bool = True
    danger: bool = False
    hidden: Sequence[tuple[str, str]] = field(default_factory=tuple)


def page(request: HttpRequest, template: str, frame: dict[str, Any], title: str, **context: Any) -> TemplateResponse:
    """A page of the console outside Django's list and form."""
    return TemplateResponse(request, template, {**frame, "title": title, "content_title": title, **context})


def ask(request: HttpRequest, frame: dict[str, Any], question: Question) -> str | TemplateResponse:
    """The reason, once confirmed; until then the page that asks for it."""
    form = ReasonForm(request.POST or None, optional=question.optional, help_text=question.help_text)
    if request.method == "POST" and form.is_valid():
        return str(form.cleaned_data["reason"])
    return page(request, "console/confirm.html", frame, question.title, form=form, question=question)


def show_secret(
    request: HttpRequest, frame: dict[str, Any], title: str, *, lines: Sequence[tuple[str, str]], text: str, back: str
) -> HttpResponse:
    """A page with something that is never shown again; no cache keeps it."""
    response = page(request, "console/secret.html", frame, title, lines=lines, text=text, back=back)
    response["Cache-Control"] = "no-store"
    return response


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
    """A CSV file. Text that a spreadsheet would take for a formula is made plain text."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    writer = csv.writer(response)
    writer.writerow(header)
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    return response


def _plain(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


View = TypeVar("View", bound=Callable[..., Any])


def page_action(description: str, *, url_path: str) -> Callable[[View], View]:
    """A link of a row and of an object's page to a view of its own; the view asks before it acts."""

    def decorate(view: View) -> View:
        @wraps(view)
        def with_plain_id(self: Any, request: HttpRequest, object_id: str) -> Any:
            return view(self, request, plain_id(object_id))

        return cast(View, action(description=description, url_path=url_path)(with_plain_id))

    return decorate


def moment(name: str, label: str) -> Callable[[Any], str]:
    """A field of a form that shows a point in time in full."""

    @admin.display(description=f"{label} (UTC)")
    def shown(row: Any) -> str:
        return stamp(getattr(row, name))

    return shown


class ConsoleAdmin(ModelAdmin):  # type: ignore[misc]
    """A read-only model of the console, open to staff. Nothing is deleted here; what may change says so itself."""

    list_per_page = 50
    list_fullwidth = True
    list_filter_sheet = True
    compressed_fields = True
    actions: ClassVar[Any] = ()
    change_list_template = "console/change_list.html"
    change_form_template = "console/change_form.html"
    plural = ""
    may_add = False
    may_change = False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows

    @admin.display(description="Organisation", ordering="tenant__name")
    def organisation(self, row: Any) -> str:
        return row.tenant.name if row.tenant else NOTHING

    def _is_staff(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._is_staff(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_staff(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.may_add and self._is_staff(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_change and self._is_staff(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The service has written the audit entry."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The service has written the audit entry."""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponseRedirect:
        """What the audit trail says about this object."""
        return HttpResponseRedirect(
            f"{reverse('admin:tenants_auditentry_changelist')}?{urlencode({'q': plain_id(object_id)})}"
        )

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Django's form; a service's refusal becomes a message above it instead of an error page."""
        more = {
            "owner": self,
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
            **(extra_context or {}),
        }
        if object_id is not None:
            object_id = quote(plain_id(object_id))
        try:
            response: HttpResponse = super().changeform_view(request, object_id, form_url, more)
        except StillroomError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(request.get_full_path())
        return response

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Django's list under this console's title."""
        more = {"owner": self, "title": self.plural, **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, more)
        return response

    def frame(self, request: HttpRequest) -> dict[str, Any]:
        """What surrounds a page of this model."""
        return {**self.admin_site.each_context(request), "owner": self}

    def list_address(self) -> str:
        """The address of this model's list."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def object_address(self, object_id: str) -> str:
        """The address of one object's page."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(object_id)])

    def filtered(self, request: HttpRequest) -> models.QuerySet[Any]:
        """The rows that the list shows under the address's filters, all pages."""
        rows: models.QuerySet[Any] = self.get_changelist_instance(request).queryset
        return rows[:EXPORT_ROWS]


class ReadOnlyInline(TabularInline):  # type: ignore[misc]
    """Rows of another model, to look at."""

    extra = 0
    hide_title = True
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True
