"""Any study template of any recipe, without the platform: every arm and seed, final values with intervals.

    python benchmarks/template_study.py distillation quantised --metrics eval/nll student/bytes --out results.json
    python benchmarks/template_study.py --read results.json      prints its table again
    python benchmarks/template_study.py salt salt --spec '{"student_steps": 400}'    laid over the template's spec

Runs in turn on this machine. The same study with its page, live: `stillroom study RECIPE --template NAME`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from models_core.catalog import recipe
from models_core.events import Context, Metric


def study(name: str, template: str, override: dict[str, Any], cache_dir: str) -> dict[str, Any]:
    found = recipe(name)
    plan = found.template(template)
    finals: dict[str, list[dict[str, float]]] = {}
    begun = time.perf_counter()
    for arm, changes in plan.arms.items():
        spec = found.parse(found.merge(found.merge(plan.spec, override), changes))
        for seed in plan.seeds:
            last: dict[str, float] = {}
            for event in found.run(spec, Context(seed=seed, cache_dir=cache_dir)):
                if isinstance(event, Metric):
                    last.update(event.values)
            finals.setdefault(arm, []).append(last)
            primary = last[found.primary_metric.key]
            print(f"{time.perf_counter() - begun:6.0f} s  {arm}, seed {seed}: {primary:.4f}", flush=True)
    return {
        "recipe": name,
        "template": template,
        "baseline": plan.baseline or next(iter(plan.arms)),
        "metrics": [plan.metric or found.primary_metric.key],
        "finals": finals,
        "seconds": time.perf_counter() - begun,
    }


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of Student's t."""
    from scipy import stats

    mean, size = np.mean(values), len(values)
    half = stats.t.ppf(0.975, size - 1) * np.std(values, ddof=1) / np.sqrt(size)
    return f"{mean:.4f} ± {half:.4f}" if abs(mean) < 1e4 else f"{mean:,.0f} ± {half:,.0f}"


def report(found: dict[str, Any], metrics: list[str]) -> None:
    keys, finals = metrics or found["metrics"], found["finals"]
    print(f"{found['recipe']}, template {found['template']}, {found['seconds']:.0f} s\n")
    print("| arm | " + " | ".join(keys) + f" | {keys[0]} minus {found['baseline']} |")
    print("|---" * (len(keys) + 2) + "|")
    base = [last.get(keys[0], float("nan")) for last in finals[found["baseline"]]]
    for arm, runs in finals.items():
        cells = [interval([last.get(key, float("nan")) for last in runs]) for key in keys]
        gap = interval([last.get(keys[0], float("nan")) - b for last, b in zip(runs, base, strict=True)])
        print(f"| {arm} | " + " | ".join(cells) + f" | {gap} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("template", nargs="?")
    parser.add_argument("--spec", type=json.loads, default={})
    parser.add_argument("--metrics", nargs="+", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--cache-dir", default="")
    options = parser.parse_args()
    if options.read:
        report(json.loads(options.read.read_text()), options.metrics)
        return
    if not options.template:
        parser.error("name a recipe and one of its templates, or --read a file")
    found = study(options.recipe, options.template, options.spec, options.cache_dir)
    if options.out:
        options.out.write_text(json.dumps(found))
    report(found, options.metrics)


if __name__ == "__main__":
    main()
