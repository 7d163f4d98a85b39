"""Learning-rate schedules over the number of updates made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Decay = Literal["none", "linear", "cosine"]


def warmup_then_decay(
    peak: float, *, steps: int, warmup_steps: int, decay: Decay
) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
    """Rise linearly over `warmup_steps` updates to `peak`, then fall to 0 at `steps` (or stay, for "none").

    Update number t, counted from 0, uses the value at t: the first one peak / (warmup_steps + 1).
    """

    def schedule(count: Int[Array, ""]) -> Float[Array, ""]:
        done = jnp.asarray(count).astype(jnp.float32)
        rise = jnp.minimum((done + 1) / (warmup_steps + 1), 1.0)
        progress = jnp.clip((done - warmup_steps) / max(steps - warmup_steps, 1), 0.0, 1.0)
        match decay:
            case "none":
                fall = jnp.ones_like(done)
            case "linear":
                fall = 1 - progress
            case "cosine":
                fall = 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return peak * rise * fall

    return schedule
