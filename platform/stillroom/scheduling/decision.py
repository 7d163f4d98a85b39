"""Who runs next: a pure function of a snapshot. No clock, no query, no randomness.

Tenants take turns: the next place goes to the one that holds the smallest share of any kind, among equals to the one
that has used least of late, then to the one that has waited longest; priority orders runs inside one tenant. Nobody
runs past a tenant's maximum. A run that can never fit, waits for its own backoff or has reached its maximum never
blocks another. A run that only lacks free devices keeps every node that is large enough for it from later ones of its
kind, so that it cannot starve.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

# Further back a place is told in hundreds: otherwise each start would rewrite the reason of every run in the queue.
EXACT_RANKS = 100


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
    past: recent device seconds by (tenant, kind), older ones counting less.
    sizes: usable devices by (node, kind), free or not; a node that is missing counts as large enough for any run.
    """

    waiting: Sequence[Waiting]
    free: Sequence[FreeDevice]
    capacity: Mapping[str, int]
    largest: Mapping[str, int]
    held: Mapping[tuple[str, str], int] = field(default_factory=dict)
    limits: Mapping[tuple[str, str], int] = field(default_factory=dict)
    past: Mapping[tuple[str, str], float] = field(default_factory=dict)
    sizes: Mapping[tuple[str, str], int] = field(default_factory=dict)


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
    unused = Counter(device.kind for device in snapshot.free)
    held = defaultdict(int, snapshot.held)
    kept: dict[str, int] = {}
    ranks: dict[str, int] = defaultdict(int)
    decisions: list[Assign | Wait] = []
    turns = _Turns(snapshot)
    for run in turns:
        refusal = _refusal(run, snapshot, held)
        if refusal is not None:
            decisions.append(refusal)
            continue
        turns.took(run)
        node = _fitting(free, run, snapshot.sizes, kept.get(run.kind))
        if node is None:
            kept[run.kind] = min(run.devices, kept.get(run.kind, run.devices))
            ranks[run.kind] += 1
            decisions.append(_behind(run, snapshot.capacity[run.kind], unused[run.kind], ranks[run.kind]))
            continue
        taken = tuple(free[node, run.kind].pop(0) for _ in range(run.devices))
        held[run.tenant_id, run.kind] += run.devices
        decisions.append(Assign(run.run_id, node, taken))
    return decisions


class _Turns:
    """The waiting runs in queue order, which depends on what has been given out on the way (`took`).

    A run that waits counts as if it had started: so the places behind it are shared fairly as well.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._capacity = snapshot.capacity
        self._use = defaultdict(int, snapshot.held)
        self._share: dict[str, float] = defaultdict(float)
        for tenant, kind in snapshot.held:
            self._weigh(tenant, kind)
        self._past: dict[str, float] = defaultdict(float)
        for (tenant, kind), seconds in snapshot.past.items():
            self._past[tenant] = max(self._past[tenant], seconds / max(1, self._capacity.get(kind, 0)))
        self._places: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
        for run in sorted(snapshot.waiting, key=lambda run: (run.order, run.run_id)):
            self._places[run.tenant_id].append((run.order, run.run_id))
        self._runs: dict[str, deque[Waiting]] = defaultdict(deque)
        for run in sorted(snapshot.waiting, key=lambda run: (-run.priority, run.order, run.run_id)):
            self._runs[run.tenant_id].append(run)

    def __iter__(self) -> Iterator[Waiting]:
        heap = [(*self._merit(tenant), places[0], tenant) for tenant, places in self._places.items()]
        heapq.heapify(heap)
        while heap:
            *_, tenant = heapq.heappop(heap)
            self._places[tenant].popleft()
            yield self._runs[tenant].popleft()
            if self._places[tenant]:
                heapq.heappush(heap, (*self._merit(tenant), self._places[tenant][0], tenant))

    def _merit(self, tenant: str) -> tuple[float, float]:
        return self._share[tenant], self._past[tenant]

    def took(self, run: Waiting) -> None:
        """The run that was given last counts against its tenant."""
        self._use[run.tenant_id, run.kind] += run.devices
        self._weigh(run.tenant_id, run.kind)

    def _weigh(self, tenant: str, kind: str) -> None:
        capacity = self._capacity.get(kind, 0)
        if capacity:
            self._share[tenant] = max(self._share[tenant], self._use[tenant, kind] / capacity)


def _by_node(devices: Sequence[FreeDevice]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for device in sorted(devices, key=lambda device: (device.node_id, device.kind, device.index)):
        found[device.node_id, device.kind].append(device.id)
    return found


def _fitting(
    free: dict[tuple[str, str], list[str]], run: Waiting, sizes: Mapping[tuple[str, str], int], kept: int | None
) -> str | None:
    """The node with the fewest free devices that still suffice, so that large runs keep whole nodes.

    kept: the fewest devices that a run before this one waits for; nodes of that size are not for this one.
    """
    fits = [
        (len(ids), node)
        for (node, kind), ids in free.items()
        if kind == run.kind and len(ids) >= run.devices and (kept is None or sizes.get((node, kind), kept) < kept)
    ]
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


def _behind(run: Waiting, capacity: int, unused: int, rank: int) -> Wait:
    use = f"All {capacity} {run.kind} are in use or promised."
    if run.devices > 1 and unused:
        use = f"Needs {run.devices} {run.kind} on one node; {unused} of {capacity} were free."
    if rank == 1:
        return Wait(run.run_id, "capacity", f"Next. {use}", rank)
    if rank <= EXACT_RANKS:
        return Wait(run.run_id, "behind", f"{ordinal(rank)}. {use}", rank)
    about = rank - rank % EXACT_RANKS
    return Wait(run.run_id, "behind", f"About the {ordinal(about)}. {use}", about)


def ordinal(rank: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, ..."""
    if 10 <= rank % 100 <= 20:
        return f"{rank}th"
    return f"{rank}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(rank % 10, 'th') }"
