"""The form of a tuning: what is learnt, by which optimizer, where its numbers are looked for, and under which rules."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models_core.benches import fields
from models_core.errors import SpecInvalid
from models_core.optim import AnyOptimizer
from models_core.optim._options import OptimizerOptions
from models_core.optim.adam import Options as Adam
from models_core.search import AnyStrategy
from models_core.search.random import Options as RandomSearch
from models_core.search.space import Space
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse
from models_core.training.workloads import AnyWorkload
from models_core.training.workloads.autoencoder import Options as Autoencoder


class External(BaseSpec, title="External tuning"):
    """Search a space; AlgoPerf has 3 studies of 5 trials."""

    kind: Literal["external"] = field(
        "external", title="Rules", help="Studies of several trials from a search space.", section="Search"
    )
    studies: int = field(
        3, title="Studies", help="Independent searches.", unit="studies", ge=1, le=100, section="Search"
    )
    trials: int = field(
        5,
        title="Trials",
        help="Of a study; strategies that give up early spend the same updates on more.",
        unit="trials",
        ge=1,
        le=10_000,
        section="Search",
    )


class SelfTuning(BaseSpec, title="Self-tuning"):
    """No search: the optimizer as it is, with more time; AlgoPerf gives half as much again."""

    kind: Literal["self_tuning"] = field(
        "self_tuning", title="Rules", help="The optimizer as it is, with more steps.", section="Search"
    )
    studies: int = field(
        3, title="Studies", help="Runs with other seeds.", unit="studies", ge=1, le=100, section="Search"
    )
    budget_factor: float = field(
        1.5, title="Factor on the steps", help="In place of a search.", ge=1, le=100, section="Search"
    )


class Spec(BaseSpec):
    """One optimizer on one task, and a budget for finding its numbers."""

    framework: fields.Framework = fields.framework_field()
    workload: AnyWorkload = field(Autoencoder(), title="Workload", help="What is learnt.", section="Task")
    optimizer: AnyOptimizer = field(
        Adam(),
        title="Optimizer",
        help="Numbers outside of the search space stay as they are here.",
        section="Optimizer",
    )
    rules: Annotated[External | SelfTuning, Field(discriminator="kind")] = field(
        External(), title="Rules", help="How much may be tried.", section="Search"
    )
    strategy: AnyStrategy = field(RandomSearch(), title="Strategy", help="How trials are chosen.", section="Search")
    space: Space = field(Space(), title="Ranges", help="Where numbers are looked for.", section="Search")
    objective: Literal["eval/loss", "train/final_loss"] = field(
        "eval/loss",
        title="Objective",
        help="Loss on the test examples, or on all training examples, after the last step.",
        section="Search",
    )
    target: float | None = field(
        None, title="Target", help="Value of the objective to which steps are counted.", section="Budget"
    )
    judged_seeds: int = field(
        3,
        title="Seeds that judge",
        help="Fresh ones, with which the best trial is run again; 0: none.",
        unit="seeds",
        ge=0,
        le=100,
        section="Budget",
    )
    steps: int = field(
        480, title="Steps", help="Updates of a trial.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    batch_size: int = field(
        200, title="Batch size", help="Examples in one update.", unit="examples", ge=1, le=65_536, section="Budget"
    )
    warmup_steps: int = field(
        24, title="Warm-up", help="Steps over which the learning rate rises.", unit="steps", ge=0, section="Budget"
    )
    decay: Literal["none", "linear", "cosine"] = field(
        "linear", title="Decay", help="How the learning rate falls after warm-up, to 0 at the end.", section="Budget"
    )
    eval_every: int = field(
        120, title="Evaluate every", help="Steps between evaluations of a trial.", unit="steps", ge=1, section="Budget"
    )
    checkpoint_every: int = field(
        2000,
        title="Checkpoint every",
        help="Updates of all trials; 0: only when stopped.",
        unit="steps",
        ge=0,
        section="Budget",
        advanced=True,
    )

    @property
    def trial_steps(self) -> int:
        """Updates of one trial under the rules."""
        return self.steps if isinstance(self.rules, External) else math.ceil(self.steps * self.rules.budget_factor)

    @property
    def study_steps(self) -> int:
        """Updates that a study may spend."""
        return self.trial_steps * (self.rules.trials if isinstance(self.rules, External) else 1)

    @property
    def total_steps(self) -> int:
        """Updates that the whole run may spend."""
        return self.rules.studies * self.study_steps + self.judged_seeds * self.trial_steps

    @property
    def searched(self) -> Space:
        """The space under the rules: nothing is looked for under self-tuning."""
        if isinstance(self.rules, External):
            return self.space
        return Space(lr=None, one_minus_beta1=None, one_minus_beta2=None, eps=None, weight_decay=None)

    def configured(self, point: dict[str, float]) -> OptimizerOptions:
        """The optimizer at a point of the space; raises SpecInvalid where a number lies outside its legal range."""
        settings = self.searched.settings(type(self.optimizer), point)
        return type(self.optimizer).parse(self.optimizer.model_dump(mode="json") | settings)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fields.check_optimizer(self)
        fields.check_workload(self)
        if self.warmup_steps >= self.steps:
            refuse("warmup_steps", f"Must be below the {self.steps} steps.")
        available = self.workload.examples
        if available is not None and self.batch_size > available:
            refuse("batch_size", f"There are only {available} training examples.")
        if self.workload.one_pass and available is not None and self.trial_steps * self.batch_size > available:
            refuse("steps", f"One pass over {available} examples has {available // self.batch_size} batches.")
        if self.workload.one_pass and self.objective != "eval/loss":
            refuse("objective", "One pass is judged by the losses that it met.")
        if isinstance(self.rules, External):
            self._check_space()
        return self

    def _check_space(self) -> None:
        names = self.space.fields_of(type(self.optimizer))
        if not names:
            refuse("space", f"{self.optimizer.kind} has none of the numbers that are looked for.")
        for role, span in self.space.tuned().items():
            for end in ("low", "high"):
                point = {other: interval.low for other, interval in self.space.tuned().items()}
                try:
                    self.configured(point | {role: getattr(span, end)})
                except SpecInvalid as error:
                    name = names.get(role, "")
                    if name in error.fields:
                        refuse(
                            f"space.{role}.{end}", f"Not legal for {self.optimizer.kind}.{name}: {error.fields[name]}"
                        )
