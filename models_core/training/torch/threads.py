"""How many threads a training deserves on a processor.

Every product and every long sum of PyTorch ends with its threads waiting for each other. In small networks that is most
of the time, and on a machine that others use too nearly all of it. Refuses to measure: the number of threads decides
how sums round, and a run that goes on has to round as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

# Operations of a gradient that one core does in some ten milliseconds; parameters that an update reads in as long.
LEAST_OPERATIONS, LEAST_PARAMETERS = 5e8, 1_000_000


def choose(module: torch.nn.Module, gradient: Callable[[], object]) -> None:
    """Keep this process to one thread where `gradient`, which is called once, and the module are small."""
    with FlopCounterMode(display=False, custom_mapping=_OURS) as counter:
        gradient()
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if counter.get_total_flops() < LEAST_OPERATIONS and parameters < LEAST_PARAMETERS:
        torch.set_num_threads(1)


def _of_product(x: Sequence[int], kernel: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of `nn.torch.linear`'s product, which the counter does not know; of shapes."""
    return 2 * math.prod(x) * kernel[0]


# Where this build of PyTorch has the operation.
_OURS = {torch.ops.mkldnn._linear_pointwise: _of_product} if hasattr(torch.ops.mkldnn, "_linear_pointwise") else {}
