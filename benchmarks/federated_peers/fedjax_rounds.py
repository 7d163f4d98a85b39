"""The race's rounds in fedjax: its federated averaging with its jit backend, the default on a CPU."""

from __future__ import annotations

import sys
from typing import Any

import fedjax
import jax
import jax.numpy as jnp
import marks
import numpy as np

path, kind, warm, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
task = np.load(path)
params = {
    f"{part}{place}": jnp.asarray(task[f"{kind}_{part}{place}"])
    for part in ("kernel", "bias")
    for place in range(2 if kind == "mlp" else 4)
}


def logits_of(params: dict[str, Any], x: jax.Array) -> jax.Array:
    first = 0
    if kind == "cnn":
        x, first = x.reshape(-1, 28, 28, 1), 2
        for place in range(2):
            x = jax.lax.conv_general_dilated(
                x, params[f"kernel{place}"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x + params[f"bias{place}"])
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = x.reshape(x.shape[0], -1)
    x = jax.nn.relu(x @ params[f"kernel{first}"] + params[f"bias{first}"])
    return x @ params[f"kernel{first + 1}"] + params[f"bias{first + 1}"]


def loss_of(params: dict[str, Any], batch: dict[str, jax.Array]) -> jax.Array:
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits_of(params, batch["x"])), batch["y"][:, None], axis=1)
    return -jnp.mean(picked)


clients = {
    place: fedjax.ClientDataset({"x": task["x"][rows], "y": task["y"][rows]})
    for place, rows in enumerate(task["parts"])
}
algorithm = fedjax.algorithms.fed_avg.federated_averaging(
    grad_fn=lambda params, batch, rng: jax.grad(loss_of)(params, batch),
    client_optimizer=fedjax.optimizers.sgd(float(task["lr"])),
    server_optimizer=fedjax.optimizers.sgd(1.0),
    client_batch_hparams=fedjax.ShuffleRepeatBatchHParams(batch_size=int(task["batch"]), num_epochs=1),
)
state = algorithm.init(params)
for number in range(warm + rounds):
    if number == warm:
        jax.block_until_ready(state.params)
        marks.pause("warm")
    keys = jax.random.split(jax.random.PRNGKey(number), len(task["cohorts"][number]))
    cohort = task["cohorts"][number].tolist()
    state, _ = algorithm.apply(state, [(one, clients[one], key) for one, key in zip(cohort, keys, strict=True)])
jax.block_until_ready(state.params)
marks.pause("done")
test = {"x": jnp.asarray(task["test_x"]), "y": jnp.asarray(task["test_y"])}
hits = jnp.argmax(logits_of(state.params, test["x"]), axis=1) == test["y"]
marks.result(float(jnp.mean(hits)), float(loss_of(state.params, test)))
