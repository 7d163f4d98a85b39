"""A decoder-only transformer of the Gemma and Gemma 3 family, as pure functions over a pytree of parameters.

Source: Gemma Team, "Gemma 3 technical report", 2025 (arXiv 2503.19786), and "Gemma", 2024 (arXiv 2403.08295); details
as in google-deepmind/gemma and the transformers library, to whose numbers tests hold it.

    x = E[ids] sqrt(d) ;  per block: h = x + N2(Attn(N1 x)), x = h + N4(MLP(N3 h)) ;  logits = N(x) E^T
    N(x; w) = x / sqrt(mean x^2 + 1e-6) (1 + w) in float32, cast back after the multiplication
    MLP(x) = down( gelu_tanh(gate x) * up x ) ;  attention: grouped queries, QK-norm before rotary positions, window or
    global

Kernels are two-dimensional (in, out); a head's columns are adjacent. Without post_norms N2 and N4 are left out (Gemma
1). With n_experts the MLP is `nn.moe`. Parameters come as a list of layers, or stacked by `stack`: repeated groups of
the layer pattern are then scanned, which compiles deep models many times faster; every function here takes both.
Deviates: the initialisation and the mixture of experts are choices of this library.
Shapes: B batch, T time, D d_model, F d_ff, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from models_core.errors import InputInvalid
from models_core.nn import moe
from models_core.nn.attention import attend, attend_local, local_masks, masks, project, rotations, soft_cap
from models_core.nn.attention import causal_mask as causal_mask
from models_core.nn.attention import rotary_angles as rotary_angles
from models_core.nn.attention import rotate as rotate
from models_core.nn.configs import DecoderConfig
from models_core.nn.geglu import geglu
from models_core.nn.linear import linear, product
from models_core.nn.norms import EPS as EPS
from models_core.nn.norms import rms_norm as rms_norm

Params = dict[str, Any]
# Texts longer than this many windows are worth cutting into pieces in local layers.
BANDED_FROM = 2
# Past this many numbers a single draw would need 64-bit indices.
_ONE_DRAW = 2**30


@partial(jax.jit, static_argnums=(1, 2, 3))
def init(key: Key[Array, ""], config: DecoderConfig, vocabulary: int, dtype: Any = jnp.float32) -> Params:
    """Fresh parameters: kernels of variance 1/fan-in, embedding rows of unit length, norm weights 0 (a factor of 1)."""
    d, query, kv, d_ff, experts = (
        config.d_model,
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
        config.d_ff,
        config.n_experts,
    )
    feed_forward: list[tuple[int, ...]] = [(d, d_ff), (d, d_ff), (d_ff, d)]
    if experts:
        feed_forward = [(d, experts), *((experts, *shape) for shape in feed_forward)]
    shapes: list[tuple[int, ...]] = [
        (vocabulary, d),
        *[(d, query), (d, kv), (d, kv), (query, d), *feed_forward] * config.n_layers,
    ]
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) <= _ONE_DRAW:
        # One draw cut into pieces compiles many times faster than a draw for each kernel.
        ends = np.cumsum(sizes).tolist()
        draws = jax.random.normal(key, (ends[-1],))
        pieces = (draws[end - n : end].reshape(shape) for end, n, shape in zip(ends, sizes, shapes, strict=True))
    else:
        pieces = (jax.random.normal(jax.random.fold_in(key, i), shape) for i, shape in enumerate(shapes))

    def kernel() -> Float[Array, "*experts fan_in fan_out"]:
        piece = next(pieces)
        scaled: Array = (piece * piece.shape[-2] ** -0.5).astype(dtype)
        return scaled

    def norm(size: int) -> Float[Array, " size"]:
        return jnp.zeros(size, dtype)

    def layer() -> Params:
        attention = {"query": kernel(), "key": kernel(), "value": kernel(), "out": kernel()}
        if config.qk_norm:
            attention |= {"query_norm": norm(config.head_dim), "key_norm": norm(config.head_dim)}
        router = {"router": kernel()} if experts else {}
        mlp = router | {"gate": kernel(), "up": kernel(), "down": kernel()}
        block = {"attention": attention, "mlp": mlp, "pre_attention_norm": norm(d), "pre_mlp_norm": norm(d)}
        if config.post_norms:
            block |= {"post_attention_norm": norm(d), "post_mlp_norm": norm(d)}
        return block

    embedding = (next(pieces) * d**-0.5).astype(dtype)
    return {"embedding": embedding, "layers": [layer() for _ in range(config.n_layers)], "final_norm": norm(d)}


def apply(
    params: Params,
    config: DecoderConfig,
    tokens: Int[Array, "batch time"],
    positions: Int[Array, "#batch time"] | None = None,
    blocks: Int[Array, "#batch time"] | None = None,
    segments: Int[Array, "#batch time"] | None = None,
) -> Float[Array, "batch time vocabulary"]:
    """Next-token logits.

    tokens: ids in 0 .. V-1; others are refused outside of jit. positions: place of each token in its sequence, 0, 1, ..
    when None; negative: padding. From column to column they rise by one, but at the start of a segment. blocks: number
    of the image that a token belongs to, -1 for text. segments: number of the document of a packed row that it belongs
    to; documents do not see each other.
    """
    return unembed(params, trunk(params, config, tokens, positions, blocks, segments), config.logit_soft_cap)


def trunk(
    params: Params,
    config: DecoderConfig,
    tokens: Int[Array, "batch time"],
    positions: Int[Array, "#batch time"] | None = None,
    blocks: Int[Array, "#batch time"] | None = None,
    segments: Int[Array, "#batch time"] | None = None,
) -> Float[Array, "batch time d_model"]:
    """What the last block leaves, normalised: `unembed` turns it, or any slice of it, into logits."""
    return run(params, config, embed(params, config, tokens), positions, blocks, segments=segments).x


def unembed(
    params: Params, x: Float[Array, "*leading d_model"], cap: float | None = None
) -> Float[Array, "*leading vocabulary"]:
    """Logits of the tied output layer. cap: the config's logit_soft_cap."""
    logits = linear(x, params["embedding"].T)
    return logits if cap is None else soft_cap(logits, cap)


def hidden_states(
    params: Params,
    config: DecoderConfig,
    tokens: Int[Array, "batch time"],
    positions: Int[Array, "#batch time"] | None = None,
    blocks: Int[Array, "#batch time"] | None = None,
) -> list[Float[Array, "batch time d_model"]]:
    """The residual stream: after the embedding, then after each block, before the final norm."""
    return run(params, config, embed(params, config, tokens), positions, blocks, collect=True).states


def embed(
    params: Params, config: DecoderConfig, tokens: Int[Array, "batch time"]
) -> Float[Array, "batch time d_model"]:
    """Embedding rows times sqrt(d); raises InputInvalid for ids outside the vocabulary, when not traced by jit."""
    embedding = params["embedding"]
    check_tokens(tokens, embedding.shape[0], config)
    # The factor is rounded to the embedding's dtype first, as in the published models.
    x: Float[Array, "batch time d_model"] = embedding[tokens] * jnp.asarray(config.d_model**0.5, embedding.dtype)
    return x


class Run(NamedTuple):
    """Result of `run`."""

    # Normalised output of the last block.
    x: Float[Array, "batch time d_model"]
    # Residual stream after the input and after each block; empty unless collected.
    states: list[Float[Array, "batch time d_model"]]
    # One entry a layer; None without experts.
    routing: moe.Routing | None


def run(
    params: Params,
    config: DecoderConfig,
    x: Float[Array, "batch time d_model"],
    positions: Int[Array, "#batch time"] | None = None,
    blocks: Int[Array, "#batch time"] | None = None,
    *,
    segments: Int[Array, "#batch time"] | None = None,
    collect: bool = False,
) -> Run:
    """All blocks and the final norm on embedded input, whatever it was made from."""
    if positions is None:
        positions = jnp.arange(x.shape[1])[None, :]
    check_length(x.shape[1], config)
    angle, valid = rotations(config, positions), positions >= 0
    # An image's tokens see each other past the window's pieces.
    banded = blocks is None and x.shape[1] > BANDED_FROM * config.window
    mask = masks(config, positions, blocks, segments)
    pieces = local_masks(config, positions, segments) if banded else None

    def through(layers: list[Params], first: int, x: Array) -> tuple[Array, tuple[list[Array], list[moe.Routing]]]:
        states, routing = [], []
        for index, layer in enumerate(layers, first):
            is_global = config.is_global(index)

            def read(weights: Params, branch: Array, is_global: bool = is_global) -> Array:
                q, k, v = project(weights, config, branch, angle[is_global])
                if pieces is not None and not is_global:
                    return attend_local(weights, config, q, k, v, pieces)
                return attend(weights, config, q, k, v, mask[is_global])

            x, report = block(layer, config, x, read, valid)
            states.append(x)
            if report is not None:
                routing.append(report)
        return x, (states if collect else [], routing)

    states = [x] if collect else []
    routing: list[moe.Routing] = []
    rest, done = params.get("layers", []), 0
    if "groups" in params:
        period = len(params["groups"])
        x, (many, reports) = jax.lax.scan(lambda x, group: through(group, 0, x), x, params["groups"])
        repeats = (config.n_layers // period) if period else 0
        states += [stacked[i] for i in range(repeats) for stacked in many]
        routing += [jax.tree.map(lambda leaf, i=i: leaf[i], report) for i in range(repeats) for report in reports]
        rest, done = params["rest"], repeats * period
    x, (few, last) = through(rest, done, x)
    states, routing = states + few, routing + last
    report = jax.tree.map(lambda *leaves: jnp.stack(leaves), *routing) if routing else None
    return Run(rms_norm(x, params["final_norm"]), states, report)


def block(
    layer: Params,
    config: DecoderConfig,
    x: Float[Array, "batch time d_model"],
    read: Callable[[Params, Array], Array],
    valid: Any = None,
) -> tuple[Float[Array, "batch time d_model"], moe.Routing | None]:
    """One block; `read` is its attention, from its weights and normalised input."""
    branch = read(layer["attention"], rms_norm(x, layer["pre_attention_norm"]))
    x = x + (rms_norm(branch, layer["post_attention_norm"]) if config.post_norms else branch)
    branch, report = rms_norm(x, layer["pre_mlp_norm"]), None
    if config.n_experts:
        branch, report = moe.apply(layer["mlp"], config, branch, valid)
    else:
        branch = mlp(layer["mlp"], branch)
    return x + (rms_norm(branch, layer["post_mlp_norm"]) if config.post_norms else branch), report


def mlp(params: Params, x: Float[Array, "batch time d_model"]) -> Float[Array, "batch time d_model"]:
    """GeGLU with the tanh approximation of GELU."""
    rows = x.reshape(-1, x.shape[-1])
    gated = geglu(product(rows, params["gate"]), product(rows, params["up"]))
    out: Float[Array, "batch time d_model"] = product(gated, params["down"]).reshape(x.shape)
    return out


def stack(params: Params, config: DecoderConfig) -> Params:
    """The same parameters with the repeated groups of the layer pattern stacked, for scanning.

    `groups` holds one entry for each layer of the pattern, its leaves with a leading axis over the repeats; `rest` the
    remaining layers. `unstack` is its inverse.
    """
    period = config.global_every
    repeats = config.n_layers // period
    if not repeats:
        return params
    layers = params["layers"]
    groups = [
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers[offset : repeats * period : period])
        for offset in range(period)
    ]
    kept = {name: leaf for name, leaf in params.items() if name != "layers"}
    return kept | {"groups": groups, "rest": layers[repeats * period :]}


def unstack(params: Params) -> Params:
    """The inverse of `stack`; parameters that are not stacked come back as they are."""
    if "groups" not in params:
        return params
    repeats = jax.tree.leaves(params["groups"])[0].shape[0]
    layers = [jax.tree.map(lambda leaf, i=i: leaf[i], group) for i in range(repeats) for group in params["groups"]]
    kept = {name: leaf for name, leaf in params.items() if name not in ("groups", "rest")}
    return kept | {"layers": layers + params["rest"]}


def check_tokens(tokens: Any, vocabulary: int, config: DecoderConfig) -> None:
    """Refuse ids outside 0 .. vocabulary-1 and sequences past the context. Traced values are not looked at."""
    check_length(tokens.shape[-1], config)
    if isinstance(tokens, jax.core.Tracer) or not tokens.size:
        return
    ids = np.asarray(tokens)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocabulary:
        reason = f"Must lie in 0 .. {vocabulary - 1}, found {low if low < 0 else high}."
        raise InputInvalid("A token id is outside the vocabulary.", fields={"tokens": reason})


def check_length(length: int, config: DecoderConfig) -> None:
    """Refuse more tokens than the config's context."""
    if config.context is not None and length > config.context:
        reason = f"At most {config.context} tokens, got {length}."
        raise InputInvalid("The sequence is longer than the model's context.", fields={"context": reason})
