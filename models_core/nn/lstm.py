"""Stacked LSTM over tokens: a language model of characters or bytes, or a classifier of whole sequences.

Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997, with the forget gate of Gers et al., 2000.

    i, f, g, o = split( x W + h U + b ) ;  c = sigmoid(f) c + sigmoid(i) tanh(g) ;  h = sigmoid(o) tanh(c)

The gates stand in the order i, f, g, o. One bias a layer; the forget gate's starts at 1 (Jozefowicz et al., 2015).
Reduces to: the Shakespeare model of McMahan et al., 2017, as counted by Reddi et al., 2021, at the defaults with 90
tokens: embedding 8, two layers of 256, 820,522 parameters.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Params = dict[str, Any]


def init(
    key: Key[Array, ""],
    vocabulary: int,
    *,
    outputs: int | None = None,
    embedding: int = 8,
    width: int = 256,
    layers: int = 2,
) -> Params:
    """Fresh parameters. outputs: the vocabulary for a language model (None), the classes for a classifier."""
    keys = jax.random.split(key, layers + 2)
    outputs = vocabulary if outputs is None else outputs
    cells, inputs = [], embedding
    for layer_key in keys[:layers]:
        input_key, hidden_key = jax.random.split(layer_key)
        cells.append(
            {
                "input": jax.nn.initializers.glorot_uniform()(input_key, (inputs, 4 * width)),
                "hidden": jax.nn.initializers.orthogonal()(hidden_key, (width, 4 * width)),
                "bias": jnp.zeros(4 * width).at[width : 2 * width].set(1.0),
            }
        )
        inputs = width
    head = {"kernel": jax.nn.initializers.glorot_uniform()(keys[-1], (width, outputs)), "bias": jnp.zeros(outputs)}
    return {"embedding": jax.random.normal(keys[-2], (vocabulary, embedding)) * 0.05, "cells": cells, "head": head}


def apply(params: Params, tokens: Int[Array, "batch time"]) -> Float[Array, "batch time outputs"]:
    """Next-token logits at every place, from a zero state."""
    logits: Array = states(params, tokens) @ params["head"]["kernel"] + params["head"]["bias"][None, None]
    return logits


def classify(
    params: Params, tokens: Int[Array, "batch time"], lengths: Int[Array, " batch"] | None = None
) -> Float[Array, "batch outputs"]:
    """Class logits from the state after each sequence's last token; lengths: valid tokens, at least 1; None: all."""
    hidden = states(params, tokens)
    last = jnp.full(tokens.shape[:1], tokens.shape[1] - 1) if lengths is None else lengths - 1
    ends = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    logits: Array = ends @ params["head"]["kernel"] + params["head"]["bias"][None]
    return logits


def states(params: Params, tokens: Int[Array, "batch time"]) -> Float[Array, "batch time width"]:
    """The last layer's hidden state after each token."""
    x_TBD = jnp.swapaxes(params["embedding"][tokens], 0, 1)
    for cell in params["cells"]:
        # The inputs' part has no recurrence: one product for all places.
        driven_TBG = x_TBD @ cell["input"] + cell["bias"][None, None]
        zero = jnp.zeros((tokens.shape[0], cell["hidden"].shape[0]), driven_TBG.dtype)

        def step(carry: tuple[Array, Array], driven: Array, recurrent: Array = cell["hidden"]) -> Any:
            hidden, memory = carry
            i, f, g, o = jnp.split(driven + hidden @ recurrent, 4, axis=-1)
            memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(memory)
            return (hidden, memory), hidden

        x_TBD = jax.lax.scan(step, (zero, zero), driven_TBG)[1]
    return jnp.swapaxes(x_TBD, 0, 1)
