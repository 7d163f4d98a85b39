"""Quotas, edited with a preview of the effect on today's queue."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from stillroom.scheduling.models import AcceleratorKind, Allocation, Quota
from stillroom.scheduling.services.quotas import Effect, quota_effect, quota_remove, quota_set
from stillroom.tenants.admin.base import ConsoleAdmin, Question, actor_of, ask, attempt, page, page_action, plain_id
from stillroom.tenants.admin.wording import clock, plural
from stillroom.tenants.models import Organisation

MOST_DEVICES = 100_000


class QuotaForm(forms.Form):
    """A maximum. `previewed` remembers which values the person has seen the effect of."""

    tenant: forms.ModelChoiceField[Organisation] = forms.ModelChoiceField(
        None, label="Organisation", widget=UnfoldAdminSelectWidget, empty_label="Choose"
    )
    kind: forms.ModelChoiceField[AcceleratorKind] = forms.ModelChoiceField(
        None, label="Kind", widget=UnfoldAdminSelectWidget, empty_label="Choose"
    )
    max_devices = forms.IntegerField(
        min_value=0,
        max_value=MOST_DEVICES,
        label="Most devices at once",
        help_text="0 lets nothing start. Runs that hold devices already are never stopped by a quota.",
        widget=UnfoldAdminIntegerFieldWidget,
    )
    reason = forms.CharField(
        required=False, max_length=400, help_text="Recorded in the audit trail.", widget=UnfoldAdminTextInputWidget
    )
    previewed = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, row: Quota | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        organisations = self.fields["tenant"]
        kinds = self.fields["kind"]
        assert isinstance(organisations, forms.ModelChoiceField)
        assert isinstance(kinds, forms.ModelChoiceField)
        organisations.queryset = Organisation.objects.order_by("name")
        kinds.queryset = AcceleratorKind.objects.order_by("name")
        if row is not None:
            organisations.disabled = kinds.disabled = True
            self.initial.update(tenant=row.tenant_id, kind=row.kind_id, max_devices=row.max_devices)

    @property
    def values(self) -> dict[str, Any]:
        """What the service takes."""
        cleaned = self.cleaned_data
        return {
            "tenant_id": cleaned["tenant"].id,
            "kind": cleaned["kind"].name,
            "max_devices": cleaned["max_devices"],
        }

    @property
    def seen(self) -> str:
        """These values in one word."""
        return ":".join(str(value) for value in self.values.values())


def sentences(effect: Effect) -> list[str]:
    """The effect in words, the most important first."""
    old = "no maximum" if effect.old is None else str(effect.old)
    new = "no maximum" if effect.new is None else str(effect.new)
    said = [f"From {old} to {new}. The organisation holds {effect.held} now."]
    if effect.running_over:
        many = plural(len(effect.running_over), "running run is", "running runs are")
        said.append(f"{many} over the new maximum. They go on until they end; nothing new starts before.")
    if effect.never:
        many = plural(len(effect.never), "waiting run asks", "waiting runs ask")
        said.append(f"{many} for more than the new maximum and can then never start.")
    starts = sum(moved.after == "Starts now." for moved in effect.moved)
    waits = sum(moved.before == "Starts now." for moved in effect.moved)
    if starts:
        said.append(f"{plural(starts, 'waiting run starts', 'waiting runs start')} at once.")
    if waits:
        said.append(f"{plural(waits, 'run', 'runs')} that would start now {'waits' if waits == 1 else 'wait'} instead.")
    if not effect.moved and not effect.running_over:
        said.append(f"No waiting run is decided otherwise; {plural(effect.waiting, 'run waits', 'runs wait')} here.")
    return said


@admin.register(Quota)
class QuotaAdmin(ConsoleAdmin):
    """The most devices of a kind that an organisation may hold at once. Without a row only the capacity limits it."""

    may_add = may_change = True
    plural = "Quotas"
    list_display = ("organisation", "kind", "use", "changed")
    list_display_links = ("organisation",)
    list_filter = ("kind", "tenant")
    list_select_related = ("tenant", "kind")
    search_fields = ("tenant__name", "tenant__slug", "kind__name")
    search_help_text = "Organisation or kind"
    ordering = ("tenant__name", "kind")
    actions_row: ClassVar[Any] = ("remove",)

    def get_queryset(self, request: HttpRequest) -> Any:
        held = Allocation.objects.filter(
            tenant_id=models.OuterRef("tenant_id"), device__kind_id=models.OuterRef("kind_id"), to_at__isnull=True
        )
        count = held.order_by().values("tenant_id").annotate(n=models.Count("id")).values("n")
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.annotate(held=models.Subquery(count, output_field=models.IntegerField()))

    @admin.display(description="In use of maximum", ordering="max_devices")
    def use(self, row: Any) -> str:
        return f"{row.held or 0} of {row.max_devices}"

    @admin.display(description="Changed", ordering="updated_at")
    def changed(self, row: Quota) -> str:
        return clock(row.updated_at)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return self._edit(request, None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = Quota.objects.select_related("tenant").filter(id=plain_id(object_id)).first()
        return HttpResponseRedirect(self.list_address()) if row is None else self._edit(request, row)

    def _edit(self, request: HttpRequest, row: Quota | None) -> HttpResponse:
        """Preview first; the second press on the same values saves."""
        form = QuotaForm(request.POST or None, row=row, initial=request.GET.dict())
        effect = None
        if request.method == "POST" and form.is_valid():
            if "save" in request.POST and form.cleaned_data["previewed"] == form.seen:
                return self._save(request, form)
            effect = quota_effect(**form.values)
            form.data = {**request.POST.dict(), "previewed": form.seen}
        title = "New quota" if row is None else f"Quota of {row.tenant.name}, {row.kind_id}"
        names = dict(Organisation.objects.values_list("id", "name")) if effect and effect.moved else {}
        return page(
            request,
            "console/quota.html",
            self.frame(request),
            title,
            form=form,
            row=row,
            effect=effect,
            sentences=sentences(effect) if effect else [],
            moved=[(moved, names[moved.tenant_id]) for moved in effect.moved[:50]] if effect else [],
            back=self.list_address(),
        )

    def _save(self, request: HttpRequest, form: QuotaForm) -> HttpResponse:
        def change() -> str:
            quota_set(reason=form.cleaned_data["reason"], **form.values, **actor_of(request))
            organisation, kind = form.cleaned_data["tenant"], form.cleaned_data["kind"]
            return f"{organisation.name} may hold {form.cleaned_data['max_devices']} {kind.name}."

        attempt(request, change)
        return HttpResponseRedirect(self.list_address())

    @page_action("Remove…", url_path="remove")
    def remove(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Back to no maximum, with the effect shown first."""
        row = Quota.objects.select_related("tenant").filter(id=object_id).first()
        if row is None:
            return HttpResponseRedirect(self.list_address())
        effect = quota_effect(tenant_id=row.tenant_id, kind=row.kind_id, max_devices=None)
        question = Question(
            title=f"Remove the maximum of {row.tenant.name} for {row.kind_id}?",
            button="Remove quota",
            back=self.list_address(),
            effects=[(row.tenant.name, said) for said in sentences(effect)],
        )
        reason = ask(request, self.frame(request), question)
        if not isinstance(reason, str):
            return reason

        def change() -> str:
            quota_remove(quota_id=object_id, reason=reason, **actor_of(request))
            return f"{row.tenant.name} has no maximum for {row.kind_id} any more."

        attempt(request, change)
        return HttpResponseRedirect(self.list_address())
