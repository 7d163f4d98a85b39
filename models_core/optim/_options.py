"""What the options of every optimizer have in common, and the fields that many of them share."""

from __future__ import annotations

from typing import Any, ClassVar

from models_core.spec import Spec, field


class OptimizerOptions(Spec):
    """Base of every optimizer's options; `kind` is the optimizer's name, the name of its file.

    wants_loss: whether an update differentiates the loss itself, and so has to be given it.
    """

    wants_loss: ClassVar[bool] = False

    kind: str
    lr: float


def kind_field(name: str, help: str) -> Any:
    """The field `kind`: the name of the file, and what the form says of it."""
    return field(name, title="Optimizer", help=help, section="Optimizer")


def lr_field(default: float) -> Any:
    """The field `lr`."""
    return field(
        default, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section="Optimizer"
    )


def decay_field(default: float, title: str, help: str) -> Any:
    """A moving average's share of the past, in [0, 1)."""
    return field(default, title=title, help=help, ge=0, lt=1, section="Optimizer", advanced=True)


def eps_field(default: float, help: str, title: str = "Epsilon") -> Any:
    """A small positive number."""
    return field(default, title=title, help=help, gt=0, le=1, format="log", section="Optimizer", advanced=True)


def weight_decay_field(default: float = 0.0) -> Any:
    """The field `weight_decay`."""
    return field(
        default,
        title="Weight decay",
        help="Decoupled, times the learning rate.",
        ge=0,
        le=10,
        section="Optimizer",
        advanced=True,
    )
