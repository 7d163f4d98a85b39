"""Who runs next: a pure function of a snapshot. No clock, no query, no randomness.

First version: first in, first out per kind, within each tenant's maximum; priority orders runs inside one tenant. A
run that can
never fit, waits for its own backoff or has reached its maximum never blocks another. A run that only lacks free
devices does block later ones of its kind, so that it cannot starve.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued run. `order` grows with the time of submission; `ready` is False while it waits for its backoff."""

    run_id: str
    tenant_id: str
    kind: str
    devices: int
    priority: int
    order: int
    ready: bool = True


@dataclass(frozen=True, slots=True)
class FreeDevice:
    """A device that nobody holds on a node that takes work."""

    id: str
    node_id: str
    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the decision depends on.

    capacity: usable devices by kind. largest: the most devices of a kind on one node. held: devices in use by
    (tenant, kind). limits: the maximum by (tenant, kind); a pair that is missing is limited by capacity alone.
    """

    waiting: Sequence[Waiting]
    free: Sequence[FreeDevice]
    capacity: Mapping[str, int]
    largest: Mapping[str, int]
    held: Mapping[tuple[str, str], int] = field(default_factory=dict)
    limits: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assign:
    """Give these devices of one node to the run."""

    run_id: str
    node_id: str
    device_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Let the run wait: why, in a code and in a sentence, and its rank among those that wait for the same kind."""

    run_id: str
    code: str
    message: str
    rank: int | None


def choose(snapshot: Snapshot) -> list[Assign | Wait]:
    """One decision for each waiting run, in queue order."""
    free = _by_node(snapshot.free)
    held = defaultdict(int, snapshot.held)
    blocked: set[str] = set()
    ranks: dict[str, int] = defaultdict(int)
    decisions: list[Assign | Wait] = []
    for run in _queue(snapshot.waiting):
        refusal = _refusal(run, snapshot, held)
        if refusal is not None:
            decisions.append(refusal)
            continue
        node = None if run.kind in blocked else _fitting(free, run)
        if node is None:
            blocked.add(run.kind)
            ranks[run.kind] += 1
            decisions.append(_behind(run, snapshot, ranks[run.kind]))
            continue
        taken = tuple(free[node, run.kind].pop(0) for _ in range(run.devices))
        held[run.tenant_id, run.kind] += run.devices
        decisions.append(Assign(run.run_id, node, taken))
    return decisions


def _queue(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Submission order across tenants; each tenant fills its own places by priority."""
    places = sorted(waiting, key=lambda run: (run.order, run.run_id))
    mine: dict[str, list[Waiting]] = defaultdict(list)
    for run in sorted(places, key=lambda run: (-run.priority, run.order, run.run_id), reverse=True):
        mine[run.tenant_id].append(run)
    return [mine[run.tenant_id].pop() for run in places]


def _by_node(devices: Sequence[FreeDevice]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for device in sorted(devices, key=lambda device: (device.node_id, device.kind, device.index)):
        found[device.node_id, device.kind].append(device.id)
    return found


def _fitting(free: dict[tuple[str, str], list[str]], run: Waiting) -> str | None:
    """The node with the fewest free devices that still suffice, so that large runs keep whole nodes."""
    fits = [(len(ids), node) for (node, kind), ids in free.items() if kind == run.kind and len(ids) >= run.devices]
    return min(fits)[1] if fits else None


def _refusal(run: Waiting, snapshot: Snapshot, held: Mapping[tuple[str, str], int]) -> Wait | None:
    capacity = snapshot.capacity.get(run.kind, 0)
    largest = snapshot.largest.get(run.kind, 0)
    limit = snapshot.limits.get((run.tenant_id, run.kind))
    has = held.get((run.tenant_id, run.kind), 0)
    if not run.ready:
        return Wait(run.run_id, "backoff", "Waits a moment before the next attempt.", None)
    if limit is not None and run.devices > limit:
        message = f"Can never start: it asks for {run.devices} {run.kind}, the organisation's maximum is {limit}."
        return Wait(run.run_id, "over_quota", message, None)
    if capacity == 0:
        return Wait(run.run_id, "no_node", f"No attached node offers {run.kind}.", None)
    if run.devices > largest:
        message = f"Can never fit: it asks for {run.devices} {run.kind} on one node, the largest has {largest}."
        return Wait(run.run_id, "never_fits", message, None)
    if limit is not None and has + run.devices > limit:
        message = f"The organisation holds {has} of at most {limit} {run.kind}. Starts when one of its runs ends."
        return Wait(run.run_id, "quota", message, None)
    return None


def _behind(run: Waiting, snapshot: Snapshot, rank: int) -> Wait:
    capacity = snapshot.capacity[run.kind]
    if rank == 1:
        return Wait(run.run_id, "capacity", f"Next. {_use(run, snapshot, capacity)}", rank)
    return Wait(run.run_id, "behind", f"{ordinal(rank)}. {_use(run, snapshot, capacity)}", rank)


def _use(run: Waiting, snapshot: Snapshot, capacity: int) -> str:
    free = sum(1 for device in snapshot.free if device.kind == run.kind)
    if run.devices == 1 or free == 0:
        return f"All {capacity} {run.kind} are in use or promised."
    return f"Needs {run.devices} {run.kind} on one node; {free} of {capacity} were free."


def ordinal(rank: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, ..."""
    if 10 <= rank % 100 <= 20:
        return f"{rank}th"
    return f"{rank}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(rank % 10, 'th') }"
