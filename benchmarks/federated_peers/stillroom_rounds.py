"""The race's rounds in our engine: one client after the other, compiled, several rounds a call."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import marks
import numpy as np

from models_core import federated
from models_core.federated import fedavg
from models_core.federated.simulation import client, dual, engine, latency
from models_core.federated.simulation.schedule import Fleet
from models_core.nn import cnn

path, kind, warm, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
CALL = 10
task = np.load(path)
layers = [
    {"kernel": jnp.asarray(task[f"{kind}_kernel{place}"]), "bias": jnp.asarray(task[f"{kind}_bias{place}"])}
    for place in range(2 if kind == "mlp" else 4)
]
params: Any = layers if kind == "mlp" else {"convolutions": layers[:2], "dense": layers[2:]}
learner = dual.mlp_task() if kind == "mlp" else client.Task(lambda p, x: cnn.apply(p, x.reshape(-1, 28, 28, 1)))
sizes = [task["parts"].shape[1]] * len(task["parts"])
fleet = Fleet(sizes, latency.build(latency.Constant(), sizes=sizes, seed=0), 0)
options = fedavg.Options(cohort=task["cohorts"].shape[1])
schedule = federated.plan(options, fleet, steps=warm + rounds)
assert (np.sort(schedule.client) == np.sort(task["cohorts"][: warm + rounds])).all(), (
    "the file's cohorts are not those of this seed"
)
local = client.LocalTraining(float(task["lr"]), 1, int(task["batch"]), (sizes[0],))
plan = engine.Plan(learner, local, federated.build(options))
state = engine.start(plan, params, schedule, jax.random.key(0))
data = dual.remember(learner, local, client.gather_clients(task["x"], task["y"], list(task["parts"])))
advance = engine.compile_advance(plan, example=(state, data, engine.stretch(schedule, 0, 1, CALL)))


def run(state: engine.ServerState, first: int, last: int) -> engine.ServerState:
    for begin in range(first, last, CALL):
        state, numbers = advance(state, data, engine.stretch(schedule, begin, min(begin + CALL, last), CALL))
        jax.block_until_ready(numbers)
    return state


state = run(state, 0, warm)
marks.pause("warm")
state = run(state, warm, warm + rounds)
marks.pause("done")
logits, y = learner.logits(engine.current(state), jnp.asarray(task["test_x"])), jnp.asarray(task["test_y"])
marks.result(float(jnp.mean(jnp.argmax(logits, 1) == y)), float(jnp.mean(learner.losses(logits, y))))
