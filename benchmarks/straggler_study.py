"""Do late reports help? Every arm of the straggler comparison, tuned, paired seeds, to the same simulated time.

    python benchmarks/straggler_study.py [--seeds 5] [--data fashion|digits|writers] [--time-s 600] [--untuned]

All arms share data, cohorts and latency draws of a seed. Each method first gets the same tuning budget: a grid of two
client rates and two server rates on a seed of its own, judged by total accuracy at the end; controls that take a part
of a method away, or lay one over it, keep the method's rates. Then come the paired seeds: mean accuracy at the end on
everything and on what only slow clients have, and the paired difference to FedAvg with a 95 % interval (Student's t).
`writers` are synthetic; `fashion` (Fashion-MNIST, files on the node) and `digits` are real images whose labels 8 and 9
only slow clients have. FARe-DUST and FeAST-on-MSG are reconstructions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import stats

from models_core import catalog
from models_core.events import Context, Metric

DATA: dict[str, dict[str, Any]] = {
    "writers": {"data": "synthetic_writers", "clients": 80, "partition": {"kind": "synthetic_writers"}},
    "digits": {"data": "digits", "clients": 80, "partition": {"kind": "label_domains"}, "local_epochs": 2},
    "fashion": {
        "data": "fashion_mnist", "clients": 1000, "partition": {"kind": "label_domains"}, "local_batch_size": 20,
    },
}  # fmt: skip
# Of the grid. Adaptive servers take steps of the size of their rate, the others multiples of the clients' change.
CLIENT_RATES = (0.05, 0.2)
SERVER_RATES = {"fedadam": (0.01, 0.03)}
PLAIN_SERVER_RATES = (0.5, 1.0)
TUNING_SEED = 1000
# Whose rates a control keeps.
CONTROLS = {
    "FedAdam with average": "FedAdam",
    "FedAdam with old teacher": "FedAdam",
    "FARe-DUST with timely teachers": "FARe-DUST",
    "FeAST with its average only": "FeAST-on-MSG",
    "FeAST without late reports": "FeAST-on-MSG",
    "FedAvg under half-normal delays": "FedAvg",
}


def finish(spec: dict[str, Any], seed: int, cache_dir: str) -> dict[str, float]:
    recipe = catalog.recipe("federated_training")
    last: dict[str, float] = {}
    for event in recipe.run(recipe.parse(spec), Context(seed=seed, cache_dir=cache_dir)):
        if isinstance(event, Metric):
            last = {**last, **event.values}
    return last


def arms_of(data: str, time_s: float) -> tuple[str, dict[str, dict[str, Any]]]:
    """The name of the arm to compare with, and the spec of every arm."""
    template = next(one for one in catalog.recipe("federated_training").templates if one.name == "stragglers")
    own = {**template.spec, **DATA[data], "time_budget_s": time_s, "eval_every": 100_000}
    own["latency"] = {"kind": "per_domain_per_example", "slow_factor": 10.0}
    arms = {name: {**own, **arm} for name, arm in template.arms.items()}
    # The controls of the latency: without a pattern there should be no gap.
    half_normal = {**arms[template.baseline], "latency": {"kind": "half_normal", "sigma_s": 1.0}}
    return template.baseline, arms | {"FedAvg under half-normal delays": half_normal}


def tuned(spec: dict[str, Any], cache_dir: str) -> tuple[float, float]:
    """The client's and the server's rate of the grid that end with the best total accuracy on the tuning seed."""
    servers = SERVER_RATES.get(spec["algorithm"]["kind"], PLAIN_SERVER_RATES)
    found: dict[tuple[float, float], float] = {}
    for rates in itertools.product(CLIENT_RATES, servers):
        found[rates] = finish(at_rates(spec, rates), TUNING_SEED, cache_dir)["eval/accuracy"]
    return max(found, key=lambda rates: found[rates])


def at_rates(spec: dict[str, Any], rates: tuple[float, float]) -> dict[str, Any]:
    return {**spec, "local_lr": rates[0], "algorithm": {**spec["algorithm"], "server_lr": rates[1]}}


def interval(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--time-s", type=float, default=600.0, help="simulated seconds of every run")
    parser.add_argument("--data", choices=sorted(DATA), default="fashion")
    parser.add_argument("--arms", default="", help="names of arms with commas between them; all when empty")
    parser.add_argument("--untuned", action="store_true", help="the template's rates for all")
    parser.add_argument("--json", default="", help="also write every run's last values there")
    arguments = parser.parse_args()
    baseline, arms = arms_of(arguments.data, arguments.time_s)
    chosen = arguments.arms.split(",") if arguments.arms else list(arms)
    print(f"{arguments.data}, {arguments.seeds} seeds, {arguments.time_s:.0f} s simulated\n")
    print("| arm | rates | total | stragglers | total against FedAvg | stragglers against FedAvg | wasted |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found: dict[str, list[dict[str, float]]] = {}
    begun = time.perf_counter()
    known: dict[str, tuple[float, float]] = {}
    with TemporaryDirectory() as cache_dir:
        for name in dict.fromkeys([baseline, *chosen]):
            spec, rates = arms[name], "template"
            if not arguments.untuned:
                method = CONTROLS.get(name, name)
                known[method] = known.get(method) or tuned(arms[method], cache_dir)
                spec, rates = at_rates(spec, known[method]), ", ".join(map(str, known[method]))
            runs = found[name] = [finish(spec, seed, cache_dir) for seed in range(arguments.seeds)]
            show(name, rates, runs, found[baseline])
    print(f"\n{time.perf_counter() - begun:.0f} s of real time")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(found, file, indent=1)


def show(name: str, rates: str, runs: list[dict[str, float]], baseline: list[dict[str, float]]) -> None:
    """A row of the table; baseline: the runs of the same seeds."""
    totals, slow = ([run[key] for run in runs] for key in ("eval/accuracy", "eval/straggler_accuracy"))
    differences = [
        interval([run[key] - other[key] for run, other in zip(runs, baseline, strict=True)])
        for key in ("eval/accuracy", "eval/straggler_accuracy")
    ]
    wasted = np.mean([run["work/wasted_share"] for run in runs])
    print(
        f"| {name} | {rates} | {np.mean(totals):.3f} | {np.mean(slow):.3f} | {differences[0]} | {differences[1]} "
        f"| {wasted:.0%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
