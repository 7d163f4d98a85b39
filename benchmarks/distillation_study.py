"""Is a teacher worth it? The same student at equal steps, on the text alone and towards a larger teacher.

    python benchmarks/distillation_study.py --out results.json   runs the study (about twelve minutes on two busy cores)
    python benchmarks/distillation_study.py --read results.json  prints its tables
    python benchmarks/distillation_study.py --memory             memory of the loss, whole and in pieces

The teacher of a seed is trained once; all arms of the seed continue from that checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from models_core.catalog import recipe
from models_core.events import Checkpoint, Context, Metric
from models_core.nn.configs import DecoderConfig

TEACHER_STEPS, STUDENT_STEPS = 600, 300
SEEDS = (0, 1, 2)
SHARED = {
    "length": 32,
    "teacher_steps": TEACHER_STEPS,
    "student_steps": STUDENT_STEPS,
    "eval_every": 50,
    "checkpoint_every": TEACHER_STEPS,
}
ARMS: dict[str, dict[str, Any]] = {
    "text alone": {"distillation": {"mode": "hard"}},
    "forward KL, weight 0.9": {},
    "forward KL, weight 0.5": {"distillation": {"mode": "forward_kl", "soft_weight": 0.5}},
    "reverse KL": {"distillation": {"mode": "reverse_kl"}},
    "Jensen-Shannon, 0.5": {"distillation": {"mode": "jensen_shannon"}},
    "16 counts a token": {"targets": {"kind": "sampled"}},
    "top 4, renormalised": {"targets": {"kind": "top_k", "k": 4}},
    "top 4, rest bucket": {"targets": {"kind": "top_k", "k": 4, "missing": "rest"}},
}
SHOWN = ("eval/nll", "distill/forward_kl", "train/flops", "teacher/eval_nll")


def study(cache_dir: str) -> dict[str, Any]:
    distillation, curves, begun = recipe("distillation"), {}, time.perf_counter()
    for seed in SEEDS:
        resume: Checkpoint | None = None
        for name in sorted(ARMS, key=lambda arm: arm == "text alone"):
            spec = distillation.parse(SHARED | ARMS[name])
            offset = TEACHER_STEPS if name != "text alone" else 0
            context = Context(seed=seed, resume=resume if offset else None, cache_dir=cache_dir)
            series: dict[str, list[tuple[int, float]]] = {}
            for event in distillation.run(spec, context):
                if isinstance(event, Checkpoint) and offset and event.step == TEACHER_STEPS:
                    resume = event
                if isinstance(event, Metric):
                    for key in event.values.keys() & set(SHOWN):
                        series.setdefault(key, []).append((event.step - offset, event.values[key]))
            curves[f"{seed}:{name}"] = series
            print(
                f"{time.perf_counter() - begun:6.0f} s  seed {seed}  {name:<24} {series['eval/nll'][-1][1]:.4f}",
                flush=True,
            )
    return {"shared": SHARED, "arms": ARMS, "curves": curves, "seconds": time.perf_counter() - begun}


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of Student's t."""
    from scipy import stats

    mean, size = np.mean(values), len(values)
    half = stats.t.ppf(0.975, size - 1) * np.std(values, ddof=1) / np.sqrt(size)
    return f"{mean:.4f} ± {half:.4f}"


def report(found: dict[str, Any]) -> None:
    curves, seeds = found["curves"], sorted({key.split(":")[0] for key in found["curves"]})
    last = lambda seed, arm, key: curves[f"{seed}:{arm}"][key][-1][1]  # noqa: E731
    teachers = [last(seed, "forward KL, weight 0.9", "teacher/eval_nll") for seed in seeds]
    print(f"Wall time {found['seconds']:.0f} s. Teacher's held-out loss {interval(teachers)}\n")
    print("| arm | final held-out loss | minus text alone | FLOPs / text alone |")
    print("|---|---|---|---|")
    for arm in found["arms"]:
        final = [last(seed, arm, "eval/nll") for seed in seeds]
        gap = [last(seed, arm, "eval/nll") - last(seed, "text alone", "eval/nll") for seed in seeds]
        flops = np.mean([last(seed, arm, "train/flops") / last(seed, "text alone", "train/flops") for seed in seeds])
        print(f"| {arm} | {interval(final)} | {interval(gap)} | {flops:.2f} |")


def memory() -> None:
    """Temporary memory of the compiled gradient of a distillation loss, by XLA's own account, and of nothing else."""
    import jax
    import jax.numpy as jnp

    from models_core.distill.objective import Objective
    from models_core.distill.options import ForwardKL
    from models_core.nn import decoder

    teacher = DecoderConfig(n_layers=2, d_model=128, n_heads=4, n_kv_heads=2, head_dim=32, d_ff=256)
    student = teacher.model_copy(update={"d_model": 64, "d_ff": 128})
    print("| vocabulary | tokens | loss chunk | temporary memory MB | ratio |\n|---|---|---|---|---|")
    for vocabulary in (4096, 32768):
        shapes = [
            jax.eval_shape(lambda key, c=config, v=vocabulary: decoder.init(key, c, v), jax.random.key(0))
            for config in (student, teacher)
        ]
        rows = jax.ShapeDtypeStruct((8, 129), jnp.int32)
        valid = jax.ShapeDtypeStruct((8, 128), jnp.float32)
        whole = 0
        for chunk in (0, 256, 64):
            objective = Objective(ForwardKL(), student, teacher, chunk=chunk)

            def grads(model: Any, frozen: Any, rows: Any, valid: Any, objective: Objective = objective) -> Any:
                loss = lambda params: objective.loss(  # noqa: E731
                    params, {"rows": rows, "valid": valid}, jnp.float32(0.9), frozen
                )
                return jax.grad(loss, has_aux=True)({"model": model, "projections": []})

            used = jax.jit(grads).lower(*shapes, rows, valid).compile().memory_analysis().temp_size_in_bytes
            whole = whole or used
            print(f"| {vocabulary} | 1024 | {chunk or 'all'} | {used / 1e6:.1f} | {used / whole:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--cache-dir", default="")
    options = parser.parse_args()
    if options.memory:
        memory()
    elif options.read:
        report(json.loads(options.read.read_text()))
    else:
        found = study(options.cache_dir)
        if options.out:
            options.out.write_text(json.dumps(found))
        report(json.loads(json.dumps(found)))


if __name__ == "__main__":
    main()
