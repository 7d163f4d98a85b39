"""SALT and its controls on real text: every arm of the recipe's template, three seeds, intervals as they fall.

    python benchmarks/salt_study.py --out results.json     runs the study (about fourteen minutes on two busy cores)
    python benchmarks/salt_study.py --read results.json    prints its tables

The small teacher of a seed is trained once; all arms of the seed continue from that checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from models_core.catalog import recipe
from models_core.events import Checkpoint, Context, Metric

TEACHER_STEPS, STUDENT_STEPS, KD_SHARE = 600, 300, 0.17
SEEDS = (0, 1, 2)
SHARED = {
    "length": 32,
    "teacher_steps": TEACHER_STEPS,
    "student_steps": STUDENT_STEPS,
    "kd_share": KD_SHARE,
    "eval_every": 15,
    "checkpoint_every": TEACHER_STEPS,
}
ARMS: dict[str, dict[str, Any]] = {
    "baseline": {"kd_share": 0.0},
    "RKD": {"kd_share": 1.0},
    "SALT step": {},
    "SALT linear": {"decay": "linear"},
    "SALT_DS": {"selection": {}},
    "SALT step, temperature 1": {"temperature": 1.0},
    "baseline, 70 % of the steps": {"kd_share": 0.0, "student_steps": 210},
    "baseline, same FLOPs": {"kd_share": 0.0, "student_steps": 305},
    "selected, no teacher": {"selection": {}, "soft_weight": 0.0},
}
SHOWN = ("eval/nll", "eval/nll_easy", "eval/nll_medium", "eval/nll_hard", "eval/accuracy", "train/flops")


def study(cache_dir: str) -> dict[str, Any]:
    salt, curves, begun = recipe("salt"), {}, time.perf_counter()
    for seed in SEEDS:
        resume: Checkpoint | None = None
        # The arm with a selection goes first: its checkpoint also has the early scorer.
        for name in sorted(ARMS, key=lambda arm: arm != "SALT_DS"):
            spec = salt.parse(SHARED | ARMS[name])
            series: dict[str, list[tuple[int, float]]] = {}
            for event in salt.run(spec, Context(seed=seed, resume=resume, cache_dir=cache_dir)):
                if isinstance(event, Checkpoint) and event.step == TEACHER_STEPS:
                    resume = event
                if isinstance(event, Metric):
                    for key in event.values.keys() & {*SHOWN, "teacher/eval_nll"}:
                        series.setdefault(key, []).append((event.step - TEACHER_STEPS, event.values[key]))
            curves[f"{seed}:{name}"] = series
            print(
                f"{time.perf_counter() - begun:6.0f} s  seed {seed}  {name:<28} {series['eval/nll'][-1][1]:.4f}",
                flush=True,
            )
    return {"shared": SHARED, "arms": ARMS, "curves": curves, "seconds": time.perf_counter() - begun}


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of Student's t; three seeds give wide ones, which is the truth."""
    from scipy import stats

    mean, size = np.mean(values), len(values)
    half = stats.t.ppf(0.975, size - 1) * np.std(values, ddof=1) / np.sqrt(size)
    return f"{mean:.4f} ± {half:.4f}"


def steps_to(curve: list[list[float]], loss: float) -> float:
    """The step at which a line through the evaluations first reaches `loss`; infinity when it does not."""
    for (before, high), (after, low) in itertools.pairwise(curve):
        if low <= loss:
            return before + (after - before) * float(np.clip((high - loss) / max(high - low, 1e-12), 0, 1))
    return float("inf")


def report(found: dict[str, Any]) -> None:
    curves, seeds = found["curves"], sorted({key.split(":")[0] for key in found["curves"]})
    last = lambda seed, arm, key: curves[f"{seed}:{arm}"][key][-1][1]  # noqa: E731
    teachers = [last(seed, "SALT_DS", "teacher/eval_nll") for seed in seeds]
    print(f"Wall time {found['seconds']:.0f} s. Teacher's held-out loss {interval(teachers)}\n")
    print("| arm | final loss | minus baseline | easy | medium | hard | FLOPs / baseline | steps to baseline's loss |")
    print("|---|---|---|---|---|---|---|---|")
    for arm in found["arms"]:
        final = [last(seed, arm, "eval/nll") for seed in seeds]
        gap = [last(seed, arm, "eval/nll") - last(seed, "baseline", "eval/nll") for seed in seeds]
        thirds = [
            np.mean([last(seed, arm, key) - last(seed, "baseline", key) for seed in seeds])
            for key in ("eval/nll_easy", "eval/nll_medium", "eval/nll_hard")
        ]
        flops = np.mean([last(seed, arm, "train/flops") / last(seed, "baseline", "train/flops") for seed in seeds])
        ratios = [
            steps_to(curves[f"{seed}:{arm}"]["eval/nll"], last(seed, "baseline", "eval/nll")) / STUDENT_STEPS
            for seed in seeds
        ]
        reached = [ratio for ratio in ratios if np.isfinite(ratio)]
        ratio = f"{len(reached)} of {len(seeds)} seeds"
        if len(reached) == len(seeds):
            ratio = interval(ratios)
        cells = [interval(final), interval(gap), *(f"{x:+.4f}" for x in thirds), f"{flops:.3f}", ratio]
        print(f"| {arm} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--cache-dir", default="")
    options = parser.parse_args()
    if options.read:
        report(json.loads(options.read.read_text()))
        return
    found = study(options.cache_dir)
    if options.out:
        options.out.write_text(json.dumps(found))
    report(json.loads(json.dumps(found)))


if __name__ == "__main__":
    main()
