"""The loop of a training phase: steps, reports, evaluations, checkpoints, a clean stop.

A run may have several phases (teacher, then student); its steps are numbered through them, and every checkpoint says to
which phase it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from models_core.events import Checkpoint, Context, Event, Metric, Progress
from models_core.training import snapshot
from models_core.training.pacing import Pacing
from models_core.training.step import check_finite
from models_core.training.stopwatch import Stopwatch

# The state is JAX's TrainState, or whatever else has `params` and a Keeping.
Advance = Callable[[Any, int], tuple[Any, Mapping[str, Any]]]


@dataclass(frozen=True)
class Keeping:
    """How a framework's training state is waited for, checked, saved and restored; the default is JAX's `TrainState`.

    check(state, what): raises NonFinite. restored(arrays, state): the state that `arrays` gave, from all arrays of a
    checkpoint under "state.".
    """

    wait: Callable[[Any], object] = jax.block_until_ready
    check: Callable[[Any, str], None] = check_finite
    arrays: Callable[[Any], dict[str, np.ndarray]] = lambda state: snapshot.to_arrays(state, "state.")
    restored: Callable[[Mapping[str, np.ndarray], Any], Any] = lambda arrays, state: snapshot.from_arrays(
        arrays, state, "state."
    )


@dataclass(frozen=True)
class Phase:
    """One model's training; its steps are numbered from `offset` + 1.

    advance(state, index): update number `index`, counted from 0 in this phase; returns the numbers to report.
    metrics: public key of each such number; others are left out. evaluate: values at the end and every eval_every.
    kept: arrays that checkpoints carry beside the state. counted(updates): further values that a report has.
    tokens_per_step: for the rate. keeping: how the state is saved. watch(state, updates): sees the state after every
    step, without a copy.
    """

    name: str
    offset: int
    steps: int
    advance: Advance
    metrics: Mapping[str, str]
    evaluate: Callable[[Any], dict[str, float]]
    tokens_per_step: int
    kept: Callable[[], Mapping[str, np.ndarray]] = dict
    counted: Callable[[int], Mapping[str, float]] = lambda updates: {}
    watch: Callable[[Any, int], None] = lambda state, updates: None
    rate: str = "perf/tokens_per_s"
    state: Mapping[str, Any] = field(default_factory=dict)
    keeping: Keeping = Keeping()


def resumes(ctx: Context, name: str) -> bool:
    """Whether the run continues inside this phase."""
    return ctx.resume is not None and ctx.resume.state.get("phase") == name


def learnt(
    phase: Phase, ctx: Context, pacing: Pacing, state: Any, restored: Callable[..., Any]
) -> Generator[Event, None, Any]:
    """The model of a run's first phase: of the checkpoint when the run is past it, else trained.

    restored(arrays, state, prefix): the model that a checkpoint keeps under the phase's name. None after a stop.
    """
    if ctx.resume is not None and not resumes(ctx, phase.name):
        return restored(ctx.resume.arrays, state, f"{phase.name}.")
    trained = yield from train(phase, ctx, pacing, state)
    return None if trained is None else trained.params


def train(phase: Phase, ctx: Context, pacing: Pacing, state: Any) -> Generator[Event, None, Any]:
    """Carry the phase out from `state`, or from the checkpoint when the run continues inside it.

    Returns the state after the last step, or None after a stop, whose checkpoint has been yielded.
    """
    first, keeping = phase.offset, phase.keeping
    if resumes(ctx, phase.name) and ctx.resume is not None:
        state = keeping.restored(ctx.resume.arrays, state)
        first = ctx.resume.step
    what, watch = f"The {phase.name}", Stopwatch()

    def checkpoint(step: int) -> Checkpoint:
        keeping.check(state, what)
        arrays = keeping.arrays(state) | dict(phase.kept())
        return Checkpoint(step, arrays, {"phase": phase.name, **phase.state})

    last, last_report = phase.offset + phase.steps, first
    yield Progress(first, pacing.steps, f"training the {phase.name}")
    for step in range(first + 1, last + 1):
        if ctx.should_stop():
            yield checkpoint(step - 1)
            return None
        watch.start()
        updates = step - phase.offset
        state, numbers = phase.advance(state, updates - 1)
        phase.watch(state, updates)
        reports, evaluates = pacing.reports(step), pacing.evaluates(step) or step == last
        if not (reports or evaluates or pacing.saves(step)):
            continue
        keeping.wait(state)
        watch.stop()
        keeping.check(state, what)
        if reports:
            values = {phase.metrics[key]: float(value) for key, value in numbers.items() if key in phase.metrics}
            values[phase.rate] = phase.tokens_per_step * (step - last_report) / watch.lap_s()
            last_report = step
            yield Metric(step, values | dict(phase.counted(updates)))
        if evaluates:
            yield Metric(step, phase.evaluate(state.params))
        if pacing.tells_progress(step):
            yield Progress(step, pacing.steps, f"training the {phase.name}")
        if pacing.saves(step):
            yield checkpoint(step)
    return state
