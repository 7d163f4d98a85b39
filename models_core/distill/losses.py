"""Losses between a teacher's and a student's next-token distributions, and against the true tokens.

Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015 (arXiv 1503.02531).

    KL(p || q) = sum p (log p - log q),  p, q = softmax(teacher / temperature), softmax(student / temperature)

The gradient shrinks as 1/temperature^2, which t_squared undoes; with it, a change of temperature keeps the balance with
the hard loss, and without it published recipes that do so (TRL) are matched. All losses are means over valid tokens in
nats: sums divided by the number of valid tokens, never by the number of rows, so that padding and unequal rows change
nothing.
Reduces to: 0, with zero gradient, when teacher = student.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def forward_kl(
    teacher: Float[Array, "batch time vocabulary"],
    student: Float[Array, "batch time vocabulary"],
    valid: Float[Array, "batch time"],
    *,
    temperature: float = 1.0,
    t_squared: bool = True,
) -> Float[Array, ""]:
    """KL(teacher || student) per valid token, from logits; temperature > 0. No gradient reaches the teacher."""
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32) / temperature)
    log_q = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    divergence = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
    return token_mean(divergence, valid) * (temperature**2 if t_squared else 1.0)


def cross_entropy(
    logits: Float[Array, "batch time vocabulary"],
    targets: Int[Array, "batch time"],
    valid: Float[Array, "batch time"],
) -> Float[Array, ""]:
    """-log softmax(logits)[target] per valid token: the hard-label loss."""
    return token_mean(token_losses(logits, targets), valid)


def mixed(hard: Float[Array, ""], soft: Float[Array, ""], *, soft_weight: float) -> Float[Array, ""]:
    """(1 - soft_weight) hard + soft_weight soft; soft_weight in [0, 1], at 0 the teacher does not matter."""
    return (1 - soft_weight) * hard + soft_weight * soft


def token_losses(
    logits: Float[Array, "batch time vocabulary"], targets: Int[Array, "batch time"]
) -> Float[Array, "batch time"]:
    """-log softmax(logits)[target] of every token, in float32."""
    log_q = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_q, targets[..., None], axis=-1)[..., 0]


def token_mean(values: Float[Array, "batch time"], valid: Float[Array, "batch time"]) -> Float[Array, ""]:
    """Mean over valid tokens; 0 when there is none."""
    return jnp.sum(values * valid) / jnp.maximum(jnp.sum(valid), 1.0)
