"""Options of secure summation; the protocol is simulated in `secure_aggregation`, its arithmetic in the engine."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from models_core.spec import Spec, field, refuse


class NoSecureSum(Spec):
    """Sums in floating point, seen by the server."""

    kind: Literal["none"] = field("none", title="Secure sum", help="None.", section="Communication")


class Options(Spec, title="Secure sum (simulated)"):
    """Fixed point modulo a power of two."""

    kind: Literal["secure"] = field("secure", title="Secure sum", help="Fixed point, modulo.", section="Communication")
    modulus_bits: int = field(
        32, title="Modulus", help="Of the sum; too small overflows, which is reported.", unit="bits", ge=8, le=32,
        section="Communication",
    )  # fmt: skip
    fraction_bits: int = field(
        20, title="Fraction", help="Bits behind the point.", unit="bits", ge=1, le=30, section="Communication"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fraction_bits > self.modulus_bits - 2:
            refuse("fraction_bits", "The modulus leaves no bit before the point.")
        return self
