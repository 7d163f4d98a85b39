"""The one base of every error that this library raises on purpose."""

from __future__ import annotations

from collections.abc import Mapping


class CoreError(Exception):
    """What went wrong, in three parts: a stable dotted code, a sentence, and the places it concerns.

    `fields` maps a location ("optimizer.lr") to what is wrong there; it may be empty.
    """

    code = "core.error"

    def __init__(self, message: str, *, fields: Mapping[str, str] | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields = dict(fields or {})
        if code is not None:
            self.code = code


class UnknownRecipe(CoreError):
    """No recipe has this name."""

    code = "recipe.unknown"


class UnknownTemplate(CoreError):
    """The recipe has no study template of this name."""

    code = "template.unknown"


class SpecInvalid(CoreError):
    """A spec was refused; `fields` says where and why."""

    code = "spec.invalid"


class CheckpointInvalid(CoreError):
    """A checkpoint is missing, truncated, altered, or belongs to another run."""

    code = "checkpoint.invalid"


class NonFinite(CoreError):
    """Training met NaN or infinity where it cannot go on."""

    code = "training.non_finite"


class InputInvalid(CoreError):
    """An argument lies outside its legal range; `fields` names it."""

    code = "input.invalid"


class MeshInvalid(CoreError):
    """The devices do not make the mesh asked for, or the batch does not divide over it."""

    code = "mesh.invalid"


class WeightsInvalid(CoreError):
    """Pretrained weights are truncated, altered, incomplete, or contradict their configuration."""

    code = "weights.invalid"
