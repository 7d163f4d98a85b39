"""Which inner map is fastest here: one client after the other, several at once, or all at once; by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from models_core.federated.simulation import engine
from models_core.federated.simulation.client import ClientData
from models_core.federated.simulation.schedule import Schedule


def fastest_chunk(
    plan_of: Callable[[int], engine.Plan],
    example: tuple[engine.ServerState, ClientData, Schedule],
    candidates: Sequence[int],
) -> tuple[int, dict[int, float]]:
    """The chunk whose first server step runs fastest, and the seconds of each; compiles every candidate once."""
    state, data, schedule = example
    seconds: dict[int, float] = {}
    for chunk in candidates:
        plan = plan_of(chunk)
        reports = engine.stretch(schedule, 0, 1, 1, width=plan.width)
        copies = [jax.tree.map(jnp.array, state) for _ in range(3)]
        advance = engine.compile_advance(plan, example=(copies[0], data, reports))
        jax.device_get(advance(copies[0], data, reports)[1])
        times = []
        for copy in copies[1:]:
            begun = time.perf_counter()
            jax.device_get(advance(copy, data, reports)[1])
            times.append(time.perf_counter() - begun)
        seconds[chunk] = min(times)
    return min(seconds, key=lambda chunk: seconds[chunk]), seconds
