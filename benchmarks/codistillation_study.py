"""Do two federations gain by teaching each other? The arms of the codistillation template, and domain transfer, paired.

    python benchmarks/codistillation_study.py [--seeds 5] [--data fashion|writers] [--rounds 200] [--arms ...]

A small MLP on all clients, a large one on those with high capacity. `fashion` (Fashion-MNIST, files on the node) are
real images, labels Dirichlet; the server's images in the domain are training images that no client keeps, out of the
domain synthetic glyphs. `writers` are synthetic. For the transfer, high capacity is found in the fast domain alone,
and the large model is judged on what only the slow one has. Mean accuracy at the end, and the paired difference to two
independent federations with a 95 % interval (Student's t). PCD and MCD are reconstructions.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from typing import Any

from scipy import stats

from models_core import catalog
from models_core.events import Context, Metric

DATA: dict[str, dict[str, Any]] = {
    "writers": {},
    "fashion": {
        "data": "fashion_mnist", "clients": 1000, "server_images": 2000, "local_batch_size": 20,
        "partition": {"kind": "dirichlet_per_client", "alpha": 0.3},
    },
}  # fmt: skip
# Two domains of labels instead of a mix, for the transfer on real images.
TRANSFER: dict[str, dict[str, Any]] = {"writers": {}, "fashion": {"partition": {"kind": "label_domains"}}}


def finish(spec: dict[str, Any], seed: int) -> dict[str, float]:
    recipe = catalog.recipe("federated_codistillation")
    last: dict[str, float] = {}
    for event in recipe.run(recipe.parse(spec), Context(seed=seed)):
        if isinstance(event, Metric):
            last = {**last, **event.values}
    return last


def interval(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--data", choices=sorted(DATA), default="fashion")
    parser.add_argument("--study", choices=("all", "codistillation", "domain_transfer"), default="all")
    parser.add_argument("--arms", default="", help="names of arms with commas between them; all when empty")
    parser.add_argument("--json", default="", help="also write every run's last values there")
    arguments = parser.parse_args()
    print(f"{arguments.data}, {arguments.seeds} seeds, {arguments.rounds} rounds\n", flush=True)
    begun = time.perf_counter()
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for template in catalog.recipe("federated_codistillation").templates:
        if arguments.study not in ("all", template.name):
            continue
        transfer = template.name == "domain_transfer"
        base = {**template.spec, **DATA[arguments.data], "server_steps": arguments.rounds}
        base |= {"eval_every": 100_000} | (TRANSFER[arguments.data] if transfer else {})
        arms = dict(template.arms)
        if arguments.arms:
            arms = {name: arms[name] for name in [template.baseline, *arguments.arms.split(",")] if name in arms}
        keys = ["eval/small_accuracy", "eval/large_accuracy", *(["eval/large_slow_accuracy"] if transfer else [])]
        titles = " | ".join(key.removeprefix("eval/").removesuffix("_accuracy").replace("_", ", ") for key in keys)
        print(f"{template.title}\n\n| arm | {titles} | against {template.baseline}, in the same order |")
        print("|---" * (len(keys) + 2) + "|", flush=True)
        runs = found[template.name] = {}
        for name in dict.fromkeys([template.baseline, *arms]):
            runs[name] = [finish({**base, **arms[name]}, seed) for seed in range(arguments.seeds)]
            means = " | ".join(f"{statistics.fmean(run[key] for run in runs[name]):.3f}" for key in keys)
            differences = ", ".join(
                interval(
                    [run[key] - other[key] for run, other in zip(runs[name], runs[template.baseline], strict=True)]
                )
                for key in keys
            )
            print(f"| {name} | {means} | {differences} |", flush=True)
        print()
    print(f"{time.perf_counter() - begun:.0f} s of real time")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
