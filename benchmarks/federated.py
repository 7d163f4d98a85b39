"""Rounds of FedAvg per CPU-second: the compiled engine against a plain PyTorch loop over clients.

100 clients of 50 made-up images (28x28, 10 classes), 10 a round, one epoch of SGD in batches of 10. An MLP (784-64-10)
and a CNN (two stages of 5x5 convolutions with 8 and 16 channels, 64 hidden units), both sides with the same shapes and
one thread. CPU time of the process without compiling, which is printed apart; medians of alternating stretches.

    python benchmarks/federated.py [--rounds 7]

The PyTorch loop is written for speed: one model in place, parameters restored by copying, no data loader, sums in
place. Simulators of other projects are not raced here: each needs an environment of its own.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from models_core import federated
from models_core.federated import fedavg
from models_core.federated.simulation import client, engine, latency
from models_core.federated.simulation.schedule import Fleet
from models_core.nn import cnn, mlp

CLIENTS, EACH, COHORT, BATCH, LR = 100, 50, 10, 10, 0.05
STRETCH = 10


def examples() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(CLIENTS * EACH, 784)).astype(np.float32)
    return x, generator.integers(0, 10, CLIENTS * EACH).astype(np.int32)


def engine_stretch(kind: str, chunk: int) -> tuple[Callable[[], None], float]:
    """A stretch of rounds, and the CPU seconds of compiling it."""
    begun = time.process_time()
    x, y = examples()
    parts = np.split(np.arange(len(y)), CLIENTS)
    key = jax.random.key(0)
    if kind == "mlp":
        params: Any = mlp.init(key, [784, 64, 10])
        task = client.Task(mlp.apply)
    else:
        params = cnn.init(key, (28, 28, 1), channels=(8, 16), hidden=64)
        task = client.Task(lambda p, x: cnn.apply(p, x.reshape(-1, 28, 28, 1)))
    options = fedavg.Options(cohort=COHORT)
    sizes = [EACH] * CLIENTS
    fleet = Fleet(sizes, latency.build(latency.Constant(), sizes=sizes, seed=0), 0)
    schedule = federated.plan(options, fleet, steps=STRETCH)
    plan = engine.Plan(task, client.LocalTraining(LR, 1, BATCH, (EACH,)), federated.build(options), chunk=chunk)
    reports = engine.stretch(schedule, 0, STRETCH, STRETCH, width=plan.width)
    held = [engine.start(plan, params, schedule, key)]
    data = client.gather_clients(x, y, parts)
    advance = engine.compile_advance(plan, example=(held[0], data, reports))

    def run() -> None:
        held[0], numbers = advance(held[0], data, reports)
        jax.block_until_ready(numbers)

    run()
    return run, time.process_time() - begun


def torch_stretch(kind: str) -> Callable[[], None]:
    """The same rounds as a loop."""
    torch.set_num_threads(1)
    nn = torch.nn
    dense = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    convolutional = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    model = dense if kind == "mlp" else convolutional
    weights = list(model.parameters())
    server = [weight.detach().clone() for weight in weights]
    x, y = (torch.from_numpy(array) for array in examples())
    y = y.long()
    generator = torch.Generator().manual_seed(0)

    def run() -> None:
        for _ in range(STRETCH):
            total = [torch.zeros_like(weight) for weight in server]
            for who in torch.randperm(CLIENTS, generator=generator)[:COHORT].tolist():
                with torch.no_grad():
                    torch._foreach_copy_(weights, server)
                order = who * EACH + torch.randperm(EACH, generator=generator)
                for rows in order.split(BATCH):
                    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
                    grads = torch.autograd.grad(loss, weights)
                    with torch.no_grad():
                        torch._foreach_add_(weights, grads, alpha=-LR)
                with torch.no_grad():
                    torch._foreach_add_(total, torch._foreach_sub(weights, server), alpha=1 / COHORT)
            torch._foreach_add_(server, total)

    run()
    return run


def cpu_s(run: Callable[[], None]) -> float:
    begun = time.process_time()
    run()
    return (time.process_time() - begun) / STRETCH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print("| task | engine | rounds per CPU-second | compiling | PyTorch loop | ratio |")
    print("|---|---|---|---|---|---|")
    for kind in ("mlp", "cnn"):
        loop = torch_stretch(kind)
        for name, chunk in (("scan", 1), ("chunks of 5", 5), ("vmap", COHORT)):
            compiled, compile_s = engine_stretch(kind, chunk)
            pairs = [(cpu_s(compiled), cpu_s(loop)) for _ in range(arguments.rounds)]
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(other / own for own, other in pairs)
            print(
                f"| {kind} | {name} | {1 / ours:.1f} | {compile_s:.1f} s | {1 / theirs:.1f} | {ratio:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
