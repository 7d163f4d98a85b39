"""Accounts and API tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from stillroom.accounts.models import User
from stillroom.core.errors import StillroomError
from stillroom.core.tenancy import ADMIN
from stillroom.tenants.admin.base import (
    ConsoleAdmin,
    Question,
    actor_of,
    ask,
    attempt,
    moment,
    page_action,
    show_secret,
)
from stillroom.tenants.admin.changes import token_end, user_change, user_reset_password
from stillroom.tenants.admin.wording import NOTHING, clock
from stillroom.tenants.models import ApiToken

LABELS = {
    "is_active": ("Active", "Switch off instead of deleting: the account can then not sign in, its history stays."),
    "is_staff": ("Administrator", "May enter this console, and so see and act in every organisation."),
}


@admin.register(User)
class UserAdmin(ConsoleAdmin):
    """Accounts: who may sign in, who is an administrator. Accounts come to be by invitation into an organisation."""

    plural = "Users"
    may_change = True
    list_display = ("email", "name", "active", "administrator", "signed_in")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name", "id")
    search_help_text = "E-mail, name or id"
    ordering = ("email",)
    readonly_fields = ("email", moment("last_login", "Last sign-in"), moment("created_at", "Made"))
    fields = ("email", "name", "is_active", "is_staff", *readonly_fields[1:])
    actions_detail: ClassVar[Any] = ("reset_password",)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in LABELS:
            kwargs["label"], kwargs["help_text"] = LABELS[db_field.name]
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.display(description="Active", boolean=True, ordering="is_active")
    def active(self, row: User) -> bool:
        return row.is_active

    @admin.display(description="Administrator", boolean=True, ordering="is_staff")
    def administrator(self, row: User) -> bool:
        return row.is_staff

    @admin.display(description="Last sign-in", ordering="last_login")
    def signed_in(self, row: User) -> str:
        return clock(row.last_login)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        user_change(user=obj, **actor_of(request))

    @page_action("Reset password…", url_path="password-reset")
    def reset_password(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A generated password, shown once."""
        row = self.get_object(request, object_id)
        if row is None:
            return HttpResponseRedirect(self.list_address())
        frame, back = self.frame(request), self.object_address(object_id)
        question = Question(
            title=f"Reset the password of {row.email}?",
            button="Reset password",
            back=back,
            effects=[(row.email, "Gets a generated password, shown to you once. Every session of theirs ends.")],
        )
        reason = ask(request, frame, question)
        if not isinstance(reason, str):
            return reason
        try:
            with transaction.atomic(using=ADMIN):
                user, password = user_reset_password(user_id=object_id, reason=reason, **actor_of(request))
        except StillroomError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(back)
        lines = [("E-mail", user.email), ("Password", password)]
        text = "Give it to the person over a channel you trust. It is not shown again."
        return show_secret(request, frame, "A new password", lines=lines, text=text, back=back)


class StateFilter(admin.SimpleListFilter):
    """Usable, revoked or expired tokens."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("revoked", "Revoked"), ("open", "Not revoked")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        wanted = self.value()
        return queryset if wanted is None else queryset.filter(revoked_at__isnull=wanted == "open")


@admin.register(ApiToken)
class ApiTokenAdmin(ConsoleAdmin):
    """Tokens of all organisations. Their secrets are not here: only a hash is stored, and it is never shown."""

    plural = "Tokens"
    list_display = ("name", "user", "organisation", "may", "state", "used", "ends")
    list_filter = (StateFilter, "tenant")
    list_select_related = ("user", "tenant")
    search_fields = ("name", "id", "user__email", "tenant__slug")
    search_help_text = "Name, id, person or organisation"
    ordering = ("-created_at",)
    fields = (
        "name",
        "id",
        "user",
        "organisation",
        "may",
        "state",
        moment("created_at", "Made"),
        moment("expires_at", "Expires"),
        moment("last_used_at", "Last used"),
        moment("revoked_at", "Revoked"),
    )
    actions_detail: ClassVar[Any] = ("revoke",)
    actions_row: ClassVar[Any] = ("revoke",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return self.fields

    @admin.display(description="Scopes")
    def may(self, row: ApiToken) -> str:
        return ", ".join(row.scopes) or NOTHING

    @admin.display(description="State")
    def state(self, row: ApiToken) -> str:
        return "revoked" if row.revoked_at else "usable" if row.is_usable else "expired"

    @admin.display(description="Last used", ordering="last_used_at")
    def used(self, row: ApiToken) -> str:
        return clock(row.last_used_at)

    @admin.display(description="Expires", ordering="expires_at")
    def ends(self, row: ApiToken) -> str:
        return row.expires_at.strftime("%-d %b %Y")

    @page_action("Revoke…", url_path="revoke")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End a token, with a reason."""
        row = self.get_object(request, object_id)
        if row is None:
            return HttpResponseRedirect(self.list_address())
        question = Question(
            title=f"Revoke the token {row.name}?",
            button="Revoke token",
            back=self.list_address(),
            effects=[(f"{row.name} of {row.user.email}", f"Stops working in {row.tenant.name} at once, for good.")],
            danger=True,
        )
        reason = ask(request, self.frame(request), question)
        if not isinstance(reason, str):
            return reason

        def change() -> str:
            token_end(token_id=object_id, reason=reason, **actor_of(request))
            return f"The token {row.name} is revoked."

        attempt(request, change)
        return HttpResponseRedirect(self.list_address())
