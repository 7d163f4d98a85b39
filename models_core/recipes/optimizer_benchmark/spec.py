"""The form of the benchmark: what is learnt, how, for how long, and what counts as having arrived."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse
from models_core.training.workloads import AnyWorkload
from models_core.training.workloads.autoencoder import Options as Autoencoder


class Target(BaseSpec):
    """What counts as having arrived."""

    metric: Literal["eval/loss", "eval/accuracy"] = field(
        "eval/loss", title="Metric", help="Loss must fall to the value, accuracy rise to it.", section="Budget"
    )
    value: float = field(title="Value", help="The target.", section="Budget")


class Spec(BaseSpec):
    """One optimizer on one task."""

    framework: fields.Framework = fields.framework_field()
    workload: AnyWorkload = field(Autoencoder(), title="Workload", help="What is learnt.", section="Task")
    optimizer: AnyOptimizer = field(Adam(), title="Optimizer", help="How it is learnt.", section="Optimizer")
    steps: int = field(480, title="Steps", help="Updates.", unit="steps", ge=1, le=1_000_000, section="Budget")
    batch_size: int = field(
        200, title="Batch size", help="Examples in one update.", unit="examples", ge=1, le=65_536, section="Budget"
    )
    warmup_steps: int = field(
        24, title="Warm-up", help="Steps over which the learning rate rises.", unit="steps", ge=0, section="Budget"
    )
    decay: Literal["none", "linear", "cosine"] = field(
        "linear", title="Decay", help="How the learning rate falls after warm-up, to 0 at the end.", section="Budget"
    )
    schedule: Literal["step", "epoch"] = field(
        "step",
        title="Rate changes",
        help="With every step, or with every epoch from 0 in the first, as in the published autoencoder setting.",
        section="Budget",
        advanced=True,
    )
    eval_every: int = field(
        40,
        title="Evaluate every",
        help="Steps between evaluations on the test examples.",
        unit="steps",
        ge=1,
        section="Budget",
    )
    target: Target | None = field(None, title="Target", help="Measure the way to this value.", section="Budget")
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
        if available is not None and self.workload.one_pass and self.steps * self.batch_size > available:
            refuse("steps", f"One pass over {available} examples has {available // self.batch_size} batches.")
        if self.schedule == "epoch" and self.decay == "cosine":
            refuse("decay", "A rate that changes by the epoch falls linearly, or not at all.")
        if self.target and self.target.metric == "eval/accuracy" and not self.workload.has_accuracy:
            refuse("target.metric", f"The workload {self.workload.task} has no accuracy.")
        return self
