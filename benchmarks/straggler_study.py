"""Do late reports help? Every arm of the straggler comparison, tuned, paired seeds, to the same simulated time.

    python benchmarks/straggler_study.py [--seeds 5] [--data fashion|digits|writers] [--time-s 600] [--results FILE]

All arms share data, cohorts and latency draws of a seed. Each method first gets the same tuning budget: a grid of three
client rates and three server rates on a seed of its own, judged by total accuracy at the end; everything else stays at
its default. Controls that take a part of a method away, or lay one over it, keep the method's rates, and so do the
methods under half-normal delays, which know no slow clients: there no arm should gain much. Then come the paired seeds:
mean accuracy at the end on everything and on what only slow clients have, and the paired difference to FedAvg under the
same delays with a 95 % interval (Student's t). Last, what each control leaves of its method.

`writers` are synthetic; `fashion` (Fashion-MNIST, files on the node) and `digits` are real images whose labels 8 and 9
only slow clients have. FARe-DUST and FeAST-on-MSG are reconstructions. With `--results` a study that was stopped goes
on where it was, and one that was finished prints its tables again.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

from studies.paired import Runs, Values, differences, interval

DATA: dict[str, dict[str, Any]] = {
    "writers": {"data": "synthetic_writers", "clients": 80, "partition": {"kind": "synthetic_writers"}},
    "digits": {"data": "digits", "clients": 80, "partition": {"kind": "label_domains"}, "local_epochs": 2},
    "fashion": {
        "data": "fashion_mnist", "clients": 1000, "partition": {"kind": "label_domains"}, "local_batch_size": 20,
    },
}  # fmt: skip
# Delays without a pattern under which FedAvg makes about as many rounds in the same time.
HALF_NORMAL_S = {"writers": 1.8, "digits": 2.0, "fashion": 2.5}
# Of the grid. Adaptive servers take steps of the size of their rate, the others multiples of the clients' change.
CLIENT_RATES = (0.05, 0.2, 0.5)
SERVER_RATES = {"fedadam": (0.01, 0.03, 0.1)}
PLAIN_SERVER_RATES = (0.3, 1.0, 2.0)
TUNING_SEED = 1000
# A control, and the method whose rates it keeps.
CONTROLS = {
    "FedAdam with average": "FedAdam",
    "FedAdam with old teacher": "FedAdam",
    "FARe-DUST with timely teachers": "FARe-DUST",
    "FeAST with its average only": "FeAST-on-MSG",
    "FeAST without late reports": "FeAST-on-MSG",
}
PATTERNLESS = ("FedAvg", "FedAvg waits for all", "FedAdam", "FedBuff", "FARe-DUST", "FeAST-on-MSG")
TOTAL, SLOW, WASTED = "eval/accuracy", "eval/straggler_accuracy", "work/wasted_share"
Spec = dict[str, Any]


def arms_of(data: str, time_s: float, runs: Runs) -> tuple[str, dict[str, Spec]]:
    """The name of the arm to compare with, and the spec of every arm."""
    template = runs.recipe.template("stragglers")
    own = {**template.spec, **DATA[data], "time_budget_s": time_s, "eval_every": 100_000}
    own["latency"] = {"kind": "per_domain_per_example", "slow_factor": 10.0}
    assert template.baseline
    return template.baseline, {name: {**own, **arm} for name, arm in template.arms.items()}


def tuned(spec: Spec, runs: Runs) -> tuple[float, float]:
    """The client's and the server's rate of the grid that end with the best total accuracy on the tuning seed."""
    servers = SERVER_RATES.get(spec["algorithm"]["kind"], PLAIN_SERVER_RATES)
    grid = itertools.product(CLIENT_RATES, servers)
    found = {rates: runs.last(at_rates(spec, rates), TUNING_SEED)[TOTAL] for rates in grid}
    return max(found, key=lambda rates: found[rates])


def at_rates(spec: Spec, rates: tuple[float, float]) -> Spec:
    return {**spec, "local_lr": rates[0], "algorithm": {**spec["algorithm"], "server_lr": rates[1]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--time-s", type=float, default=600.0, help="simulated seconds of every run")
    parser.add_argument("--data", choices=sorted(DATA), default="fashion")
    parser.add_argument("--arms", default="", help="names of arms with commas between them; all when empty")
    parser.add_argument("--untuned", action="store_true", help="the template's rates for all")
    parser.add_argument("--results", default="", help="a file of finished runs, read and appended to")
    arguments = parser.parse_args()
    begun, seeds = time.perf_counter(), range(arguments.seeds)
    with TemporaryDirectory() as cache_dir:
        runs = Runs("federated_training", path=arguments.results, cache_dir=cache_dir)
        baseline, arms = arms_of(arguments.data, arguments.time_s, runs)
        chosen = arguments.arms.split(",") if arguments.arms else list(arms)
        chosen = list(dict.fromkeys([baseline, *chosen]))
        print(f"{arguments.data}, {len(seeds)} seeds, {arguments.time_s:.0f} s simulated", flush=True)
        rates: dict[str, tuple[float, float]] = {}
        for name in chosen:
            method = CONTROLS.get(name, name)
            if method not in rates and not arguments.untuned:
                rates[method] = tuned(arms[method], runs)

        def finals(name: str, **changes: Any) -> list[Values]:
            spec = arms[name] if arguments.untuned else at_rates(arms[name], rates[CONTROLS.get(name, name)])
            return [runs.last({**spec, **changes}, seed) for seed in seeds]

        def told(name: str) -> str:
            return "template" if arguments.untuned else ", ".join(map(str, rates[CONTROLS.get(name, name)]))

        head("Slow clients are a domain of their own", baseline)
        found = {name: finals(name) for name in chosen}
        for name, values in found.items():
            show(name, told(name), values, found[baseline])
        head("The same methods under half-normal delays", baseline)
        plain = {"latency": {"kind": "half_normal", "sigma_s": HALF_NORMAL_S[arguments.data]}}
        other = {name: finals(name, **plain) for name in chosen if name in PATTERNLESS}
        for name, values in other.items():
            show(name, told(name), values, other[baseline])
    print("\nWhat a control leaves of its method: the method minus the control\n")
    print("| method | control | total | stragglers |\n|---|---|---|---|")
    for control, method in CONTROLS.items():
        if control in found and method in found:
            cells = (interval(differences(found[method], found[control], key)) for key in (TOTAL, SLOW))
            print(f"| {method} | {control} | {' | '.join(cells)} |")
    print(f"\n{time.perf_counter() - begun:.0f} s of real time")


def head(title: str, baseline: str) -> None:
    print(f"\n{title}\n\n| arm | client and server rate | total | stragglers | total against {baseline} ", end="")
    print(f"| stragglers against {baseline} | wasted |\n|---|---|---|---|---|---|---|", flush=True)


def show(name: str, rates: str, runs: Sequence[Values], baseline: Sequence[Values]) -> None:
    """A row of the table; baseline: the runs of the same seeds."""
    means = [statistics.fmean(run[key] for run in runs) for key in (TOTAL, SLOW, WASTED)]
    gaps = ["" if runs is baseline else interval(differences(runs, baseline, key)) for key in (TOTAL, SLOW)]
    print(
        f"| {name} | {rates} | {means[0]:.3f} | {means[1]:.3f} | {gaps[0]} | {gaps[1]} | {means[2]:.0%} |", flush=True
    )


if __name__ == "__main__":
    main()
