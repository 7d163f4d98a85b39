"""What the simulator is for, in small: a domain that only slow clients know is lost by who does not wait for them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from models_core import federated
from models_core.federated import fare_dust, feast_on_msg, fedavg
from models_core.federated.simulation import client, engine, latency
from models_core.federated.simulation.schedule import Fleet
from models_core.nn import mlp
from models_core.recipes import federated_codistillation
from support import federation as fed

CLIENTS, EACH, SLOW_LABEL = 24, 8, 2
SIZES = [EACH] * CLIENTS
SLOW = list(range(18, CLIENTS))
BY_DOMAIN = latency.PerDomainPerExample(slow_factor=20.0)


def domains() -> tuple[client.ClientData, np.ndarray, np.ndarray]:
    """Three blobs; the last six clients know the third alone, the others the first two. Beside it all, for testing."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, CLIENTS * EACH).astype(np.int32)
    y[18 * EACH :] = SLOW_LABEL
    x = (2.0 * np.eye(5, dtype=np.float32)[y] + 0.5 * generator.normal(size=(len(y), 5))).astype(np.float32)
    return client.gather_clients(x, y, np.split(np.arange(len(y)), CLIENTS)), x, y


def slow_accuracy(options: Any, delays: Any) -> float:
    """Mean over three seeds of cohorts and delays, after forty rounds."""
    data, x, y = domains()
    plan = fed.plan_of(options, SIZES, epochs=1)
    found = []
    for seed in range(3):
        fleet = Fleet(SIZES, latency.build(delays, sizes=SIZES, seed=seed, slow=SLOW), seed)
        schedule = federated.plan(options, fleet, steps=40)
        state = engine.start(plan, fed.initial(), schedule, fed.KEY)
        logits = mlp.apply(fed.simulate(plan, schedule, data, state=state).params, jnp.asarray(x))
        found.append(float(np.mean(np.argmax(np.asarray(logits), axis=1)[y == SLOW_LABEL] == SLOW_LABEL)))
    return float(np.mean(found))


def test_over_selection_loses_a_slow_domain_waiting_keeps_it_and_delays_without_a_pattern_lose_nothing() -> None:
    asks_more = fedavg.Options(cohort=4, over_selection=1.0)
    lost = slow_accuracy(asks_more, BY_DOMAIN)
    assert lost < 0.5
    assert slow_accuracy(fedavg.Options(cohort=8), BY_DOMAIN) > lost + 0.4
    assert slow_accuracy(asks_more, latency.HalfNormal()) > lost + 0.4


@pytest.mark.parametrize("options", [fare_dust.Options, feast_on_msg.Options])
def test_forms_call_a_reconstructed_algorithm_so(options: Any) -> None:
    assert "reconstruction" in options.model_json_schema()["title"]
    assert options.__module__.rpartition(".")[2] in federated.algorithms()


def test_forms_call_codistillation_a_reconstruction() -> None:
    schema = federated_codistillation.Spec.model_json_schema()
    assert "reconstruction" in schema["properties"]["variant"]["description"].lower()
    assert all("reconstruction" in template.help.lower() for template in federated_codistillation.TEMPLATES)
