"""Where a tuning stands: the ledgers of its studies, the seeds that judge, and what the current trial has used.

All of it is plain JSON, so that a checkpoint holds it. Which trial comes next follows from it and the seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

import numpy as np

from models_core.events import decode_float, encode_float
from models_core.optim._options import OptimizerOptions
from models_core.recipes.optimizer_tuning.spec import Spec
from models_core.search.ledger import Ledger, Trial

# Keeps the seeds that judge apart from those of the studies.
_JUDGES = 1 << 20


@dataclass(frozen=True)
class Job:
    """One training run: of a study's trial, or of the best one again with a fresh seed (study is then None)."""

    study: int | None
    number: int
    options: OptimizerOptions
    seed: int


@dataclass
class Session:
    """charged: updates before the current trial. used: updates of it. arrived: its first step at the target.

    paid: sum of its losses so far (one-pass workloads). steps_to_target: of every finished trial, by study; infinite
    for a miss. judged: values of the best trial with fresh seeds.
    """

    spec: Spec
    seed: int
    ledgers: list[Ledger]
    charged: int = 0
    used: int = 0
    arrived: int | None = None
    paid: float = 0.0
    steps_to_target: list[list[float]] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, spec: Spec, seed: int) -> Session:
        """Before the first trial."""
        return cls(spec, seed, [], steps_to_target=[[] for _ in range(spec.rules.studies)])._with_ledgers([])

    @classmethod
    def from_json(cls, spec: Spec, seed: int, state: Mapping[str, Any]) -> Session:
        """The inverse of `to_json`."""
        return cls(
            spec,
            seed,
            [],
            charged=state["charged"],
            used=state["used"],
            arrived=state["arrived"],
            paid=state["paid"],
            steps_to_target=[[decode_float(steps) for steps in study] for study in state["steps_to_target"]],
            judged=[decode_float(value) for value in state["judged"]],
        )._with_ledgers(state["ledgers"])

    def to_json(self) -> dict[str, Any]:
        """Everything but spec and seed."""
        return {
            "charged": self.charged,
            "used": self.used,
            "arrived": self.arrived,
            "paid": self.paid,
            "steps_to_target": [[encode_float(steps) for steps in study] for study in self.steps_to_target],
            "judged": [encode_float(value) for value in self.judged],
            "ledgers": [ledger.to_json() for ledger in self.ledgers],
        }

    def job(self) -> Job | None:
        """The run that is due, begun or not; None when all is done."""
        for study, ledger in enumerate(self.ledgers):
            running = bool(ledger.trials) and ledger.trials[-1].state == "running"
            if running or self._spent(ledger) + self.spec.trial_steps <= self.spec.study_steps:
                trial = ledger.trials[-1] if running else ledger.ask()
                return Job(study, trial.number, self.spec.configured(trial.point), self._seed_of(study))
        best = self.best
        if best is None or len(self.judged) == self.spec.judged_seeds:
            return None
        number = len(self.judged)
        return Job(None, number, self.spec.configured(best[1].point), self._seed_of(_JUDGES + number))

    def finish(self, job: Job, value: float, *, given_up: bool = False) -> None:
        """End the run that is due. One that diverged is charged in full, one that was given up what it used."""
        if job.study is None:
            self.judged.append(value if math.isfinite(value) else math.inf)
        else:
            self.ledgers[job.study].finish(value, "given_up" if given_up else "complete")
            self.steps_to_target[job.study].append(math.inf if self.arrived is None else float(self.arrived))
        self.charged += self.used if given_up else self.spec.trial_steps
        self.used, self.arrived, self.paid = 0, None, 0.0

    @property
    def best(self) -> tuple[int, Trial] | None:
        """Study and trial of the lowest value of all."""
        found = [(study, ledger.best) for study, ledger in enumerate(self.ledgers)]
        complete = [(study, trial) for study, trial in found if trial is not None]
        return min(complete, key=lambda pair: pair[1].value, default=None)

    @property
    def value(self) -> float:
        """Mean over the seeds that judged, or the best trial's own value; infinite where none completed."""
        if self.judged:
            return mean(self.judged)
        return self.best[1].value if self.best else math.inf

    @property
    def score_steps(self) -> float:
        """AlgoPerf's: median over studies of the fewest steps to the target of its trials; misses are infinite."""
        return float(median(min(study, default=math.inf) for study in self.steps_to_target))

    def table(self) -> list[dict[str, Any]]:
        """One row a trial."""
        rows = []
        for study, ledger in enumerate(self.ledgers):
            for trial, steps in zip(ledger.trials, self.steps_to_target[study], strict=True):
                settings = self.spec.searched.settings(type(self.spec.optimizer), trial.point)
                rows.append(
                    {
                        "study": study,
                        "trial": trial.number,
                        "state": trial.state,
                        "value": encode_float(trial.value),
                        "steps_to_target": encode_float(steps),
                        **settings,
                    }
                )
        return rows

    def _spent(self, ledger: Ledger) -> int:
        """Updates of a study so far: a trial that was given up had an evaluation after each of its reports."""
        full, every = self.spec.trial_steps, self.spec.eval_every
        return sum(
            min(every * len(trial.reports), full) if trial.state == "given_up" else full for trial in ledger.trials
        )

    def _seed_of(self, number: int) -> int:
        """The seed of a study's trials, all of them: initial weights and batches are the same for each."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0] >> 1)

    def _with_ledgers(self, ledgers: list[Any]) -> Session:
        for study in range(self.spec.rules.studies):
            trials = ledgers[study] if ledgers else ()
            seed = self._seed_of(study)
            self.ledgers.append(Ledger(self.spec.strategy, self.spec.searched, seed=seed, trials=trials))
        return self
