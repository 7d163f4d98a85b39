"""ResNet-18 with group normalisation, for small images: a 3x3 stem without pooling, four stages of two basic blocks.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016, section 3; group normalisation in place
of batch normalisation after Hsieh et al., "The non-IID data quagmire of decentralized machine learning", ICML 2020,
and Reddi et al., "Adaptive federated optimization", ICLR 2021 (two groups).

    block(x) = relu( N2(conv3x3( relu(N1(conv3x3(x))) )) + shortcut(x) )

The shortcut is the identity, or a strided 1x1 convolution with its norm where the shape changes.
Deviates: the stem is that of small images (3x3, stride 1, no pooling), as everyone trains on CIFAR. The second norm's
scale starts at 1.
Reduces to: ResNet-18 at width 64 and blocks (2, 2, 2, 2): 11,173,962 parameters on 32x32x3 images of 10 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models_core.nn.convolution import Formulation, convolve, group_norm, init_kernel

Params = dict[str, Any]
GROUPS = 2


def init(
    key: Key[Array, ""],
    channels: int = 3,
    *,
    classes: int = 10,
    width: int = 64,
    blocks: Sequence[int] = (2, 2, 2, 2),
) -> Params:
    """Fresh parameters. channels: of the image. width: channels of the first stage, even; doubled by each later one."""
    if width % GROUPS:
        raise ValueError(f"a width of {width} cannot be cut into {GROUPS} groups")
    keys = iter(jax.random.split(key, 2 + 3 * sum(blocks)))

    def normed(size: int, inputs: int, outputs: int) -> Params:
        return {
            "kernel": init_kernel(next(keys), size, inputs, outputs),
            "scale": jnp.ones(outputs),
            "bias": jnp.zeros(outputs),
        }

    stem = normed(3, channels, width)
    depth, stages = width, []
    for stage, count in enumerate(blocks):
        outputs, stacked = width * 2**stage, []
        for _ in range(count):
            block = {"first": normed(3, depth, outputs), "second": normed(3, outputs, outputs)}
            if depth != outputs:
                block["shortcut"] = normed(1, depth, outputs)
            stacked.append(block)
            depth = outputs
        stages.append(stacked)
    head = {"kernel": jax.random.normal(next(keys), (depth, classes)) * depth**-0.5, "bias": jnp.zeros(classes)}
    return {"stem": stem, "stages": stages, "head": head}


def apply(
    params: Params, x: Float[Array, "batch height width channels"], *, formulation: Formulation = "auto"
) -> Float[Array, "batch classes"]:
    """Class logits; every stage but the first halves the image (rounding up)."""

    def normed(layer: Params, x: Array, stride: int = 1) -> Array:
        convolved = convolve(x, layer["kernel"], stride=stride, formulation=formulation)
        return group_norm(convolved, layer["scale"], layer["bias"], groups=GROUPS)

    x = jax.nn.relu(normed(params["stem"], x))
    for index, stage in enumerate(params["stages"]):
        for place, block in enumerate(stage):
            stride = 2 if index and not place else 1
            branch = normed(block["second"], jax.nn.relu(normed(block["first"], x, stride)))
            shortcut = normed(block["shortcut"], x, stride) if "shortcut" in block else x
            x = jax.nn.relu(branch + shortcut)
    pooled = jnp.mean(x, axis=(1, 2))
    logits: Array = pooled @ params["head"]["kernel"] + params["head"]["bias"][None]
    return logits
