"""Spectra of gradients.

Trains a network and watches the Kronecker factors of its gradients, layer by layer: how much of their trace lies in the
largest quarter of eigenvalues, their intrinsic dimension, how the leading directions turn between two measurements, and
how much a sketch of few directions holds. The reason for Sketchy, measured, with independent noise under the same
average as the control. In JAX or PyTorch, from the same weights and batches and under the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse
from models_core.training.workloads import AnyWorkload
from models_core.training.workloads.autoencoder import Options as Autoencoder
from models_core.training.workloads.classifier import Options as Classifier

VERSION = "1"
FAMILY = "optimizer"
# Factors that have metrics of their own; all are in the table.
CHARTED = 16


class Spec(BaseSpec):
    """A training run, and how its gradients are watched."""

    framework: fields.Framework = fields.framework_field()
    workload: AnyWorkload = field(Autoencoder(), title="Workload", help="What is learnt.", section="Task")
    optimizer: AnyOptimizer = field(Adam(lr=0.003), title="Optimizer", help="How it is learnt.", section="Optimizer")
    beta2: float = field(
        0.999, title="Decay", help="Of the sums of the factors; 1: nothing is forgotten.", gt=0, le=1, section="Spectra"
    )
    rank: int = field(
        16, title="Rank", help="Directions that the sketches keep.", unit="directions", ge=1, le=1024, section="Spectra"
    )
    largest_axis: int = field(
        1024, title="Longest axis", help="Longer ones are not watched.", ge=8, le=8192, section="Spectra", advanced=True
    )
    steps: int = field(100, title="Steps", help="Updates.", unit="steps", ge=1, le=1_000_000, section="Budget")
    batch_size: int = field(
        200, title="Batch size", help="Examples in one update.", unit="examples", ge=1, le=65_536, section="Budget"
    )
    warmup_steps: int = field(
        5, title="Warm-up", help="Steps over which the learning rate rises.", unit="steps", ge=0, section="Budget"
    )
    decay: Literal["none", "linear", "cosine"] = field(
        "linear", title="Fall of the rate", help="After warm-up, to 0 at the end.", section="Budget"
    )
    eval_every: int = field(
        20, title="Measure every", help="Steps between measurements.", unit="steps", ge=1, section="Budget"
    )
    checkpoint_every: int = field(
        500, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fields.check_optimizer(self)
        fields.check_workload(self)
        if self.warmup_steps >= self.steps:
            refuse("warmup_steps", f"Must be below the {self.steps} steps.")
        available = self.workload.examples
        if available is not None and self.batch_size > available:
            refuse("batch_size", f"There are only {available} training examples.")
        if self.workload.one_pass:
            refuse("workload.task", "Its parameters are one vector: there are no factors to watch.")
        return self


EXAMPLES = (
    Example("A perceptron on digits under Adam", Spec(workload=Classifier(), steps=60), cost_s=17),
    Example("The digits autoencoder under Adam", Spec(steps=240, warmup_steps=12, eval_every=40), cost_s=180),
)

TEMPLATES = (
    StudyTemplate(
        "optimizers",
        "Does the optimizer shape the spectra?",
        "The same network under momentum, Adam and tridiagonal SONew.",
        arms={
            "adam": {},
            "momentum": {"optimizer": {"kind": "sgd", "lr": 0.02}},
            "sonew": {"optimizer": {"kind": "sonew", "lr": 0.01}},
        },
        seeds=(0, 1, 2),
    ),
)

METRICS = (
    MetricInfo(
        "spectra/top_share", "", "max", "Trace in the largest quarter of eigenvalues; mean of factors.", primary=True
    ),
    MetricInfo("spectra/top_share_min", "", "max", "The same of the flattest factor."),
    MetricInfo("spectra/control_share", "", None, "The same of independent noise; mean of factors."),
    MetricInfo("spectra/intrinsic_dimension", "", "min", "Trace over the largest eigenvalue; mean of factors."),
    MetricInfo("spectra/intrinsic_dimension_max", "", "min", "The same, largest of factors."),
    MetricInfo(
        "spectra/overlap", "", None, "Leading quarter of directions kept since the last measurement; by chance 1/4."
    ),
    MetricInfo("spectra/captured", "", "max", "Trace that the sketches hold; mean of factors."),
    MetricInfo("spectra/capturable", "", "max", "Trace in as many leading directions, the most a sketch can hold."),
    MetricInfo("spectra/escaped", "", "min", "Escaped mass of the sketches over the trace; mean of factors."),
    *(
        MetricInfo(f"factor/{index:02}/{name}", "", None, f"{title} of factor {index}; the log names it.")
        for index in range(CHARTED)
        for name, title in (
            ("top_share", "Trace in the largest quarter of eigenvalues"),
            ("intrinsic_dimension", "Trace over the largest eigenvalue"),
            ("overlap", "Directions kept"),
        )
    ),
    MetricInfo("eval/loss", "", "min", "Mean loss on the test examples."),
    MetricInfo("eval/accuracy", "", "max", "Share of test images recognised (classifiers only)."),
    MetricInfo("train/loss", "", "min", "Loss of the batch before the update."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient."),
    MetricInfo("perf/examples_per_s", "examples/s", "max", "Training examples a second, measurements left out."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train, watch and report; see the module's docstring."""
    import json

    import jax
    import numpy as np

    from models_core import benches
    from models_core.errors import SpecInvalid
    from models_core.training import schedules, spectra, workloads
    from models_core.training.pacing import Pacing
    from models_core.training.stopwatch import Stopwatch

    yield Log(benches.prepare(spec.framework, ctx.cache_dir))
    problem = workloads.build(spec.workload)
    root = jax.random.key(ctx.seed)
    watched = spectra.places(problem.init(root), largest_axis=spec.largest_axis)
    if not watched:
        raise SpecInvalid(
            "No tensor of this workload has two axes and one to watch.", fields={"largest_axis": "All are longer."}
        )
    for index, place in enumerate(watched):
        yield Log(f"Factor {index}: axis {place.axis} of {place.name}, {place.size} long.")
    schedule = schedules.warmup_then_decay(
        spec.optimizer.lr, steps=spec.steps, warmup_steps=spec.warmup_steps, decay=spec.decay
    )
    watch_for = spectra.Watch(watched, spec.beta2, spec.rank, jax.random.fold_in(root, 1))
    learner = benches.learner(spec.framework, spec.workload, problem, spec.batch_size)
    training = learner.training(spec.optimizer, schedule, steps=spec.steps, seed=ctx.seed, watch=watch_for)
    order, evaluate = problem.order(ctx.seed, spec.batch_size), learner.evaluation(problem.test, "eval/")
    pacing, watch = Pacing(spec.steps, spec.eval_every, spec.checkpoint_every), Stopwatch()
    first, last_report = 0, 0
    rows: list[dict[str, Any]] = []
    eigenvalues: list[dict[str, Any]] = []
    before: list[np.ndarray] = []
    if ctx.resume is not None:
        held = dict(ctx.resume.arrays)
        count = sum(name.startswith("before.") for name in held)
        before = [held.pop(f"before.{index}") for index in range(count)]
        training.restore({name.removeprefix("state."): array for name, array in held.items()})
        first = last_report = ctx.resume.step
        rows, eigenvalues = list(ctx.resume.state["rows"]), list(ctx.resume.state["eigenvalues"])
    training.prepare()

    def checkpoint(step: int) -> Checkpoint:
        training.check()
        arrays = {f"state.{name}": array for name, array in training.arrays().items()}
        arrays |= {f"before.{index}": top for index, top in enumerate(before)}
        return Checkpoint(step, arrays, {"rows": rows, "eigenvalues": eigenvalues})

    for step in range(first + 1, spec.steps + 1):
        if ctx.should_stop():
            yield checkpoint(step - 1)
            return
        watch.start()
        metrics = training.step(order.at(step - 1))
        if not (pacing.reports(step) or pacing.evaluates(step) or pacing.saves(step)):
            continue
        training.wait()
        watch.stop()
        training.check()
        if pacing.reports(step):
            rate = spec.batch_size * (step - last_report) / watch.lap_s()
            last_report = step
            numbers = {"train/loss": float(metrics["loss"]), "optim/grad_norm": float(metrics["grad_norm"])}
            yield Metric(step, numbers | {"perf/examples_per_s": rate})
        if pacing.evaluates(step):
            found = [
                spectra.measure(step, place, factor, before[index] if before else None)
                for index, (place, factor) in enumerate(zip(watched, training.factors(), strict=True))
            ]
            before = [leading for _, _, leading in found]
            latest = [measured.row() for measured, _, _ in found]
            rows = rows + latest
            eigenvalues = eigenvalues + [
                {"step": step, "factor": row["factor"], "over_trace": [round(float(value), 9) for value in values]}
                for row, (_, values, _) in zip(latest, found, strict=True)
            ]
            yield Metric(step, evaluate(training))
            yield Metric(step, _summary(latest))
        if pacing.tells_progress(step):
            yield Progress(step, spec.steps, "training")
        if pacing.saves(step):
            yield checkpoint(step)

    yield Artifact("spectra.csv", _csv(rows), "text/csv")
    yield Artifact("eigenvalues.json", json.dumps(eigenvalues).encode(), "application/json")
    yield Artifact("model.safetensors", training.exported())


def _summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means and extremes over the factors of one measurement, and the first factors one by one."""
    from statistics import mean

    def column(name: str) -> list[float]:
        return [row[name] for row in rows if row[name] is not None]

    names = ("top_share", "control_share", "intrinsic_dimension", "captured", "capturable", "escaped", "overlap")
    found = {f"spectra/{name}": mean(values) for name in names if (values := column(name))}
    found["spectra/top_share_min"] = min(column("top_share"))
    found["spectra/intrinsic_dimension_max"] = max(column("intrinsic_dimension"))
    for index, row in enumerate(rows[:CHARTED]):
        for name in ("top_share", "intrinsic_dimension", "overlap"):
            if row[name] is not None:
                found[f"factor/{index:02}/{name}"] = row[name]
    return found


def _csv(rows: list[dict[str, Any]]) -> bytes:
    import csv
    import io

    written = io.StringIO()
    table = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return written.getvalue().encode()
