"""A search as a ledger of trials: what is asked next follows from the ledger and the seed alone.

Before each trial a fresh Optuna study is made from the ledger, and its sampler seeded by (seed, trial number). So a
search needs no hidden state: a ledger that went through JSON goes on as if it had never stopped, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import optuna

from models_core import search
from models_core.errors import InputInvalid
from models_core.events import decode_float, encode_float
from models_core.search._options import StrategyOptions
from models_core.search.space import Space

State = Literal["running", "complete", "given_up", "diverged"]


@dataclass
class Trial:
    """point: by role. reports: values on the way. value: at the end; infinite where it diverged. Lower is better."""

    number: int
    point: dict[str, float]
    reports: list[float] = field(default_factory=list)
    state: State = "running"
    value: float = math.inf
    attributes: dict[str, Any] = field(default_factory=dict)
    """What the pruner noted: the rungs reached."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, NaN and infinity as strings."""
        numbers = {"reports": [encode_float(value) for value in self.reports], "value": encode_float(self.value)}
        return asdict(self) | numbers

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Trial:
        """The inverse of `to_json`."""
        reports = [decode_float(value) for value in record["reports"]]
        return cls(**{**record, "reports": reports, "value": decode_float(record["value"])})


class Ledger:
    """One search. seed >= 0. trials: those of before, the last of which may be running."""

    def __init__(
        self, strategy: StrategyOptions, space: Space, *, seed: int, trials: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._strategy, self._space, self._seed = strategy, space, seed
        self.trials = [Trial.from_json(record) for record in trials]
        self._asked: Any = None
        if self.trials and self.trials[-1].state == "running":
            running = self.trials.pop()
            self._ask(running.number)
            self.trials.append(running)
            for number, value in enumerate(running.reports, 1):
                self._tell_pruner(number, value)

    def ask(self) -> Trial:
        """The next trial; raises InputInvalid while one is running."""
        if self.trials and self.trials[-1].state == "running":
            raise InputInvalid("The trial before is still running.", fields={"trial": "Not finished."})
        trial = Trial(len(self.trials), self._ask(len(self.trials)))
        self.trials.append(trial)
        return trial

    def report(self, value: float) -> bool:
        """Note a value on the way, NaN for one that is none; whether the trial should be given up."""
        trial = self._running()
        trial.reports.append(value)
        return self._tell_pruner(len(trial.reports), value)

    def finish(self, value: float, state: State = "complete") -> Trial:
        """End the running trial; a value that is not finite makes it "diverged"."""
        trial = self._running()
        finite = math.isfinite(value)
        trial.value, trial.state = (value, state) if finite else (math.inf, "diverged")
        return trial

    @property
    def best(self) -> Trial | None:
        """The complete trial of the lowest value, the earliest of equals; None before there is one."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        return min(complete, key=lambda trial: trial.value, default=None)

    def to_json(self) -> list[dict[str, Any]]:
        """The trials as `Ledger` takes them back."""
        return [trial.to_json() for trial in self.trials]

    def _running(self) -> Trial:
        if not self.trials or self.trials[-1].state != "running":
            raise InputInvalid("No trial is running.", fields={"trial": "Ask first."})
        return self.trials[-1]

    def _ask(self, number: int) -> dict[str, float]:
        """Draw the point of trial `number` from the study that the trials before it make."""
        drawn = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        sampler, pruner = search.build(self._strategy, self._space, drawn)
        study = optuna.create_study(sampler=sampler, pruner=pruner)
        spans = self._space.tuned()
        kinds: dict[str, Any] = {
            role: optuna.distributions.FloatDistribution(span.low, span.high, log=span.scale == "log")
            for role, span in spans.items()
        }
        for trial in self.trials[:number]:
            study.add_trial(_frozen(trial, kinds))
        self._asked = study.ask(kinds)
        self._study = study
        return {role: float(self._asked.params[role]) for role in spans}

    def _tell_pruner(self, number: int, value: float) -> bool:
        self._asked.report(value, number)
        give_up = bool(self._asked.should_prune())
        noted = self._study.get_trials(deepcopy=False)[-1].system_attrs
        self.trials[-1].attributes = {key: encode_float(value) for key, value in noted.items() if "rung" in key}
        return give_up


def _frozen(trial: Trial, kinds: Mapping[str, Any]) -> Any:
    """A finished trial as Optuna has it. A diverged one counts as complete and worse than every other."""
    given_up = trial.state == "given_up"
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED if given_up else optuna.trial.TrialState.COMPLETE,
        value=None if given_up else trial.value,
        params=trial.point,
        distributions=dict(kinds),
        intermediate_values=dict(enumerate(trial.reports, 1)),
        system_attrs={key: decode_float(value) for key, value in trial.attributes.items()},
    )
