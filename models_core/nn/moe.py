"""Sparse mixture of experts: each token goes through the k feed-forward networks that a router chooses.

Source: Shazeer et al., 2017 (arXiv 1701.06538); balance loss and capacity: Lepikhin et al., "GShard", 2020 (arXiv
2006.16668) and Fedus et al., "Switch Transformers", 2021 (arXiv 2101.03961), eq. 4; z loss: Zoph et al., "ST-MoE", 2022
(arXiv 2202.08906), eq. 5. Softmax over the chosen logits only, as in Mixtral (arXiv 2401.04088).

    y = sum_{e in top-k} softmax(chosen logits)_e GeGLU_e(x)
    balance = E sum_e f_e P_e ; f_e share of choices that fall on e, P_e mean router probability. 1 when uniform
    z = mean (logsumexp logits)^2

With a capacity an expert takes ceil(capacity k N / E) tokens; first choices go before second ones, earlier tokens
before later ones, the rest are dropped: their share of the sum is 0 and is not given to their other experts.
Deviates: the decoders of Gemini 1.5 disclose no counts; sizes here are the caller's.
Shapes: N tokens, D d_model, F d_ff, E experts, k choices, C capacity.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models_core.nn import ragged
from models_core.nn.configs import DecoderConfig

BALANCE_WEIGHT, Z_WEIGHT = 1e-2, 1e-3


class Routing(NamedTuple):
    """What a router did. Leading axes, if any, are layers."""

    balance: Float[Array, "*layers"]
    z: Float[Array, "*layers"]
    # Share of all choices that fell on each expert; sums to 1.
    load: Float[Array, "*layers experts"]
    # Share of choices that found their expert full.
    dropped: Float[Array, "*layers"]

    def loss(self, balance_weight: float = BALANCE_WEIGHT, z_weight: float = Z_WEIGHT) -> Float[Array, ""]:
        """Both auxiliary losses, weighted, summed over layers."""
        total: Float[Array, ""] = jnp.sum(self.balance) * balance_weight + jnp.sum(self.z) * z_weight
        return total

    def load_entropy(self) -> Float[Array, "*layers"]:
        """Entropy of the load over log E: 1 when every expert is used alike, 0 when one takes all."""
        share = self.load
        terms = jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1.0)), 0.0)
        return -jnp.sum(terms, axis=-1) / math.log(max(share.shape[-1], 2))


def apply(
    params: dict[str, Any],
    config: DecoderConfig,
    x_BTD: Float[Array, "batch time d_model"],
    valid_BT: Bool[Array, "#batch time"] | None = None,
) -> tuple[Float[Array, "batch time d_model"], Routing]:
    """The mixture's output and what its router did.

    params: router (D, E), gate and up (E, D, F), down (E, F, D). valid: tokens that count; the others pass through but
    take no capacity and enter no loss.
    """
    batch, time, d = x_BTD.shape
    x_ND = x_BTD.reshape(batch * time, d)
    valid_N = (
        jnp.ones(batch * time, bool) if valid_BT is None else jnp.broadcast_to(valid_BT, (batch, time)).reshape(-1)
    )
    logits_NE = x_ND.astype(jnp.float32) @ params["router"].astype(jnp.float32)
    best_Nk, chosen_Nk = jax.lax.top_k(logits_NE, config.experts_per_token)
    share_Nk = jax.nn.softmax(best_Nk, axis=-1)
    if config.expert_capacity is None:
        out_NkD, kept_Nk = _dropless(params, x_ND, chosen_Nk), jnp.ones(chosen_Nk.shape, bool)
    else:
        fair = config.experts_per_token * batch * time / config.n_experts
        capacity = min(math.ceil(config.expert_capacity * fair), batch * time)
        out_NkD, kept_Nk = _capped(params, x_ND, chosen_Nk, valid_N, capacity)
    out_ND = jnp.sum(out_NkD * jnp.where(kept_Nk, share_Nk, 0.0).astype(x_ND.dtype)[:, :, None], axis=1)
    return out_ND.reshape(batch, time, d), _routing(logits_NE, chosen_Nk, kept_Nk, valid_N)


def _routing(
    logits_NE: Float[Array, "tokens experts"],
    chosen_Nk: Int[Array, "tokens choices"],
    kept_Nk: Bool[Array, "tokens choices"],
    valid_N: Bool[Array, " tokens"],
) -> Routing:
    experts, choices = logits_NE.shape[1], chosen_Nk.shape[1]
    weight_N = valid_N.astype(jnp.float32) / jnp.maximum(jnp.sum(valid_N.astype(jnp.float32)), 1.0)
    hits_NE = jnp.sum(jax.nn.one_hot(chosen_Nk, experts, dtype=jnp.float32), axis=1)
    load_E = weight_N @ hits_NE / choices
    probability_E = weight_N @ jax.nn.softmax(logits_NE, axis=-1)
    z = weight_N @ jnp.square(jax.nn.logsumexp(logits_NE, axis=-1))
    lost_N = jnp.mean(1.0 - kept_Nk.astype(jnp.float32), axis=1)
    return Routing(experts * jnp.sum(load_E * probability_E), z, load_E, weight_N @ lost_N)


def _dropless(
    params: dict[str, Any], x_ND: Float[Array, "tokens d_model"], chosen_Nk: Int[Array, "tokens choices"]
) -> Float[Array, "tokens choices d_model"]:
    """Every choice served: choices sorted by expert, one ragged product over each expert's stretch."""
    tokens, choices = chosen_Nk.shape
    experts = params["gate"].shape[0]
    flat = chosen_Nk.reshape(-1)
    order = jnp.argsort(flat, stable=True)
    sizes = jnp.bincount(flat, length=experts).astype(jnp.int32)
    sorted_x = x_ND[order // choices]
    gated = jax.nn.gelu(ragged.product(sorted_x, params["gate"], sizes), approximate=True)
    hidden = gated * ragged.product(sorted_x, params["up"], sizes)
    sorted_out = ragged.product(hidden, params["down"], sizes)
    out = jnp.zeros_like(sorted_out).at[order].set(sorted_out)
    return out.reshape(tokens, choices, -1)


def _capped(
    params: dict[str, Any],
    x_ND: Float[Array, "tokens d_model"],
    chosen_Nk: Int[Array, "tokens choices"],
    valid_N: Bool[Array, " tokens"],
    capacity: int,
) -> tuple[Float[Array, "tokens choices d_model"], Bool[Array, "tokens choices"]]:
    """Choices served while their expert has room, first choices before second ones."""
    tokens, choices = chosen_Nk.shape
    experts, d = params["gate"].shape[0], x_ND.shape[1]
    # Priority: all first choices in the order of their tokens, then all second choices.
    flat = chosen_Nk.T.reshape(-1)
    counts = jax.nn.one_hot(flat, experts, dtype=jnp.int32) * jnp.tile(valid_N, choices)[:, None].astype(jnp.int32)
    place = jnp.sum((jnp.cumsum(counts, axis=0) - 1) * counts, axis=1)
    kept = (place < capacity) & jnp.tile(valid_N, choices)
    # One slot past the end collects what is dropped.
    slot = jnp.where(kept, flat * capacity + place, experts * capacity)
    buffer = jnp.zeros((experts * capacity + 1, d), x_ND.dtype).at[slot].set(jnp.tile(x_ND, (choices, 1)))
    x_ECD = buffer[:-1].reshape(experts, capacity, d)
    gated = jax.nn.gelu(jnp.einsum("ecd,edf->ecf", x_ECD, params["gate"]), approximate=True)
    hidden = gated * jnp.einsum("ecd,edf->ecf", x_ECD, params["up"])
    out_ECD = jnp.einsum("ecf,efd->ecd", hidden, params["down"]).reshape(experts * capacity, d)
    out = jnp.concatenate([out_ECD, jnp.zeros((1, d), out_ECD.dtype)])[slot]
    return out.reshape(choices, tokens, d).transpose(1, 0, 2), kept.reshape(choices, tokens).T
