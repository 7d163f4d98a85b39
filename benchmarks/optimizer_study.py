"""First-order methods against SONew on the deep autoencoder of real images, each tuned with the same budget.

Each method is one run of the recipe `optimizer_tuning`: the same random configurations for all, judged by the loss on
all training images after the last step, the best of them again with fresh seeds (the same initial weights and batches
for all methods). Prints a table with Student's 95 % intervals and, since the seeds pair the methods, the intervals of
their differences from the tridiagonal SONew. Everything is fixed by --seed but the milliseconds.

    python benchmarks/optimizer_study.py                                                        # 8x8 digits
    python benchmarks/optimizer_study.py --data mnist5k --steps 300 --trials 10 --seeds 3       # 28x28 digits
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from typing import Any

from scipy import stats

from models_core import catalog
from models_core.events import Artifact, Context, Metric

METHODS: dict[str, dict[str, Any]] = {
    "SGD, Nesterov": {"kind": "sgd", "nesterov": True},
    "RMSProp": {"kind": "rmsprop"},
    "Adam": {"kind": "adam"},
    "SONew, diagonal": {"kind": "sonew", "band": 0},
    "SONew, tridiagonal": {"kind": "sonew", "band": 1},
    "SONew, band 4": {"kind": "sonew", "band": 4},
}
AGAINST = "SONew, tridiagonal"
# Sizes of the two networks: those of the 8x8 stand-in, and an eighth of the published widths with the published code.
SIZES = {"digits": {"width": 0.128, "code": 8}, "mnist5k": {"width": 0.125, "code": 30}}
# Steps of plain gradients are not normalised, and the loss is a sum over pixels: SGD's range is the others' times this.
SGD_RATES = {"digits": 10.0, "mnist5k": 1.0}
SPACE = {
    "lr": {"low": 1e-4, "high": 5e-2},
    "one_minus_beta1": {"low": 0.01, "high": 0.32},
    "one_minus_beta2": {"low": 0.001, "high": 0.999},
    "eps": {"low": 1e-10, "high": 1e-4},
}


def tuned(method: dict[str, Any], arguments: argparse.Namespace) -> tuple[list[float], float, dict[str, Any], int]:
    """Final training losses by seed, milliseconds a step, the best configuration, and trials that diverged."""
    recipe = catalog.recipe("optimizer_tuning")
    own = {"width": arguments.width} if arguments.width else {}
    spec = recipe.parse(
        {
            "framework": arguments.framework,
            "workload": {"task": "autoencoder", "data": arguments.data, **SIZES[arguments.data], **own},
            "optimizer": method,
            "rules": {"kind": "external", "studies": 1, "trials": arguments.trials},
            "strategy": {"kind": "random"},
            "space": SPACE | {"lr_factor": SGD_RATES[arguments.data] if method["kind"] == "sgd" else 1.0},
            "objective": "train/final_loss",
            "judged_seeds": arguments.seeds,
            "steps": arguments.steps,
            "warmup_steps": arguments.steps // 20,
            "eval_every": arguments.steps,
            "checkpoint_every": 0,
        }
    )
    losses, seconds, best, diverged = [], [], {}, 0
    for event in recipe.run(spec, Context(seed=arguments.seed)):
        match event:
            case Metric(values=values):
                if "trial/value" in values:
                    print(f"  {values['trial/value']:.3f} at lr {values['trial/lr']:.2g}", file=sys.stderr, flush=True)
                    diverged += math.isinf(values["trial/value"])
                if "judged/value" in values:
                    losses.append(values["judged/value"])
                    seconds.append(values["perf/trial_s"])
            case Artifact(name="best.json", content=content):
                best = json.loads(content)["optimizer"]
    return losses, 1e3 * statistics.median(seconds) / (arguments.steps - 1), best, diverged


def interval(values: list[float]) -> str:
    """Mean and half-width of Student's 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.2f} ± {half:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(SIZES), default="digits")
    parser.add_argument("--framework", choices=("jax", "torch"), default="jax")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=float, help="of the hidden layers; 1 is the published network on 28x28 images")
    arguments = parser.parse_args()
    found = {}
    for name in arguments.methods:
        print(name, file=sys.stderr, flush=True)
        found[name] = tuned(METHODS[name], arguments)
    reference = found[AGAINST][0] if AGAINST in found else None
    print(
        "| | training loss, nats an image | minus tridiagonal | each seed | ms a step | diverged | best configuration |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (losses, step_ms, best, diverged) in found.items():
        points = ", ".join(f"{loss:.2f}" for loss in losses)
        difference = ""
        if reference is not None and name != AGAINST:
            difference = interval([loss - other for loss, other in zip(losses, reference, strict=True)])
        numbers = ("lr", "beta1", "momentum", "beta2", "decay", "eps")
        setting = ", ".join(f"{key} {best[key]:.3g}" for key in numbers if key in best)
        print(f"| {name} | {interval(losses)} | {difference} | {points} | {step_ms:.1f} | {diverged} | {setting} |")


if __name__ == "__main__":
    main()
