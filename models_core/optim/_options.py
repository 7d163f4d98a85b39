"""What the options of every optimizer have in common."""

from __future__ import annotations

from models_core.spec import Spec


class OptimizerOptions(Spec):
    """Base of every optimizer's options; `kind` is the optimizer's name, the name of its file."""

    kind: str
    lr: float
