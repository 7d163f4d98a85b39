"""The pure decision: its rules one by one, and its invariants over random snapshots."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stillroom.scheduling.decision import Assign, FreeDevice, Snapshot, Wait, Waiting, choose, ordinal


def waiting(
    run: str,
    *,
    tenant: str = "a",
    kind: str = "cpu",
    devices: int = 1,
    priority: int = 0,
    order: int = 0,
    ready: bool = True,
) -> Waiting:
    return Waiting(run, tenant, kind, devices, priority, order, ready)


def free(*nodes: int, kind: str = "cpu") -> list[FreeDevice]:
    return [
        FreeDevice(f"d{node}-{index}", f"n{node}", kind, index)
        for node, count in enumerate(nodes)
        for index in range(count)
    ]


def snapshot(runs: list[Waiting], devices: list[FreeDevice], **more: object) -> Snapshot:
    per_node = Counter((device.node_id, device.kind) for device in devices)
    capacity = Counter(device.kind for device in devices)
    largest: dict[str, int] = {}
    for (_, kind), count in per_node.items():
        largest[kind] = max(largest.get(kind, 0), count)
    return Snapshot(**{"waiting": runs, "free": devices, "capacity": capacity, "largest": largest, **more})  # type: ignore[arg-type]


def started(found: list[Assign | Wait]) -> list[str]:
    return [decision.run_id for decision in found if isinstance(decision, Assign)]


def reasons(found: list[Assign | Wait]) -> dict[str, str]:
    return {decision.run_id: decision.code for decision in found if isinstance(decision, Wait)}


def test_first_in_first_out() -> None:
    found = choose(snapshot([waiting("late", order=2), waiting("early", order=1)], free(1)))
    assert started(found) == ["early"]
    assert reasons(found) == {"late": "capacity"}


def test_priority_orders_inside_one_tenant_only() -> None:
    runs = [
        waiting("a-old", tenant="a", order=1),
        waiting("b-old", tenant="b", order=2),
        waiting("a-urgent", tenant="a", order=3, priority=9),
    ]
    assert started(choose(snapshot(runs, free(2)))) == ["a-urgent", "b-old"]


def test_a_tenant_at_its_maximum_waits_without_blocking_others() -> None:
    runs = [waiting("a1", tenant="a", order=1), waiting("b1", tenant="b", order=2)]
    found = choose(snapshot(runs, free(2), held={("a", "cpu"): 1}, limits={("a", "cpu"): 1}))
    assert started(found) == ["b1"]
    assert reasons(found) == {"a1": "quota"}


def test_what_can_never_fit_never_blocks() -> None:
    runs = [
        waiting("huge", devices=9, order=1),
        waiting("strange", kind="tpu", order=2),
        waiting("over", devices=2, tenant="b", order=3),
        waiting("fits", order=4),
    ]
    found = choose(snapshot(runs, free(2), limits={("b", "cpu"): 1}))
    assert started(found) == ["fits"]
    assert reasons(found) == {"huge": "never_fits", "strange": "no_node", "over": "over_quota"}


def test_a_large_run_is_not_starved_by_small_ones() -> None:
    runs = [waiting("large", devices=2, order=1), waiting("small", order=2)]
    devices = [*free(1), FreeDevice("x", "n9", "cpu", 0)]
    found = choose(Snapshot(runs, devices, {"cpu": 4}, {"cpu": 2}))
    assert started(found) == []
    assert reasons(found) == {"large": "capacity", "small": "behind"}


def test_a_small_run_takes_a_node_that_a_waiting_large_one_could_never_use() -> None:
    runs = [waiting("large", devices=2, order=1), waiting("small", order=2), waiting("smaller", order=3)]
    sizes = {("n0", "cpu"): 1, ("n1", "cpu"): 2}
    found = choose(Snapshot(runs, free(1, 1), {"cpu": 3}, {"cpu": 2}, sizes=sizes))
    assert started(found) == ["small"]
    assert reasons(found) == {"large": "capacity", "smaller": "behind"}


def test_tenants_take_turns_however_many_runs_one_of_them_has() -> None:
    flood = [waiting(f"a{index}", tenant="a", order=index) for index in range(300)]
    late = [waiting(f"b{index}", tenant="b", order=1000 + index) for index in range(2)]
    found = choose(snapshot([*flood, *late], free(4)))
    assert started(found) == ["a0", "b0", "a1", "b1"]
    held = snapshot([*flood, *late], free(1), held={("a", "cpu"): 1}, capacity={"cpu": 2})
    assert started(choose(held)) == ["b0"]


def test_on_a_single_device_those_who_used_less_of_late_come_first() -> None:
    flood = [waiting(f"a{index}", tenant="a", order=index) for index in range(9)]
    found = choose(snapshot([*flood, waiting("b0", tenant="b", order=50)], free(1), past={("a", "cpu"): 60.0}))
    assert started(found) == ["b0"]


def test_the_places_of_those_who_wait_are_shared_as_well() -> None:
    flood = [waiting(f"a{index}", tenant="a", order=index) for index in range(9)]
    found = choose(snapshot([*flood, waiting("b0", tenant="b", order=50)], free(1)))
    ranks = {decision.run_id: decision.rank for decision in found if isinstance(decision, Wait)}
    assert ranks["b0"] == 1
    assert [ranks[f"a{index}"] for index in range(1, 9)] == list(range(2, 10))


def test_a_large_run_comes_first_as_soon_as_its_tenant_holds_least() -> None:
    runs = [waiting("large", tenant="a", devices=2, order=1), waiting("small", tenant="b", order=2)]
    found = choose(snapshot(runs, free(1), capacity={"cpu": 2}, largest={"cpu": 2}, held={("b", "cpu"): 1}))
    assert started(found) == []


def test_far_places_are_told_in_hundreds() -> None:
    runs = [waiting(f"r{index:04}", order=index) for index in range(400)]
    ranks = [decision.rank for decision in choose(snapshot(runs, free(1))) if isinstance(decision, Wait)]
    assert ranks == [*range(1, 101), *[rank - rank % 100 for rank in range(101, 400)]]


def test_a_run_stays_on_one_node_and_leaves_large_nodes_whole() -> None:
    (decision,) = choose(snapshot([waiting("one")], free(4, 1)))
    assert isinstance(decision, Assign)
    assert decision.node_id == "n1"


def test_a_run_in_its_backoff_says_so() -> None:
    found = choose(snapshot([waiting("again", ready=False, order=1), waiting("next", order=2)], free(1)))
    assert started(found) == ["next"]
    assert reasons(found) == {"again": "backoff"}


def test_ordinals() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip


runs_strategy = st.lists(
    st.builds(
        Waiting,
        run_id=st.uuids().map(str),
        tenant_id=st.sampled_from("abc"),
        kind=st.sampled_from(["cpu", "gpu"]),
        devices=st.integers(1, 5),
        priority=st.integers(-2, 2),
        order=st.integers(0, 50),
        ready=st.booleans(),
    ),
    max_size=20,
    unique_by=lambda run: run.run_id,
)
limits_strategy = st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from(["cpu", "gpu"])), st.integers(0, 6))


@given(
    runs=runs_strategy, nodes=st.lists(st.integers(0, 4), max_size=4), limits=limits_strategy, held=st.integers(0, 3)
)
def test_invariants(runs: list[Waiting], nodes: list[int], limits: dict[tuple[str, str], int], held: int) -> None:
    devices = free(*nodes)
    taken = snapshot(runs, devices, limits=limits, held={("a", "cpu"): held})
    found = choose(taken)
    assert choose(taken) == found, "deterministic"
    assert sorted(decision.run_id for decision in found) == sorted(run.run_id for run in runs), "one decision a run"
    given_out = [device for decision in found if isinstance(decision, Assign) for device in decision.device_ids]
    assert len(given_out) == len(set(given_out)), "no device twice"
    by_id = {device.id: device for device in devices}
    by_run = {run.run_id: run for run in runs}
    use = Counter({("a", "cpu"): held})
    for decision in found:
        if isinstance(decision, Assign):
            run = by_run[decision.run_id]
            assert len(decision.device_ids) == run.devices
            assert {(by_id[device].node_id, by_id[device].kind) for device in decision.device_ids} == {
                (decision.node_id, run.kind)
            }
            assert run.ready
            use[run.tenant_id, run.kind] += run.devices
            limit = limits.get((run.tenant_id, run.kind))
            assert limit is None or use[run.tenant_id, run.kind] <= limit
        else:
            assert decision.message.endswith(".")


@given(count=st.integers(1, 10), slots=st.integers(1, 10))
def test_work_conserving(count: int, slots: int) -> None:
    found = choose(snapshot([waiting(f"r{index}", order=index) for index in range(count)], free(slots)))
    assert len(started(found)) == min(count, slots)
