"""Losses between a teacher's and a student's next-token distributions, and against the true tokens.

Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015 (arXiv 1503.02531); the
generalised Jensen-Shannon divergence from Agarwal et al., "On-policy distillation of language models", ICLR 2024 (arXiv
2306.13649); skewed KL from Ko et al., "DistiLLM", ICML 2024 (arXiv 2402.03898); sorted probabilities from Boizard et
al., "Towards cross-tokenizer distillation: the universal logit distillation loss", 2024 (arXiv 2402.12030).

    p, q = softmax(teacher / T), softmax(student / T);  KL(p || q) = sum p (log p - log q)
    forward KL(p||q); reverse KL(q||p); symmetric: half of each; total variation: sum |p - q| / 2
    Jensen-Shannon(beta): M = beta p + (1-beta) q;  beta KL(p||M) + (1-beta) KL(q||M);  beta = 0 is *defined* as
    forward and 1 as reverse KL although the formula tends to 0 there: a jump in scale
    skewed(a): KL(p || a p + (1-a) q);  sorted: sum |sort(p) - sort(q)|, the shorter one padded with zeros

Gradients shrink as 1/T^2, which t_squared undoes; with it, a change of temperature keeps the balance with the hard
loss, and without it published recipes that do so (TRL) are matched. All losses are means over valid tokens in nats
(variations without a unit): sums divided by the number of valid tokens, never of rows, so that padding and unequal rows
change nothing. p may be exactly 0 (a logit of -inf) except in reverse and symmetric KL, which are infinite then.
Deviates: without t_squared nothing; T^2 on the divergences other than forward KL is an extension by analogy.
Reduces to: 0, with zero gradient, when teacher = student.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models_core.distill.options import (
    Divergence,
    ForwardKL,
    JensenShannon,
    Mapped,
    ReverseKL,
    SkewedKL,
    SymmetricKL,
    TotalVariation,
)

# Of two float32 softmaxes of the same logits, relative; compilers order their sums differently.
ROUNDING = 4e-6


def divergence_tokens(
    divergence: Divergence,
    teacher: Float[Array, "*tokens teacher_vocabulary"],
    student: Float[Array, "*tokens vocabulary"],
) -> Float[Array, " *tokens"]:
    """The divergence of every token, from logits, in float32, temperature included. No gradient reaches the teacher."""
    temperature = divergence.temperature
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32) / temperature)
    log_q = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    values = _of_log_probabilities(divergence, log_p, log_q)
    return values * temperature**2 if divergence.t_squared else values


def _of_log_probabilities(divergence: Divergence, log_p: Array, log_q: Array) -> Array:
    match divergence:
        case ForwardKL():
            return kl(log_p, log_q)
        case ReverseKL():
            return kl(log_q, log_p)
        case SymmetricKL():
            return 0.5 * (kl(log_p, log_q) + kl(log_q, log_p))
        case JensenShannon(beta=beta):
            if beta in (0, 1):
                return kl(log_p, log_q) if beta == 0 else kl(log_q, log_p)
            log_m = mixture(log_p, log_q, beta)
            return beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m)
        case SkewedKL(alpha=alpha):
            return kl(log_p, log_q if alpha == 0 else mixture(log_p, log_q, alpha))
        case TotalVariation():
            return 0.5 * absolute_distance(jnp.exp(log_p), jnp.exp(log_q))
        case Mapped():
            return sorted_distance(jnp.exp(log_p), jnp.exp(log_q))


def kl(
    log_p: Float[Array, "*tokens vocabulary"], log_q: Float[Array, "*tokens vocabulary"]
) -> Float[Array, " *tokens"]:
    """sum p (log p - log q); entries with p = 0 count 0."""
    p = jnp.exp(log_p)
    return jnp.sum(p * (jnp.where(p > 0, log_p, 0.0) - jnp.where(p > 0, log_q, 0.0)), axis=-1)


def mixture(
    log_p: Float[Array, "*tokens vocabulary"], log_q: Float[Array, "*tokens vocabulary"], share: float
) -> Float[Array, "*tokens vocabulary"]:
    """log(share p + (1 - share) q), 0 < share < 1."""
    mixed: Array = jnp.logaddexp(log_p + jnp.log(jnp.float32(share)), log_q + jnp.log1p(jnp.float32(-share)))
    return mixed


def absolute_distance(
    p: Float[Array, "*tokens vocabulary"], q: Float[Array, "*tokens vocabulary"]
) -> Float[Array, " *tokens"]:
    """sum |p - q|; differences of the size of rounding count 0, so that it decides no sign of the gradient."""
    difference = p - q
    real = jnp.abs(difference) > ROUNDING * (p + q)
    return jnp.sum(jnp.where(real, jnp.abs(difference), 0.0), axis=-1)


def sorted_distance(
    p: Float[Array, "*tokens teacher_vocabulary"], q: Float[Array, "*tokens vocabulary"]
) -> Float[Array, " *tokens"]:
    """sum |p_(i) - q_(i)| over ranks; the smaller vocabulary is padded with zeros."""
    rows = max(p.shape[-1], q.shape[-1])

    def ranked(x: Array) -> Array:
        ordered = -jnp.sort(-x, axis=-1)
        return jnp.pad(ordered, [(0, 0)] * (x.ndim - 1) + [(0, rows - x.shape[-1])])

    return absolute_distance(ranked(p), ranked(q))


def divergence_mean(
    divergence: Divergence,
    teacher: Float[Array, "batch time teacher_vocabulary"],
    student: Float[Array, "batch time vocabulary"],
    valid: Float[Array, "batch time"],
) -> Float[Array, ""]:
    """Mean divergence per valid token."""
    return token_mean(divergence_tokens(divergence, teacher, student), valid)


def forward_kl(
    teacher: Float[Array, "batch time vocabulary"],
    student: Float[Array, "batch time vocabulary"],
    valid: Float[Array, "batch time"],
    *,
    temperature: float = 1.0,
    t_squared: bool = True,
) -> Float[Array, ""]:
    """KL(teacher || student) per valid token, from logits; temperature in [0.05, 1000]."""
    return divergence_mean(ForwardKL(temperature=temperature, t_squared=t_squared), teacher, student, valid)


def cross_entropy(
    logits: Float[Array, "batch time vocabulary"],
    targets: Int[Array, "batch time"],
    valid: Float[Array, "batch time"],
) -> Float[Array, ""]:
    """-log softmax(logits)[target] per valid token: the hard-label loss."""
    return token_mean(token_losses(logits, targets), valid)


def mixed(hard: Float[Array, ""], soft: Float[Array, ""], *, soft_weight: float | Float[Array, ""]) -> Float[Array, ""]:
    """(1 - soft_weight) hard + soft_weight soft; soft_weight in [0, 1], at 0 the teacher does not matter."""
    return (1 - soft_weight) * hard + soft_weight * soft


def token_losses(
    logits: Float[Array, "*tokens vocabulary"], targets: Int[Array, " *tokens"]
) -> Float[Array, " *tokens"]:
    """-log softmax(logits)[target] of every token, in float32."""
    log_q = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_q, targets[..., None], axis=-1)[..., 0]


def token_mean(values: Float[Array, "batch time"], valid: Float[Array, "batch time"]) -> Float[Array, ""]:
    """Mean over valid tokens; 0 when there is none."""
    return jnp.sum(values * valid) / jnp.maximum(jnp.sum(valid), 1.0)
