"""First-order methods against SONew on the MNIST autoencoder, each tuned with the same budget; prints a table.

The published architecture at a quarter of its width on 4,000 real 28x28 images, loss on 1,000 others. Every
method gets the same number of trials, drawn from one random stream over the same ranges; the best by one seed is then
run with further seeds. Everything is fixed by the seed but seconds.

    python benchmarks/optimizer_study.py --trials 8 --seeds 3 --steps 240 --out docs/explanation/optimizer-study.md
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from models_core import optim
from models_core.data import mnist5k
from models_core.data.order import BatchOrder
from models_core.nn import autoencoder
from models_core.training import schedules

METHODS: dict[str, dict[str, Any]] = {
    "SGD, Nesterov": {"kind": "sgd", "nesterov": True},
    "RMSProp": {"kind": "rmsprop"},
    "Adam": {"kind": "adam"},
    "SONew, diagonal": {"kind": "sonew", "band": 0},
    "SONew, tridiagonal": {"kind": "sonew", "band": 1},
    "SONew, band 4": {"kind": "sonew", "band": 4},
}
# Numbers that a trial may set; momentum decides by its sign what is compiled, so it is not among them.
TUNED = ("lr", "beta1", "beta2", "decay", "eps")
BATCH, WIDTH, CODE = 200, 0.25, 30


def drawn(trials: int) -> list[dict[str, float]]:
    """The trials that every method gets: learning rate, both decays and epsilon, log-uniform."""
    generator = np.random.default_rng(0)
    low, high = np.log10([3e-4, 1e-2, 1e-3, 1e-8]), np.log10([3e-2, 0.3, 0.3, 1e-4])
    return [
        dict(zip(("lr", "beta1", "beta2", "eps"), (10 ** generator.uniform(low, high)).tolist(), strict=True))
        for _ in range(trials)
    ]


def options_of(method: dict[str, Any], trial: dict[str, float]) -> optim.OptimizerOptions:
    kind = method["kind"]
    given: dict[str, Any] = {"lr": trial["lr"]}
    match kind:
        case "sgd":
            # Its steps are not normalised, and the loss is a sum over pixels: the range is a tenth of the others'.
            given = {"lr": trial["lr"] / 10, "momentum": 1 - trial["beta1"]}
        case "rmsprop":
            given |= {"decay": 1 - trial["beta2"], "eps": trial["eps"]}
        case _:
            given |= {"beta1": 1 - trial["beta1"], "beta2": 1 - trial["beta2"], "eps": trial["eps"]}
    return optim.optimizers()[kind].parse(method | given)


class Problem:
    """The data on the device, and one compiled run of `steps` updates for each method."""

    def __init__(self, steps: int) -> None:
        images = mnist5k.load()
        self.train, self.test = jnp.asarray(images.train_x), jnp.asarray(images.test_x)
        self.steps = steps
        self.steps_of: dict[str, Any] = {}

    def final_loss(self, method: dict[str, Any], trial: dict[str, float], seed: int) -> tuple[float, float]:
        """Test loss after training, in nats an image, and seconds of training."""
        options = options_of(method, trial)
        params = autoencoder.init(jax.random.key(seed), self.train.shape[1], width=WIDTH, code=CODE)
        state = optim.build(options, 1.0).init(params)
        tuned = {name: getattr(options, name) for name in TUNED if hasattr(options, name)}
        step = self._compiled(options)
        order = BatchOrder(seed, len(self.train), BATCH)
        tuned = {name: jnp.asarray(value, jnp.float32) for name, value in tuned.items()}
        # Compiled for the method, not for each trial; the first step is not timed.
        params, state = step(params, state, order.at(0), tuned, jnp.asarray(0))
        jax.block_until_ready(params)
        begun = time.perf_counter()
        for number in range(1, self.steps):
            params, state = step(params, state, order.at(number), tuned, jnp.asarray(number))
        jax.block_until_ready(params)
        seconds = time.perf_counter() - begun
        return float(mean_loss(params, self.test)), seconds

    def _compiled(self, options: optim.OptimizerOptions) -> Any:
        """step(params, state, rows, tuned options, number): the numbers that are tuned are arguments, not constants."""
        key = options.model_copy(update=dict.fromkeys(TUNED, 0.0)).canonical_json()
        if key not in self.steps_of:

            @partial(jax.jit, donate_argnums=(0, 1))
            def step(params: Any, state: Any, rows: Any, tuned: dict[str, Any], number: Any) -> Any:
                rate = schedules.warmup_then_decay(
                    tuned["lr"], steps=self.steps, warmup_steps=self.steps // 20, decay="linear"
                )
                given = options.model_copy(update=tuned)
                transformation = optim.build(given, rate(number))
                updates, state = transformation.update(jax.grad(mean_loss)(params, self.train[rows]), state, params)
                return optax.apply_updates(params, updates), state

            self.steps_of[key] = step
        return self.steps_of[key]


def mean_loss(params: Any, x: Any) -> Any:
    return jnp.mean(autoencoder.reconstruction_loss(autoencoder.apply(params, x), x))


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of Student's 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), float(half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    problem, rows = Problem(arguments.steps), []
    for name, method in METHODS.items():
        tuned = []
        for trial in drawn(arguments.trials):
            loss, seconds = problem.final_loss(method, trial, seed=0)
            tuned.append((loss if math.isfinite(loss) else math.inf, trial))
            print(
                f"{name}: {loss:.3f} in {seconds:.1f} s with { {key: f'{value:.2g}' for key, value in trial.items()} }",
                file=sys.stderr,
                flush=True,
            )
        best = min(tuned, key=lambda pair: pair[0])[1]
        # Seed 0 chose the trial, so it is not among those that judge it.
        runs = [problem.final_loss(method, best, seed=seed) for seed in range(1, arguments.seeds + 1)]
        mean, half = interval([loss for loss, _ in runs])
        points = ", ".join(f"{loss:.2f}" for loss, _ in runs)
        step_ms = 1e3 * statistics.median(seconds for _, seconds in runs) / (arguments.steps - 1)
        setting = ", ".join(f"{key} {value:.2g}" for key, value in best.items())
        rows.append(f"| {name} | {mean:.2f} ± {half:.2f} | {points} | {step_ms:.1f} | {setting} |")
    table = "\n".join(
        ["| | test loss, nats an image | each seed | ms a step | drawn setting |", "|---|---|---|---|---|", *rows]
    )
    command = (
        f"python benchmarks/optimizer_study.py --trials {arguments.trials} "
        f"--seeds {arguments.seeds} --steps {arguments.steps}"
    )
    text = f"```sh\n{command}\n```\n\n{table}\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
