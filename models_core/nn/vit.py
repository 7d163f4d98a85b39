"""A vision transformer: patches as tokens, a class token, learned positions, pre-norm blocks, a linear head.

Source: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, equations 1 to 4.

    h = x + Attn(LN x) ;  x = h + W2 gelu(W1 LN h) ;  logits = head( LN(x)[class token] )

Biases everywhere, exact gelu, layer norm with eps 1e-6.
Reduces to: ViT-Ti/16 of Touvron et al. (DeiT, 2021) at side 224, patch 16, width 192, 3 heads, 12 layers and 1,000
classes: 5,717,416 parameters. The defaults are a tiny one for 28x28 images.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Params = dict[str, Any]
EPS = 1e-6


def init(
    key: Key[Array, ""],
    shape: tuple[int, int, int],
    *,
    classes: int = 10,
    patch: int = 7,
    width: int = 64,
    layers: int = 4,
) -> Params:
    """Fresh parameters; shape: height, width and channels of an image, both sides multiples of `patch`.

    Kernels are normal with standard deviation 0.02 (truncated at two), biases and the head's kernel 0.
    """
    height, breadth, channels = shape
    if height % patch or breadth % patch:
        raise ValueError(f"an image of {height}x{breadth} pixels cannot be cut into patches of {patch}")
    tokens = (height // patch) * (breadth // patch)
    keys = iter(jax.random.split(key, 3 + 4 * layers))

    def kernel(inputs: int, outputs: int) -> Array:
        drawn: Array = jax.random.truncated_normal(next(keys), -2, 2, (inputs, outputs)) * 0.02
        return drawn

    def dense(inputs: int, outputs: int) -> Params:
        return {"kernel": kernel(inputs, outputs), "bias": jnp.zeros(outputs)}

    def norm() -> Params:
        return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}

    blocks = [
        {
            "attention_norm": norm(),
            "qkv": dense(width, 3 * width),
            "out": dense(width, width),
            "mlp_norm": norm(),
            "up": dense(width, 4 * width),
            "down": dense(4 * width, width),
        }
        for _ in range(layers)
    ]
    return {
        "patches": dense(patch * patch * channels, width),
        "class_token": kernel(1, width),
        "positions": kernel(tokens + 1, width),
        "blocks": blocks,
        "final_norm": norm(),
        "head": {"kernel": jnp.zeros((width, classes)), "bias": jnp.zeros(classes)},
    }


def apply(
    params: Params, x: Float[Array, "batch height width channels"], *, patch: int = 7, heads: int = 4
) -> Float[Array, "batch classes"]:
    """Class logits. patch: as given to `init`; heads divides the width."""
    batch, height, breadth, channels = x.shape
    rows, columns = height // patch, breadth // patch
    cut = x.reshape(batch, rows, patch, columns, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    tokens = _dense(params["patches"], cut.reshape(batch, rows * columns, -1))
    first = jnp.broadcast_to(params["class_token"][None], (batch, 1, tokens.shape[-1]))
    h_BTD = jnp.concatenate([first, tokens], axis=1) + params["positions"][None]
    for block in params["blocks"]:
        h_BTD = h_BTD + _attention(block, _layer_norm(block["attention_norm"], h_BTD), heads)
        inner = jax.nn.gelu(_dense(block["up"], _layer_norm(block["mlp_norm"], h_BTD)), approximate=False)
        h_BTD = h_BTD + _dense(block["down"], inner)
    summary = _layer_norm(params["final_norm"], h_BTD)[:, 0]
    logits: Array = summary @ params["head"]["kernel"] + params["head"]["bias"][None]
    return logits


def _attention(block: Params, x_BTD: Array, heads: int) -> Array:
    batch, time, width = x_BTD.shape
    qkv = _dense(block["qkv"], x_BTD).reshape(batch, time, 3, heads, width // heads)
    q_BTNH, k_BTNH, v_BTNH = (qkv[:, :, index] for index in range(3))
    scores = jnp.einsum("btnh,bsnh->bnts", q_BTNH, k_BTNH).astype(jnp.float32) * (width // heads) ** -0.5
    weights = jax.nn.softmax(scores, axis=-1).astype(x_BTD.dtype)
    return _dense(block["out"], jnp.einsum("bnts,bsnh->btnh", weights, v_BTNH).reshape(batch, time, width))


def _dense(layer: Params, x: Array) -> Array:
    out: Array = x @ layer["kernel"] + layer["bias"][None, None]
    return out


def _layer_norm(layer: Params, x: Array) -> Array:
    exact = x.astype(jnp.float32)
    centred = exact - jnp.mean(exact, axis=-1, keepdims=True)
    unit = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + EPS)
    scaled = unit * layer["scale"][None, None].astype(jnp.float32) + layer["bias"][None, None].astype(jnp.float32)
    out: Array = scaled.astype(x.dtype)
    return out
