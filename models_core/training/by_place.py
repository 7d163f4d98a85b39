"""Loss by place in the context, over packed text, whatever the framework computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float64

from models_core.data.packing import Packed

Evaluate = Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]


def sums_by_place(evaluate: Evaluate, packed: Packed, rows: int) -> Float64[np.ndarray, "2 length"]:
    """Sums of losses, and numbers of valid targets, at each place of the rows.

    evaluate: the same for a batch of `rows` rows. The last batch is filled with rows that do not count.
    """
    totals = np.zeros((2, packed.inputs.shape[1]))
    for start in range(0, len(packed), rows):
        chosen = np.arange(start, start + rows)
        batch = packed.batch(np.minimum(chosen, len(packed) - 1))
        batch["valid"] = batch["valid"] * (chosen < len(packed)).astype(np.float32)[:, None]
        totals += np.stack(evaluate(batch))
    return totals
