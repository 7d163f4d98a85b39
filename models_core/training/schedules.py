"""Learning-rate schedules over the number of updates made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Decay = Literal["none", "linear", "cosine"]
# Of one number of updates, or of many.
Schedule = Callable[[Int[Array, "*updates"]], Float[Array, "*updates"]]


def table(schedule: Schedule, steps: int) -> list[float]:
    """The learning rate of each of the first `steps` updates, on the host: for loops that are not compiled."""
    rates: list[float] = np.asarray(schedule(jnp.arange(steps))).tolist()
    return rates


def warmup_then_decay(peak: float, *, steps: int, warmup_steps: int, decay: Decay) -> Schedule:
    """Rise linearly over `warmup_steps` updates to `peak`, then fall to 0 at `steps` (or stay, for "none").

    Update number t, counted from 0, uses the value at t: the first one peak / (warmup_steps + 1).
    """

    def schedule(count: Int[Array, "*updates"]) -> Float[Array, "*updates"]:
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


def published_autoencoder(peak: float, *, epochs: int, warmup_epochs: int, epoch_steps: int) -> Schedule:
    """The schedule of the MNIST autoencoder benchmark: it changes at the start of each epoch, counted from 0.

    peak e / warmup_epochs while e < warmup_epochs, so that the first epoch only gathers statistics, then linearly to 0
    at `epochs`.
    """

    def schedule(count: Int[Array, "*updates"]) -> Float[Array, "*updates"]:
        epoch = (jnp.asarray(count) // epoch_steps).astype(jnp.float32)
        rise = jnp.minimum(epoch / max(warmup_epochs, 1), 1.0) if warmup_epochs else jnp.ones_like(epoch)
        fall = jnp.clip((epochs - epoch) / max(epochs - warmup_epochs, 1), 0.0, 1.0)
        return peak * jnp.minimum(rise, fall)

    return schedule


def by_epoch(peak: float, *, steps: int, warmup_steps: int, epoch_steps: int, falls: bool = True) -> Schedule:
    """The schedule of the published MNIST autoencoder benchmark: it changes at the start of each epoch, counted from 0.

    With W = warmup_steps / epoch_steps and E = steps / epoch_steps: peak e / W in epoch e < W, so that the first one
    only gathers statistics, then peak (E - e) / (E - W), or peak without `falls`.
    """
    warmup, epochs = warmup_steps / epoch_steps, steps / epoch_steps

    def schedule(count: Int[Array, "*updates"]) -> Float[Array, "*updates"]:
        epoch = (jnp.asarray(count) // epoch_steps).astype(jnp.float32)
        rise = jnp.minimum(epoch / warmup, 1.0) if warmup else jnp.ones_like(epoch)
        fall = jnp.clip((epochs - epoch) / (epochs - warmup), 0.0, 1.0) if falls else jnp.ones_like(epoch)
        return peak * jnp.minimum(rise, fall)

    return schedule
