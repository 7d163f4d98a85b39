"""Cost of every optimizer against Adam: CPU time of the update alone and of a whole training step.

One network of about a million parameters (784-1000-250-10, tanh), batches of 256 made-up images, everything compiled,
states donated. CPU time of the process, so that other programs on the machine count little; Adam and the other
optimizer alternate, and the median of several rounds is printed.

    python benchmarks/optimizer_step.py                      every optimizer
    python benchmarks/optimizer_step.py sonew sonew:band=4   some, with options as NAME:KEY=JSON,KEY=JSON
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models_core import optim

SIZES = (784, 1000, 250, 10)
BATCH = 256
ROUNDS = 7
# CPU time of one timed stretch, long against the clock's grain.
STRETCH_S = 0.2


def parameters() -> dict[str, jax.Array]:
    generator = np.random.default_rng(0)
    tree = {}
    for i, (rows, columns) in enumerate(itertools.pairwise(SIZES)):
        kernel = generator.normal(size=(rows, columns)) / np.sqrt(rows)
        tree[f"kernel{i}"] = jnp.asarray(kernel, jnp.float32)
        tree[f"bias{i}"] = jnp.zeros(columns, jnp.float32)
    return tree


def loss(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    for i in range(len(SIZES) - 1):
        x = x @ params[f"kernel{i}"] + params[f"bias{i}"]
        x = jnp.tanh(x) if i < len(SIZES) - 2 else x
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x, y))


def stretch(advance: Callable[[Any], Any], carry: Any) -> tuple[float, Any]:
    """CPU seconds of one call, and what it left."""
    calls, begun = 0, time.process_time()
    while calls < 3 or time.process_time() - begun < STRETCH_S:
        carry = jax.block_until_ready(advance(carry))
        calls += 1
    return (time.process_time() - begun) / calls, carry


class Timed:
    """One optimizer, compiled: `update` alone and the whole `step`."""

    def __init__(self, options: optim.OptimizerOptions) -> None:
        transformation = optim.build(options, 1e-3)
        generator = np.random.default_rng(1)
        x = jnp.asarray(generator.uniform(size=(BATCH, SIZES[0])), jnp.float32)
        y = jnp.asarray(generator.integers(0, SIZES[-1], BATCH))
        grads = jax.grad(loss)(parameters(), x, y)

        def alone(carry: Any) -> Any:
            params, state, given = carry
            updates, state = transformation.update(given, state, params)
            return optax.apply_updates(params, updates), state, given

        def whole(carry: Any) -> Any:
            params, state, x, y = carry
            updates, state = transformation.update(jax.grad(loss)(params, x, y), state, params)
            return optax.apply_updates(params, updates), state, x, y

        params = parameters()
        self.update = jax.jit(alone, donate_argnums=0)
        self.step = jax.jit(whole, donate_argnums=0)
        self.update_carry = self.update((params, transformation.init(params), grads))
        params = parameters()
        self.step_carry = self.step((params, transformation.init(params), x, y))
        self.state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(transformation.init(params)))

    def measure(self) -> tuple[float, float]:
        """CPU seconds of an update and of a step."""
        update_s, self.update_carry = stretch(self.update, self.update_carry)
        step_s, self.step_carry = stretch(self.step, self.step_carry)
        return update_s, step_s


def options_of(text: str) -> optim.OptimizerOptions:
    name, _, rest = text.partition(":")
    given = dict(pair.split("=", 1) for pair in rest.split(",") if pair)
    payload = {"kind": name} | {key: json.loads(value) for key, value in given.items()}
    return optim.optimizers()[name].parse(payload)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optimizers", nargs="*", default=sorted(optim.optimizers()))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    adam = Timed(optim.optimizers()["adam"]())
    print(f"{'optimizer':<28}{'update ms':>10}{'/ Adam':>8}{'step ms':>10}{'/ Adam':>8}{'state MB':>10}")
    for text in arguments.optimizers:
        other = Timed(options_of(text))
        pairs = [(adam.measure(), other.measure()) for _ in range(arguments.rounds)]
        update_ms, step_ms = (statistics.median(theirs[i] for _, theirs in pairs) * 1e3 for i in (0, 1))
        update_ratio, step_ratio = (statistics.median(theirs[i] / ours[i] for ours, theirs in pairs) for i in (0, 1))
        print(
            f"{text:<28}{update_ms:>10.2f}{update_ratio:>8.2f}{step_ms:>10.2f}{step_ratio:>8.2f}"
            f"{other.state_bytes / 1e6:>10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
