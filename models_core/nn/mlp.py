"""A multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Params = list[dict[str, Array]]
Activation = Callable[[Array], Array]


def init(key: Key[Array, ""], sizes: Sequence[int]) -> Params:
    """Kernels (in, out) uniform within sqrt(6 / (in + out)) (Glorot and Bengio, 2010), biases 0.

    sizes: of the input, of every hidden layer, of the output.
    """
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"kernel": jax.nn.initializers.glorot_uniform()(layer_key, (fan_in, fan_out)), "bias": jnp.zeros(fan_out)}
        for layer_key, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def apply(
    params: Params, x: Float[Array, "batch inputs"], activations: Activation | Sequence[Activation | None] = jax.nn.relu
) -> Float[Array, "batch outputs"]:
    """The output layer's values. activations: one for all hidden layers, or one (or None) for every layer."""
    if callable(activations):
        activations = [activations] * (len(params) - 1) + [None]
    for layer, activation in zip(params, activations, strict=True):
        x = x @ layer["kernel"] + layer["bias"][None, :]
        x = activation(x) if activation else x
    return x
