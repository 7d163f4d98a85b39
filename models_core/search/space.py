"""Where hyper-parameters are looked for: ranges by role, the same for every optimizer.

A role is what a number does, whatever an optimizer calls it; `fields_of` finds the field. An optimizer without such a
field gets the same draws and leaves that one out, so that the trials of two optimizers correspond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, model_validator

from models_core.spec import Spec, field, refuse

# Names of a role's field, the first that an optimizer has; a decay b is drawn as 1 - b.
_NAMES = {
    "lr": ("lr",),
    "one_minus_beta1": ("beta1", "momentum"),
    "one_minus_beta2": ("beta2", "decay"),
    "eps": ("eps", "epsilon", "delta"),
    "weight_decay": ("weight_decay",),
}
_COMPLEMENTS = {"one_minus_beta1", "one_minus_beta2"}


class Range(Spec, title="Range"):
    """From low to high."""

    low: float = field(title="Lowest", help="Smallest value.", gt=0, format="log", section="Search")
    high: float = field(title="Highest", help="Largest value.", gt=0, format="log", section="Search")
    scale: Literal["log", "linear"] = field(
        "log", title="Scale", help="On which values are evenly likely.", section="Search"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high <= self.low:
            refuse("high", f"Must be above the lowest, {self.low:g}.")
        return self

    def values(self, count: int) -> list[float]:
        """`count` >= 2 values from low to high, evenly spaced on the scale."""
        shares = [index / (count - 1) for index in range(count)]
        if self.scale == "linear":
            return [self.low + (self.high - self.low) * share for share in shares]
        # The ends exactly: a rounded power may lie outside.
        inner = [self.low * (self.high / self.low) ** share for share in shares[1:-1]]
        return [self.low, *inner, self.high]


class Space(Spec, title="Search space"):
    """Ranges; without one a number stays as the optimizer has it."""

    lr: Range | None = field(
        Range(low=1e-4, high=5e-2), title="Learning rate", help="Empty: as it is.", section="Search"
    )
    lr_factor: float = field(
        1.0,
        title="Factor on the rates",
        help="For methods whose steps have another scale (10 for SGD, say).",
        gt=0,
        le=1e6,
        format="log",
        section="Search",
        advanced=True,
    )
    one_minus_beta1: Range | None = field(
        Range(low=0.01, high=0.32), title="1 - beta 1", help="Or 1 - momentum. Empty: as it is.", section="Search"
    )
    one_minus_beta2: Range | None = field(
        Range(low=0.001, high=0.999),
        title="1 - beta 2",
        help="Of the second moment. Empty: as it is.",
        section="Search",
    )
    eps: Range | None = field(None, title="Epsilon", help="Empty: as it is.", section="Search", advanced=True)
    weight_decay: Range | None = field(
        None, title="Weight decay", help="Empty: as it is.", section="Search", advanced=True
    )

    def tuned(self) -> dict[str, Range]:
        """The ranges there are, by role, in a fixed order."""
        return {role: span for role in _NAMES if (span := getattr(self, role)) is not None}

    def fields_of(self, optimizer: type[BaseModel]) -> dict[str, str]:
        """The optimizer's field for each role that is tuned and that it has."""
        found = {}
        for role in self.tuned():
            names = [name for name in _NAMES[role] if name in optimizer.model_fields]
            if names:
                found[role] = names[0]
        return found

    def settings(self, optimizer: type[BaseModel], point: Mapping[str, float]) -> dict[str, float]:
        """A point of the space, by role, as values of the optimizer's fields."""
        found = {}
        for role, name in self.fields_of(optimizer).items():
            value = point[role]
            if role in _COMPLEMENTS:
                # A decay of exactly 0 is legal everywhere, one of 1 - 1e-17 = 1 nowhere.
                value = min(1 - value, math.nextafter(1.0, 0.0))
            elif role == "lr":
                value *= self.lr_factor
            found[name] = value
        return found
