"""Distillation regularisation: clients are held near the answers of an older or an averaged server model.

    client loss = CE + weight T^2 KL( softmax(f_u / T) || softmax(f_w / T) ) ,  u fixed

u is the server's model `age` steps before the one that the client starts from, one drawn from the last `age` models,
or the exponential moving average of the models. As in the experiments that "Learning from straggler clients in
federated learning", 2024 (arXiv 2403.09086) reports for its baselines.
Deviates: weight, temperature and age are choices of this project; the paper's values were not available.
Reduces to: nothing at weight 0.
Cost: one more forward pass for every local step and one more model to download.

>>> Options().teacher
'history'
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from models_core.spec import Spec, field

if TYPE_CHECKING:
    from models_core.federated.simulation.engine import Regulariser
    from models_core.federated.simulation.schedule import Schedule

_DRAW_STREAM = 7


class NoDistillation(Spec):
    """Clients learn from their labels alone."""

    kind: Literal["none"] = field("none", title="Regularisation", help="Labels alone.", section="Modifications")


class Options(Spec, title="Distillation regularisation"):
    """A historical model or the average teaches every client."""

    kind: Literal["distillation"] = field(
        "distillation", title="Regularisation", help="The server's past teaches.", section="Modifications"
    )
    teacher: Literal["history", "drawn", "average"] = field(
        "history",
        title="Teacher",
        help="The model of some steps ago, one drawn from these steps, or the moving average.",
        section="Modifications",
    )
    age: int = field(5, title="Age", help="Of the teacher.", unit="steps", ge=1, le=1000, section="Modifications")
    weight: float = field(0.3, title="Weight", help="Of the divergence.", ge=0, le=100, section="Modifications")
    temperature: float = field(
        1.0, title="Temperature", help="Of both softmaxes.", gt=0, le=100, section="Modifications", advanced=True
    )


def assign(options: Options, schedule: Schedule, *, seed: int) -> Schedule:
    """The same schedule with the teacher of every report: a model's number, -1 while there is none old enough."""
    import numpy as np

    begun = schedule.version
    if options.weight == 0:
        return schedule
    if options.teacher == "average":
        teacher = np.where(begun >= 1, begun, -1)
    elif options.teacher == "history":
        teacher = np.where(begun >= options.age, begun - options.age, -1)
    else:
        # A function of (seed, client, participation), so that neither place nor algorithm matters.
        who = schedule.client.astype(np.uint64) * np.uint64(1_000_003) + schedule.participation.astype(np.uint64)
        mixed = (who + np.uint64(seed * 7_919 + _DRAW_STREAM)) * np.uint64(0x9E3779B97F4A7C15)
        back = 1 + ((mixed >> np.uint64(33)) % np.uint64(options.age)).astype(np.int32)
        teacher = np.where(begun >= back, begun - back, -1)
    taught = np.cumsum((schedule.counted & (teacher >= 0)).sum(axis=1))
    return replace(schedule, teacher=teacher.astype(np.int32), teachers=taught.astype(np.int64))


def build(options: Options) -> Regulariser | None:
    """What the engine is to do; None at weight 0."""
    from models_core.federated.simulation.engine import Regulariser

    if options.weight == 0:
        return None
    source: Literal["models", "averages"] = "averages" if options.teacher == "average" else "models"
    return Regulariser(options.weight, options.temperature, source)
