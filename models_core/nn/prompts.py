"""What generation is asked for, independent of the framework: prompts in one batch, and how tokens are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_core.errors import InputInvalid
from models_core.spec import Spec, field


class Sampling(Spec, title="Sampling"):
    """How the next token is chosen: temperature first, then the k best, then the most probable mass."""

    temperature: float = field(0.0, title="Temperature", help="0: always the most probable token.", ge=0, le=100)
    top_k: int = field(0, title="Best tokens", help="Only the k most probable; 0: all.", ge=0)
    top_p: float = field(
        1.0, title="Probable mass", help="Only the most probable tokens that together reach this mass.", gt=0, le=1
    )


def left_padded(prompts: Sequence[Sequence[int]], vocabulary: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Prompts as one table, padded on the left with id 0, and the padding of each row."""
    if not len(prompts) or any(len(prompt) == 0 for prompt in prompts):
        raise InputInvalid("There is nothing to continue.", fields={"prompts": "At least one prompt, none empty."})
    longest = max(len(prompt) for prompt in prompts)
    table = np.zeros((len(prompts), longest), np.int64)
    padding = np.array([longest - len(prompt) for prompt in prompts], np.int32)
    for row, prompt, gap in zip(table, prompts, padding, strict=True):
        row[gap:] = prompt
    if table.min() < 0 or table.max() >= vocabulary:
        reason = f"Ids must lie in 0 .. {vocabulary - 1}, found {table.min()} .. {table.max()}."
        raise InputInvalid("A token id is outside the vocabulary.", fields={"prompts": reason})
    return table, padding


def chunk_bounds(blocks: NDArray[Any], chunk: int) -> list[int]:
    """Ends of chunks of columns, 0 first: about `chunk` columns each, none inside a block of any row.

    blocks (batch, time): number of the image that a column belongs to, -1 for none.
    """
    time = blocks.shape[1]
    inside = (blocks[:, 1:] == blocks[:, :-1]) & (blocks[:, 1:] >= 0)
    ends = [*(np.flatnonzero(~inside.any(axis=0)) + 1).tolist(), time]
    bounds = [0]
    while bounds[-1] < time:
        reach = bounds[-1] + chunk
        fitting = [end for end in ends if bounds[-1] < end <= reach]
        bounds.append(fitting[-1] if fitting else next(end for end in ends if end > bounds[-1]))
    return bounds
