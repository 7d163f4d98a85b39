"""What the overview and the queue show, over all organisations. Inside `admin_tx`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from stillroom.runs.lifecycle import State
from stillroom.runs.models import Run
from stillroom.scheduling.models import AcceleratorKind, Allocation, Device, Node, Quota
from stillroom.tenants.admin.wording import memory, plural, span
from stillroom.tenants.models import Organisation

SEGMENTS = ("used", "draining", "free", "quarantined", "broken", "down")
LIMIT_CODES = ("quota", "over_quota")
HOPELESS_CODES = ("no_node", "never_fits")
MOST_NEEDS = 12


@dataclass(frozen=True, slots=True)
class Capacity:
    """The devices of one kind by what they do now, and what waits for them."""

    kind: str
    title: str
    parts: dict[str, int]
    held: int
    waiting_runs: int
    waiting_devices: int
    nodes: int

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def percent(self) -> int:
        return round(100 * self.held / self.total) if self.total else 0

    @property
    def segments(self) -> list[tuple[str, int]]:
        """Non-empty parts in a fixed order."""
        return [(name, self.parts[name]) for name in SEGMENTS if self.parts[name]]


def capacity_now() -> list[Capacity]:
    """Devices by kind and state. Four queries."""
    held = set(Allocation.objects.filter(to_at__isnull=True).values_list("device_id", flat=True))
    parts: dict[str, Counter[str]] = {}
    nodes: dict[str, set[str]] = {}
    for device in Device.objects.exclude(status=Device.Status.GONE).select_related("node"):
        part = _part(device, device.id in held)
        parts.setdefault(device.kind_id, Counter()).update({part: 1, "held": device.id in held})
        nodes.setdefault(device.kind_id, set()).add(device.node_id)
    waits: dict[str, Counter[str]] = {}
    for kind, devices in Run.objects.filter(state=State.QUEUED).values_list("req_kind", "req_devices"):
        waits.setdefault(kind, Counter()).update(runs=1, devices=devices)
    kinds = {kind.name: kind for kind in AcceleratorKind.objects.all()}
    return [
        Capacity(
            kind=name,
            title=memory(kinds[name].memory_bytes) if name in kinds and kinds[name].memory_bytes else "",
            parts={part: parts.get(name, Counter())[part] for part in SEGMENTS},
            held=parts.get(name, Counter())["held"],
            waiting_runs=waits.get(name, Counter())["runs"],
            waiting_devices=waits.get(name, Counter())["devices"],
            nodes=len(nodes.get(name, ())),
        )
        for name in sorted({*kinds, *waits})
    ]


def _part(device: Device, held: bool) -> str:
    if device.status == Device.Status.BROKEN:
        return "broken"
    if device.status == Device.Status.QUARANTINED:
        return "quarantined"
    if not device.node.is_alive:
        return "down"
    if held:
        return "used" if device.node.status == Node.Status.READY else "draining"
    return "free" if device.node.status == Node.Status.READY else "draining"


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for an administrator, with one thing to do about it. `look`: bad, warn or quiet."""

    look: str
    what: str
    more: str
    verb: str
    address: str


def needs() -> list[Need]:
    """Worst first: machines, then what runs cannot get, then what failed. Six queries."""
    found = [*_down_nodes(), *_bad_devices(), *_hopeless(), *_failed(), *_at_limit(), *_draining()]
    return found[:MOST_NEEDS]


def _down_nodes() -> list[Need]:
    rows = Node.objects.filter(heartbeat_at__isnull=False).order_by("name")
    held = Counter(Allocation.objects.filter(to_at__isnull=True).values_list("device__node_id", flat=True))
    return [
        Need(
            "bad",
            f"{node.name} is down.",
            f"No heartbeat for {span((timezone.now() - node.heartbeat_at).total_seconds())}."
            + (f" {plural(held[node.id], 'device')} still held." if held[node.id] else ""),
            "Open",
            reverse("admin:scheduling_node_change", args=[node.id]),
        )
        for node in rows
        if node.heartbeat_at is not None and not node.is_alive
    ]


def _bad_devices() -> list[Need]:
    bad = Device.objects.filter(status__in=[Device.Status.BROKEN, Device.Status.QUARANTINED])
    rows = bad.values("node_id", "node__name", "kind_id", "status").annotate(n=Count("id"))
    return [
        Need(
            "bad" if row["status"] == Device.Status.BROKEN else "warn",
            f"{plural(row['n'], 'device')} of {row['node__name']} {'is' if row['n'] == 1 else 'are'} {row['status']}.",
            f"Kind {row['kind_id']}.",
            "Open",
            _address("scheduling_device", status__exact=row["status"], node__id__exact=row["node_id"]),
        )
        for row in rows.order_by("status", "node__name")
    ]


def _waiting_for(codes: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = Run.objects.filter(state=State.QUEUED, waiting_code__in=codes)
    grouped = rows.values("tenant_id", "tenant__name", "req_kind").annotate(n=Count("id"))
    return [dict(row) for row in grouped.order_by("-n", "tenant__name")]


def _hopeless() -> list[Need]:
    return [
        Need(
            "bad",
            f"{plural(row['n'], 'run')} of {row['tenant__name']} cannot be placed.",
            f"No attached node offers what {'it asks' if row['n'] == 1 else 'they ask'} for: {row['req_kind']}.",
            "Open",
            _address("runs_run", state=State.QUEUED, req_kind=row["req_kind"], tenant__id__exact=row["tenant_id"]),
        )
        for row in _waiting_for(HOPELESS_CODES)
    ]


def _at_limit() -> list[Need]:
    quotas = {(tenant, kind): (key, most) for key, tenant, kind, most in _quota_rows()}
    found = []
    for row in _waiting_for(LIMIT_CODES):
        key, most = quotas.get((row["tenant_id"], row["req_kind"]), ("", 0))
        if key:
            what = f"{row['tenant__name']} is at its maximum of {most} {row['req_kind']}."
            more = f"{plural(row['n'], 'run waits', 'runs wait')} for it."
            found.append(Need("warn", what, more, "Adjust", reverse("admin:scheduling_quota_change", args=[key])))
    return found


def _quota_rows() -> QuerySet[Any, tuple[str, str, str, int]]:
    return Quota.objects.values_list("id", "tenant_id", "kind_id", "max_devices")


def _failed() -> list[Need]:
    since = timezone.now() - timedelta(days=1)
    rows = Run.objects.filter(state__in=[State.FAILED, State.LOST], ended_at__gt=since)
    grouped = rows.values("tenant_id", "tenant__name").annotate(n=Count("id")).order_by("-n", "tenant__name")
    return [
        Need(
            "warn",
            f"{plural(row['n'], 'run')} of {row['tenant__name']} failed in the last day.",
            "",
            "Open",
            _address("runs_run", state__in=f"{State.FAILED},{State.LOST}", tenant__id__exact=row["tenant_id"]),
        )
        for row in grouped
    ]


def _draining() -> list[Need]:
    rows = Node.objects.exclude(status=Node.Status.READY).order_by("name")
    open_now = Q(devices__allocations__id__isnull=False, devices__allocations__to_at__isnull=True)
    held = Count("devices__allocations", filter=open_now)
    return [
        Need(
            "quiet",
            f"{node.name} is {node.status}.",
            f"{plural(node.n, 'device')} still in use." if node.n else "Nothing runs there.",
            "Open",
            reverse("admin:scheduling_node_change", args=[node.id]),
        )
        for node in rows.annotate(n=held)
        if node.is_alive
    ]


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What one organisation holds of one kind, of its maximum. `most` None: only the capacity limits it."""

    tenant: str
    kind: str
    used: int
    most: int | None
    waiting: int
    scale: int
    address: str

    @property
    def used_percent(self) -> float:
        return round(100 * self.used / self.scale, 2) if self.scale else 0

    @property
    def most_percent(self) -> float | None:
        return None if self.most is None or not self.scale else round(100 * self.most / self.scale, 2)

    @property
    def is_full(self) -> bool:
        return self.most is not None and self.used >= self.most


def quota_use() -> list[QuotaUse]:
    """Every organisation and kind that has a quota, holds devices or waits; bars of a kind share a scale."""
    names = dict(Organisation.objects.values_list("id", "name"))
    limits = {(tenant, kind): (key, most) for key, tenant, kind, most in _quota_rows()}
    held = Counter(Allocation.objects.filter(to_at__isnull=True).values_list("tenant_id", "device__kind_id"))
    waits = Counter(Run.objects.filter(state=State.QUEUED).values_list("tenant_id", "req_kind"))
    sizes = Counter(Device.objects.exclude(status=Device.Status.GONE).values_list("kind_id", flat=True))
    pairs = sorted({*limits, *held, *waits}, key=lambda pair: (pair[1], names.get(pair[0], "")))
    scale = Counter(sizes)
    for tenant, kind in pairs:
        scale[kind] = max(scale[kind], held[tenant, kind], limits.get((tenant, kind), ("", 0))[1])
    return [
        QuotaUse(
            tenant=names.get(tenant, tenant),
            kind=kind,
            used=held[tenant, kind],
            most=limits[tenant, kind][1] if (tenant, kind) in limits else None,
            waiting=waits[tenant, kind],
            scale=scale[kind],
            address=_quota_address(limits.get((tenant, kind), ("", 0))[0], tenant, kind),
        )
        for tenant, kind in pairs
    ]


def _quota_address(key: str, tenant: str, kind: str) -> str:
    if key:
        return reverse("admin:scheduling_quota_change", args=[key])
    return f"{reverse('admin:scheduling_quota_add')}?{urlencode({'tenant': tenant, 'kind': kind})}"


def queue() -> QuerySet[Run]:
    """What waits: ranked runs first, then those that a quota or a missing node stops, then held ones. One query."""
    rows: QuerySet[Run] = Run.objects.filter(state__in=[State.QUEUED, State.HELD]).select_related("tenant", "project")
    held_last = Case(When(state=State.HELD, then=Value(1)), default=Value(0), output_field=IntegerField())
    return rows.annotate(held=held_last).order_by("held", F("waiting_rank").asc(nulls_last=True), "created_at", "id")


def _address(model: str, **query: str) -> str:
    return f"{reverse(f'admin:{model}_changelist')}?{urlencode(query)}"
