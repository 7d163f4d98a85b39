"""Organisations and their members."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminTextInputWidget

from stillroom.core.errors import StillroomError
from stillroom.core.tenancy import ADMIN
from stillroom.tenants.admin.base import (
    ConsoleAdmin,
    Question,
    ReadOnlyInline,
    actor_of,
    ask,
    attempt,
    moment,
    page,
    page_action,
    show_secret,
)
from stillroom.tenants.admin.changes import membership_add, membership_change
from stillroom.tenants.admin.wording import clock
from stillroom.tenants.models import Membership, Organisation, slug_is_plain
from stillroom.tenants.policies import Role
from stillroom.tenants.services import organisation_create


class OrganisationForm(forms.Form):
    """A new organisation and its owner."""

    name = forms.CharField(max_length=100, widget=UnfoldAdminTextInputWidget)
    slug = forms.CharField(
        max_length=48,
        validators=[slug_is_plain],
        help_text="Part of every address: lower-case letters, digits and hyphens. It cannot be changed later.",
        widget=UnfoldAdminTextInputWidget,
    )
    owner_email = forms.EmailField(
        label="Owner's e-mail",
        help_text="An account is made when there is none; its password is shown once.",
        widget=UnfoldAdminEmailInputWidget,
    )


class MemberInline(ReadOnlyInline):
    """The people of one organisation."""

    model = Membership
    fields = readonly_fields = ("user", "role", "since")
    verbose_name_plural = "Members"

    @admin.display(description="Since")
    def since(self, row: Membership) -> str:
        return clock(row.created_at)


@admin.register(Organisation)
class OrganisationAdmin(ConsoleAdmin):
    """Tenants: made here, read here. They are not deleted from the console."""

    plural = "Organisations"
    may_add = True
    list_display = ("name", "slug", "people", "made")
    search_fields = ("name", "slug", "id")
    search_help_text = "Name, slug or id"
    ordering = ("name",)
    fields = ("name", "slug", "id", moment("created_at", "Made"))
    inlines = (MemberInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return self.fields

    def get_queryset(self, request: HttpRequest) -> Any:
        count = Membership.objects.filter(tenant_id=models.OuterRef("pk")).order_by().values("tenant_id")
        number = models.Subquery(count.annotate(n=models.Count("id")).values("n"), output_field=models.IntegerField())
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.annotate(member_count=Coalesce(number, 0))

    @admin.display(description="Members", ordering="member_count")
    def people(self, row: Any) -> int:
        return int(row.member_count)

    @admin.display(description="Made", ordering="created_at")
    def made(self, row: Organisation) -> str:
        return clock(row.created_at)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make an organisation; a new owner's password is in the answer and nowhere else."""
        form = OrganisationForm(request.POST or None)
        frame = self.frame(request)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic(using=ADMIN):
                    values = form.cleaned_data
                    found, owner, password = organisation_create(actor=actor_of(request)["actor"], **values)
            except (StillroomError, ValidationError) as error:
                form.add_error(None, error.message)
            else:
                back = self.object_address(found.id)
                if password is None:
                    messages.success(request, f"{found.name} is made. {owner.email} owns it and keeps their password.")
                    return HttpResponseRedirect(back)
                lines = [("Address", f"/o/{found.slug}"), ("E-mail", owner.email), ("Password", password)]
                text = "Give these to the owner. The password is not stored in readable form and is not shown again."
                return show_secret(request, frame, f"{found.name} is made", lines=lines, text=text, back=back)
        return page(
            request,
            "console/form.html",
            frame,
            "New organisation",
            form=form,
            button="Make organisation",
            back=self.list_address(),
        )


@admin.register(Membership)
class MembershipAdmin(ConsoleAdmin):
    """Who belongs where, in which role."""

    plural = "Members"
    may_add = may_change = True
    list_display = ("user", "organisation", "role", "since")
    list_filter = ("role", "tenant")
    list_select_related = ("user", "tenant")
    search_fields = ("user__email", "user__name", "tenant__slug", "tenant__name")
    search_help_text = "Person or organisation"
    ordering = ("tenant__name", "user__email")
    fields = ("tenant", "user", "role")
    autocomplete_fields = ("user",)
    actions_detail: ClassVar[Any] = ("remove",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "user") if obj else ()

    @admin.display(description="Since", ordering="created_at")
    def since(self, row: Membership) -> str:
        return clock(row.created_at)

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        if change:
            membership_change(membership_id=obj.id, role=Role(obj.role), **actor_of(request))
        else:
            membership_add(membership=obj, **actor_of(request))

    @page_action("Remove…", url_path="remove")
    def remove(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End a membership, with a reason."""
        row = self.get_object(request, object_id)
        if row is None:
            return HttpResponseRedirect(self.list_address())
        question = Question(
            title=f"Remove {row.user.email} from {row.tenant.name}?",
            button="Remove member",
            back=self.object_address(object_id),
            effects=[(row.user.email, "Loses access. Their tokens of this organisation are revoked; their runs stay.")],
            danger=True,
        )
        reason = ask(request, self.frame(request), question)
        if not isinstance(reason, str):
            return reason

        def change() -> str:
            membership_change(membership_id=object_id, role=None, reason=reason, **actor_of(request))
            return f"{row.user.email} is no longer a member of {row.tenant.name}."

        done = attempt(request, change)
        return HttpResponseRedirect(self.list_address() if done else self.object_address(object_id))
