"""Do late reports help? Every arm of the straggler comparison, paired seeds, to the same simulated time.

    python benchmarks/straggler_study.py [--seeds 5] [--time-s 400] [--data writers|digits] [--json FILE]

All arms share data, cohorts and latency draws of a seed. Prints the mean accuracy at the end on everything and on what
only slow clients have, and the paired difference to FedAvg with a 95 % interval (Student's t). `writers` are
synthetic; `digits` are real images whose labels 8 and 9 only slow clients have. FARe-DUST and FeAST-on-MSG are
reconstructions.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from typing import Any

import numpy as np
from scipy import stats

from models_core import catalog
from models_core.events import Context, Metric

DATA: dict[str, dict[str, Any]] = {
    "writers": {"data": "synthetic_writers", "clients": 80, "partition": {"kind": "synthetic_writers"}},
    "digits": {"data": "digits", "clients": 80, "partition": {"kind": "label_domains"}, "local_epochs": 2},
}


def finish(spec: dict[str, Any], seed: int) -> dict[str, float]:
    recipe = catalog.recipe("federated_training")
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
    parser.add_argument("--time-s", type=float, default=400.0, help="simulated seconds of every run")
    parser.add_argument("--data", choices=sorted(DATA), default="writers")
    parser.add_argument("--arms", default="", help="names of arms with commas between them; all when empty")
    parser.add_argument("--json", default="", help="also write every run's last values there")
    arguments = parser.parse_args()
    template = next(one for one in catalog.recipe("federated_training").templates if one.name == "stragglers")
    own = {**template.spec, **DATA[arguments.data], "time_budget_s": arguments.time_s, "eval_every": 100_000}
    own["latency"] = {"kind": "per_domain_per_example", "slow_factor": 10.0}
    arms = {name: {**own, **arm} for name, arm in template.arms.items()}
    baseline = template.baseline
    # The controls of the latency: without a pattern there should be no gap.
    arms["FedAvg under half-normal delays"] = {**arms[baseline], "latency": {"kind": "half_normal", "sigma_s": 1.0}}
    chosen = arguments.arms.split(",") if arguments.arms else list(arms)
    print(f"{arguments.data}, {arguments.seeds} seeds, {arguments.time_s:.0f} s simulated\n")
    print("| arm | total | stragglers | total against FedAvg | stragglers against FedAvg | wasted |")
    print("|---|---|---|---|---|---|", flush=True)
    found: dict[str, list[dict[str, float]]] = {}
    begun = time.perf_counter()
    for name in dict.fromkeys([baseline, *chosen]):
        runs = found[name] = [finish(arms[name], seed) for seed in range(arguments.seeds)]
        totals, slow = ([run[key] for run in runs] for key in ("eval/accuracy", "eval/straggler_accuracy"))
        differences = [
            interval([run[key] - other[key] for run, other in zip(runs, found[baseline], strict=True)])
            for key in ("eval/accuracy", "eval/straggler_accuracy")
        ]
        wasted = np.mean([run["work/wasted_share"] for run in runs])
        print(
            f"| {name} | {np.mean(totals):.3f} | {np.mean(slow):.3f} | {differences[0]} | {differences[1]} "
            f"| {wasted:.0%} |",
            flush=True,
        )
    print(f"\n{time.perf_counter() - begun:.0f} s of real time")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
