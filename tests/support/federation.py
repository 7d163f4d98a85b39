"""A small federation for tests: made-up examples, a two-layer network, and a schedule carried out in calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models_core import federated
from models_core.federated.simulation import client, engine, latency
from models_core.federated.simulation.schedule import Fleet, Schedule
from models_core.nn import mlp

# Rounding of float32 sums in another order, over a few server steps.
CLOSE = 2e-6
KEY = jax.random.key(3)
TASK = client.Task(mlp.apply)


def examples(sizes: list[int]) -> client.ClientData:
    """Five features, three classes, `sizes[i]` examples of client i."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(sum(sizes), 5)).astype(np.float32)
    y = generator.integers(0, 3, sum(sizes)).astype(np.int32)
    return client.gather_clients(x, y, np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]))


def initial() -> mlp.Params:
    return mlp.init(jax.random.key(0), [5, 4, 3])


def schedule_of(options: Any, sizes: list[int], delays: Any, steps: int = 5, **world: Any) -> Schedule:
    fleet = Fleet(sizes, latency.build(delays, sizes=sizes, seed=0), 0, **world)
    return federated.plan(options, fleet, steps=steps)


def plan_of(options: Any, sizes: list[int], *, epochs: int = 2, lr: float = 0.2, **parts: Any) -> engine.Plan:
    lengths = client.bucket_lengths(sizes, 4)
    local = client.LocalTraining(lr=lr, epochs=epochs, batch_size=4, lengths=parts.pop("lengths", lengths))
    return engine.Plan(TASK, local, federated.build(options), **parts)


@dataclass
class Outcome:
    """The last model, the one to evaluate, the losses of all steps, and the state."""

    params: Any
    shown: Any
    losses: list[float]
    numbers: list[dict[str, np.ndarray]]
    state: engine.ServerState


def simulate(
    plan: engine.Plan,
    schedule: Schedule,
    data: client.ClientData,
    *,
    calls: tuple[int, ...] = (),
    length: int = 0,
    state: engine.ServerState | None = None,
    first: int = 0,
) -> Outcome:
    """Run the schedule from step `first` in calls that end after the given steps."""
    calls = calls or (schedule.steps,)
    length = length or max(calls)
    if state is None:
        state = engine.start(plan, initial(), schedule, KEY, fleet=len(data.size))
    advance = engine.compile_advance(
        plan, example=(state, data, engine.stretch(schedule, 0, 1, length, width=plan.width))
    )
    losses: list[float] = []
    numbers: list[dict[str, np.ndarray]] = []
    for begin, end in zip((first, *calls[:-1]), calls, strict=True):
        state, found = advance(state, data, engine.stretch(schedule, begin, end, length, width=plan.width))
        numbers.append({name: np.asarray(value)[: end - begin] for name, value in found.items()})
        losses += numbers[-1]["loss"].tolist()
    return Outcome(engine.current(state), engine.shown(plan, state), losses, numbers, state)


def run(options: Any, sizes: list[int], delays: Any, *, steps: int = 5, world: Any = None, **parts: Any) -> Outcome:
    """Plan and simulate in one go."""
    schedule = schedule_of(options, sizes, delays, steps, **(world or {}))
    return simulate(plan_of(options, sizes, **parts), schedule, examples(sizes))


def assert_equal(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(one: Any, other: Any, tolerance: float = CLOSE) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


def far_apart(one: Any, other: Any) -> bool:
    return any(
        float(jnp.max(jnp.abs(a - b))) > 100 * CLOSE
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def with_rows_turned(schedule: Schedule) -> Schedule:
    names = ("client", "version", "participation", "weight", "late_weight", "teacher")
    return replace(schedule, **{name: getattr(schedule, name)[:, ::-1] for name in names})
