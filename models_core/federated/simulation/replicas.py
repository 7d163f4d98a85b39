"""Several models at once on the same clients and delays: first parameters and local batches of their own.

With one model everything is as without this file. The models never meet; on an accelerator they share its width.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models_core.federated.simulation import engine, experiment


def start(setup: experiment.Setup, plan: engine.Plan, count: int) -> engine.ServerState:
    """The state of one model, or of `count` models along a new first axis; the first one is the one alone."""
    if count == 1:
        return setup.start(plan)
    states = [setup.start(plan)]
    for number in range(1, count):
        key = jax.random.fold_in(setup.key, number)
        _, params = experiment.build_model(setup.spec, setup.federation, jax.random.fold_in(key, 0))
        fleet = len(setup.federation.parts)
        states.append(engine.start(plan, params, setup.schedule, jax.random.fold_in(key, 1), fleet=fleet))
    stacked: engine.ServerState = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked


def shown(plan: engine.Plan, state: engine.ServerState, count: int) -> list[Any]:
    """The models to evaluate."""
    if count == 1:
        return [engine.shown(plan, state)]
    return [engine.shown(plan, jax.tree.map(lambda leaf, at=place: leaf[at], state)) for place in range(count)]


def evaluated(setup: experiment.Setup, models: list[Any]) -> dict[str, float]:
    """The mean of every number over the models, and the standard deviation of their accuracy where there are more."""
    found = [setup.evaluate(model) for model in models]
    values = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    if len(models) > 1:
        values["eval/accuracy_spread"] = float(np.std([one["eval/accuracy"] for one in found], ddof=1))
    return values


def meant(numbers: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The engine's numbers, [steps], the mean over the models; one that is not finite spoils the mean."""
    return numbers if count == 1 else {name: value.mean(axis=0) for name, value in numbers.items()}
