"""A small convolutional network: stages of a 5x5 convolution, ReLU and 2x2 max pooling; a hidden and an output layer.

Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017,
section 3: 32 and 64 channels, 512 hidden units, 1,663,370 parameters on 28x28 grey images.
Reduces to: that network at the defaults. Smaller `channels` and `hidden` make it fast on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models_core.nn import mlp
from models_core.nn.convolution import (
    Formulation,
    convolve,
    convolve_planes,
    init_kernel,
    max_pool,
    pool_planes,
    resolve,
)

Params = dict[str, list[dict[str, Array]]]
KERNEL = 5


def init(
    key: Key[Array, ""],
    shape: tuple[int, int, int],
    *,
    classes: int = 10,
    channels: Sequence[int] = (32, 64),
    hidden: int = 512,
) -> Params:
    """Fresh parameters {"convolutions", "dense"}; shape: height, width and channels of an image.

    Each stage halves the image (rounding down), which must leave at least one pixel; raises ValueError otherwise.
    """
    height, width, depth = shape
    keys = jax.random.split(key, len(channels) + 1)
    convolutions = []
    for stage_key, outputs in zip(keys, channels, strict=False):
        height, width = height // 2, width // 2
        if min(height, width) < 1:
            raise ValueError(f"an image of {shape[0]}x{shape[1]} pixels is too small for {len(channels)} stages")
        convolutions.append({"kernel": init_kernel(stage_key, KERNEL, depth, outputs), "bias": jnp.zeros(outputs)})
        depth = outputs
    return {"convolutions": convolutions, "dense": mlp.init(keys[-1], [height * width * depth, hidden, classes])}


def apply(
    params: Params, x: Float[Array, "batch height width channels"], *, formulation: Formulation = "auto"
) -> Float[Array, "batch classes"]:
    """Class logits. formulation: see `nn.convolution`; by patches, the stages run with the channels first."""
    if resolve(formulation) == "patches":
        planes = x.transpose(3, 1, 0, 2)
        for stage in params["convolutions"]:
            # The bias and ReLU rise monotonously, so that they may follow the pooling, of a quarter of the values.
            pooled = pool_planes(convolve_planes(planes, stage["kernel"]))
            planes = jax.nn.relu(pooled + stage["bias"][:, None, None, None])
        flat = planes.transpose(2, 1, 3, 0).reshape(x.shape[0], -1)
        return mlp.apply(params["dense"], flat)
    for stage in params["convolutions"]:
        convolved = convolve(x, stage["kernel"], formulation=formulation)
        x = max_pool(jax.nn.relu(convolved + stage["bias"][None, None, None]))
    return mlp.apply(params["dense"], x.reshape(x.shape[0], -1))
