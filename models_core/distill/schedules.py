"""The teacher's weight over the student's steps."""

from __future__ import annotations

import math

from models_core.distill.options import Constant, CosineWeight, LinearWeight, StepWeight

AnySchedule = Constant | LinearWeight | CosineWeight | StepWeight


def weight_at(schedule: AnySchedule, step: int, steps: int, peak: float) -> float:
    """The weight of update `step`, counted from 0, of `steps`; `peak` is the weight at the start.

    With n = round(until * steps): a step schedule gives `peak` to updates 0..n-1 and 0 afterwards; linear and cosine
    fall from `peak` at update 0 to end * peak at update n, and stay there.
    """
    match schedule:
        case Constant():
            return peak
        case StepWeight(until=until):
            return peak if step < round(until * steps) else 0.0
        case LinearWeight(until=until, end=end):
            return peak * (1 - (1 - end) * _progress(step, until, steps))
        case CosineWeight(until=until, end=end):
            return peak * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * _progress(step, until, steps))))


def _progress(step: int, until: float, steps: int) -> float:
    last = round(until * steps)
    return 1.0 if step >= last else step / last
