"""Nodes, their devices, and the kinds of devices."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from stillroom.core.errors import StillroomError
from stillroom.core.tenancy import ADMIN
from stillroom.scheduling.admin.states import device_state, node_state
from stillroom.scheduling.models import AcceleratorKind, Allocation, Device, Node
from stillroom.scheduling.services.node_control import device_set_status, kind_save, node_runs, node_set_status
from stillroom.scheduling.services.nodes import node_create
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
    plain_id,
    show_secret,
)
from stillroom.tenants.admin.wording import NOTHING, age, memory, plural

name_is_plain = RegexValidator(
    r"\A[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?\Z", "Use 1 to 64 letters, digits, dots and hyphens."
)


class NodeForm(forms.Form):
    """The name of a new node."""

    name = forms.CharField(
        max_length=64,
        validators=[name_is_plain],
        help_text="For example h100-05. The machine's own host name is reported when it attaches.",
        widget=UnfoldAdminTextInputWidget,
    )


def attach_command(token: str) -> str:
    """What to run on the machine."""
    url = shlex.quote(settings.ENV.public_url)
    return f"STILLROOM_URL={url} STILLROOM_NODE_TOKEN={token} python -m workers"


def with_holder(devices: models.QuerySet[Any]) -> Any:
    """Devices with `run_id`: the run that holds each now."""
    held = Allocation.objects.filter(device_id=models.OuterRef("pk"), to_at__isnull=True)
    return devices.annotate(run_id=models.Subquery(held.values("run_id")[:1]))


class DeviceInline(ReadOnlyInline):
    """The devices of one node."""

    model = Device
    fields = readonly_fields = ("kind", "index", "name", "size", "state")
    ordering = ("kind", "index")
    verbose_name_plural = "Devices"

    def get_queryset(self, request: HttpRequest) -> Any:
        return with_holder(super().get_queryset(request))

    @admin.display(description="Memory")
    def size(self, row: Device) -> str:
        return memory(row.memory_bytes)

    @admin.display(description="State")
    def state(self, row: Any) -> SafeString:
        return device_state(row, held=bool(row.run_id))


@admin.register(Node)
class NodeAdmin(ConsoleAdmin):
    """Machines: attach, cordon, drain. A node's row stays, because history refers to it."""

    plural = "Nodes"
    may_add = True
    list_display = ("name", "state", "beat", "device_count", "hostname", "version")
    list_filter = ("status",)
    search_fields = ("name", "hostname", "id")
    search_help_text = "Name, host name or id"
    ordering = ("name",)
    fields = ("name", "id", "state", "beat", "hostname", "version", "labels", moment("created_at", "Made"))
    inlines = (DeviceInline,)
    actions_detail: ClassVar[Any] = ("cordon", "uncordon", "drain", "renew")
    actions_row: ClassVar[Any] = ("cordon", "uncordon", "drain", "renew")

    def get_queryset(self, request: HttpRequest) -> Any:
        there = ~models.Q(devices__status=Device.Status.GONE)
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.annotate(n=models.Count("devices", filter=there))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return self.fields

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what changes something."""
        node = Node.objects.filter(id=plain_id(object_id)).first()
        hidden = {"uncordon"} if node is None or node.status == Node.Status.READY else {"cordon"}
        found = super().get_actions_detail(request, object_id)
        return [entry for entry in found if entry.action_name.rpartition("_")[2] not in hidden]

    @admin.display(description="State", ordering="status")
    def state(self, row: Node) -> SafeString:
        return node_state(row)

    @admin.display(description="Last heartbeat", ordering="heartbeat_at")
    def beat(self, row: Node) -> str:
        return "never" if row.heartbeat_at is None else f"{age(row.heartbeat_at)} ago"

    @admin.display(description="Devices", ordering="n")
    def device_count(self, row: Any) -> int:
        return int(row.n)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Register a node; the answer carries the command with its token, once."""
        form = NodeForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic(using=ADMIN):
                    node, token = node_create(name=form.cleaned_data["name"], actor=actor_of(request)["actor"])
            except StillroomError as error:
                form.add_error("name", error.message)
            else:
                return self._command(request, f"{node.name} is registered", node, token)
        return page(
            request,
            "console/form.html",
            self.frame(request),
            "Attach a node",
            form=form,
            button="Register node",
            back=self.list_address(),
            text="Registering makes a token. The next page shows the one command to run on the machine.",
        )

    def _command(self, request: HttpRequest, title: str, node: Node, token: str) -> HttpResponse:
        return show_secret(
            request,
            self.frame(request),
            title,
            lines=[("Run this on the machine", attach_command(token))],
            text="The command carries the node's token. It is not shown again; a new token can be made any time. "
            "The node appears as ready within seconds of its start.",
            back=self.object_address(node.id),
        )

    def _change(self, request: HttpRequest, node_id: str, question: Question, status: Node.Status) -> HttpResponse:
        reason = ask(request, self.frame(request), question)
        if not isinstance(reason, str):
            return reason

        def change() -> str:
            node, moved = node_set_status(node_id=node_id, status=status, reason=reason, **actor_of(request))
            said = f"{node.name} is {node.status}."
            return f"{said} {plural(moved, 'run was', 'runs were')} asked to move." if moved else said

        attempt(request, change)
        return HttpResponseRedirect(self.object_address(node_id))

    @page_action("Cordon…", url_path="cordon")
    def cordon(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """No new runs."""
        back, node = self.object_address(object_id), self._node(object_id)
        effects = [(node.name, "Takes no new run. What runs there goes on.")]
        question = Question(title=f"Cordon {node.name}?", button="Cordon node", back=back, effects=effects)
        return self._change(request, object_id, question, Node.Status.CORDONED)

    @page_action("Uncordon…", url_path="uncordon")
    def uncordon(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Runs again."""
        back, node = self.object_address(object_id), self._node(object_id)
        effects = [(node.name, "Takes runs again at the next decision.")]
        question = Question(title=f"Uncordon {node.name}?", button="Uncordon node", back=back, effects=effects)
        return self._change(request, object_id, question, Node.Status.READY)

    @page_action("Drain…", url_path="drain")
    def drain(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """No new runs, and those that run there move."""
        node, runs = self._node(object_id), node_runs(object_id)
        effects = [(node.name, "Takes no new run.")]
        effects += [
            (f"{run.id} of {run.tenant.name}", "Saves a checkpoint and goes back to the queue.") for run in runs
        ]
        question = Question(
            title=f"Drain {node.name}?",
            button=f"Drain node, move {plural(len(runs), 'run')}" if runs else "Drain node",
            back=self.object_address(object_id),
            effects=effects,
            optional=False,
            help_text="Recorded in the audit trail and in the history of each run, where its organisation reads it.",
            danger=bool(runs),
        )
        return self._change(request, object_id, question, Node.Status.DRAINING)

    @page_action("New token…", url_path="renew")
    def renew(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Replace the token; the old one ends."""
        node = self._node(object_id)
        question = Question(
            title=f"Make a new token for {node.name}?",
            button="Make a new token",
            back=self.object_address(object_id),
            effects=[(node.name, "The old token ends at once. The agent must be started again with the new command.")],
        )
        reason = ask(request, self.frame(request), question)
        if not isinstance(reason, str):
            return reason
        _, token = node_create(name=node.name, actor=actor_of(request)["actor"], renew=True)
        return self._command(request, f"A new token for {node.name}", node, token)

    def _node(self, node_id: str) -> Node:
        return Node.objects.get(id=node_id)


@admin.register(Device)
class DeviceAdmin(ConsoleAdmin):
    """Devices of all nodes: who holds them, and whether they are in service."""

    plural = "Devices"
    list_display = ("label", "kind", "size", "state", "run")
    list_filter = ("status", "kind", "node")
    list_select_related = ("node", "kind")
    search_fields = ("node__name", "name", "kind__name", "id")
    search_help_text = "Node, kind or name"
    ordering = ("node__name", "kind", "index")
    fields = ("node", "kind", "index", "name", "size", "state", "id")
    actions_detail: ClassVar[Any] = ("quarantine", "broken", "release")
    actions_row: ClassVar[Any] = ("quarantine", "broken", "release")

    def get_queryset(self, request: HttpRequest) -> Any:
        return with_holder(super().get_queryset(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return self.fields

    @admin.display(description="Device", ordering="node__name")
    def label(self, row: Device) -> str:
        return f"{row.node.name} / {row.index}"

    @admin.display(description="Memory")
    def size(self, row: Device) -> str:
        return memory(row.memory_bytes)

    @admin.display(description="State", ordering="status")
    def state(self, row: Any) -> SafeString:
        return device_state(row, held=bool(row.run_id))

    @admin.display(description="Held by")
    def run(self, row: Any) -> str:
        return row.run_id or NOTHING

    def _set(self, status: Device.Status, verb: str, effect: str) -> Callable[[HttpRequest, str], HttpResponse]:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            device = Device.objects.select_related("node").get(id=object_id)
            label = f"{device.node.name} / {device.index}"
            question = Question(
                title=f"{verb.format(label)}?",
                button=verb.format("device"),
                back=self.list_address(),
                effects=[(f"{label}, {device.kind_id}", effect)],
            )
            reason = ask(request, self.frame(request), question)
            if not isinstance(reason, str):
                return reason

            def change() -> str:
                device_set_status(device_id=object_id, status=status, reason=reason, **actor_of(request))
                return f"{label} is {status.value}."

            attempt(request, change)
            return HttpResponseRedirect(self.list_address())

        return view

    @page_action("Quarantine…", url_path="quarantine")
    def quarantine(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Set aside until its node reports it clean."""
        effect = "Takes no new run until its node reports that nothing of an earlier run is left on it."
        return self._set(Device.Status.QUARANTINED, "Quarantine {}", effect)(request, object_id)

    @page_action("Mark broken…", url_path="broken")
    def broken(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Set aside until an administrator says otherwise."""
        effect = "Takes no run until an administrator releases it, also after its node was restarted."
        return self._set(Device.Status.BROKEN, "Mark {} broken", effect)(request, object_id)

    @page_action("Release…", url_path="release")
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Put it back into service."""
        return self._set(Device.Status.FREE, "Release {}", "Takes runs again at the next decision.")(request, object_id)


@admin.register(AcceleratorKind)
class AcceleratorKindAdmin(ConsoleAdmin):
    """Kinds of devices. The weight converts their hours for fair share."""

    plural = "Kinds"
    may_add = may_change = True
    list_display = ("name", "title", "size", "weight", "device_count")
    search_fields = ("name", "title")
    ordering = ("name",)
    fields = ("name", "title", "memory_bytes", "weight")

    def get_queryset(self, request: HttpRequest) -> Any:
        there = ~models.Q(devices__status=Device.Status.GONE)
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.annotate(n=models.Count("devices", filter=there))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return ("name",) if obj else ()

    @admin.display(description="Memory", ordering="memory_bytes")
    def size(self, row: AcceleratorKind) -> str:
        return memory(row.memory_bytes)

    @admin.display(description="Devices", ordering="n")
    def device_count(self, row: Any) -> int:
        return int(row.n)

    def save_model(self, request: HttpRequest, obj: AcceleratorKind, form: Any, change: bool) -> None:
        kind_save(kind=obj, **actor_of(request))
