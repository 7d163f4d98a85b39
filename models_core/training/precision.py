"""One table of the number formats of a training run, for JAX and PyTorch alike; names, no arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PrecisionName = Literal["float32", "mixed_bfloat16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Precision:
    """params: of the weights that the optimizer holds. compute: of activations and products.

    accumulate: of summed gradients and of the moving average. output: of logits on their way into the loss.
    """

    params: str
    compute: str
    accumulate: str
    output: str


PRECISIONS: dict[PrecisionName, Precision] = {
    "float32": Precision("float32", "float32", "float32", "float32"),
    # Products at half the memory traffic; small updates still reach the weights.
    "mixed_bfloat16": Precision("float32", "bfloat16", "float32", "float32"),
    # Half the memory of the weights; updates below 1/256 of a weight are lost to rounding.
    "bfloat16": Precision("bfloat16", "bfloat16", "float32", "float32"),
}
