"""Convolution and pooling of images (batch, height, width, channels), in the formulation that is fast where it runs.

On a CPU, XLA turns a convolution with per-example kernels (`vmap` over clients) and its weight gradient into grouped
convolutions, and inside `lax.scan` it leaves the fast library path; the same sum as one matrix product over patches
does neither. On accelerators the native convolution wins and needs no memory for patches. "auto" decides by the
backend when traced.

`convolve_planes` and `pool_planes` are the same in the layout (channels, height, batch, width), for a network that
stays in it: patches are then built from long contiguous runs, and the matrix products have their long side last.

Cost: patches hold size^2 times the input. Measured once on two CPU cores, one thread (training step of `nn.cnn` on
28x28 images, batch 20, 16 and 32 channels, in a scan): one model 185 ms native, 19 ms patches; per model under `vmap`
over 4 models 314 ms native, 14 ms patches.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Formulation = Literal["auto", "native", "patches"]


def init_kernel(key: Key[Array, ""], size: int, channels: int, outputs: int) -> Float[Array, "size size _ _"]:
    """Normal with variance 2 / (size^2 channels) (He et al., "Delving deep into rectifiers", ICCV 2015)."""
    fan_in = size * size * channels
    kernel: Array = jax.random.normal(key, (size, size, channels, outputs)) * (2 / fan_in) ** 0.5
    return kernel


def resolve(formulation: Formulation) -> Literal["native", "patches"]:
    """What "auto" means on this backend."""
    if formulation == "auto":
        return "patches" if jax.default_backend() == "cpu" else "native"
    return formulation


def convolve(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels outputs"],
    *,
    stride: int = 1,
    formulation: Formulation = "auto",
) -> Float[Array, "batch rows columns outputs"]:
    """Cross-correlation with size // 2 zeros around the image; the size is odd. rows = ceil(height / stride)."""
    size = kernel.shape[0]
    if size % 2 == 0:
        raise ValueError(f"a kernel of even size {size} has no centre")
    pad = size // 2
    if resolve(formulation) == "native":
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    _, height, width, channels = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    shifted = [
        padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    patches = jnp.concatenate(shifted, axis=-1)
    out: Array = patches @ kernel.reshape(size * size * channels, -1)
    return out


def max_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns channels"]:
    """The largest of each 2x2 block; an odd last row or column is dropped."""
    batch, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    blocks = x[:, : 2 * rows, : 2 * columns].reshape(batch, rows, 2, columns, 2, channels)
    return jnp.max(blocks, axis=(2, 4))


@jax.custom_vjp
def convolve_planes(
    x: Float[Array, "channels height batch width"], kernel: Float[Array, "size size channels outputs"]
) -> Float[Array, "outputs height batch width"]:
    """`convolve` with stride 1 by patches, channels first; the size is odd. Differentiable in reverse mode only.

    Equals `convolve` but for rounding.
    """
    return _forward_planes(x, kernel)[0]


def pool_planes(x: Float[Array, "channels height batch width"]) -> Float[Array, "channels rows batch columns"]:
    """The largest of each 2x2 block; an odd last row or column is dropped. Equal values share the gradient."""
    rows, columns = x.shape[1] // 2, x.shape[3] // 2
    return _pool_even(x[:, : 2 * rows, :, : 2 * columns])


def _forward_planes(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    size, _, channels, outputs = kernel.shape
    if size % 2 == 0:
        raise ValueError(f"a kernel of even size {size} has no centre")
    patches = _patch_planes(x, size)
    out: Array = kernel.reshape(size * size * channels, outputs).T @ patches
    return out.reshape(outputs, *x.shape[1:]), (patches, kernel)


def _backward_planes(kept: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    patches, kernel = kept
    outputs = kernel.shape[-1]
    of_kernel = (grad.reshape(outputs, -1) @ patches.T).T.reshape(kernel.shape)
    # The gradient to the input is a convolution as well, by the kernel turned around.
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    return _convolve_by_rows(grad, turned), of_kernel


convolve_planes.defvjp(_forward_planes, _backward_planes)


def _patch_planes(x: Array, size: int) -> Array:
    """[size size channels, height batch width]; first the columns are shifted, then whole rows at once."""
    channels, height, batch, width = x.shape
    pad = size // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (pad, pad)))
    shifted = jnp.concatenate([padded[..., j : j + width] for j in range(size)])
    return _stack_rows(shifted, size, height).reshape(size * size * channels, height * batch * width)


def _convolve_by_rows(x: Array, kernel: Array) -> Array:
    """`convolve_planes` where nobody wants the patches afterwards: a fifth as many are written.

    Only whole rows are shifted before the product, which gives a sum for each shift of the columns; those are added up.
    """
    size, _, channels, outputs = kernel.shape
    _, height, batch, width = x.shape
    pad = size // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (pad, pad)))
    stacked = _stack_rows(padded, size, height).reshape(size * channels, -1)
    by_shift = kernel.transpose(1, 3, 0, 2).reshape(size * outputs, size * channels) @ stacked
    by_shift = by_shift.reshape(size, outputs, height, batch, width + 2 * pad)
    total: Array = sum((by_shift[j, ..., j : j + width] for j in range(1, size)), start=by_shift[0, ..., :width])
    return total


def _stack_rows(padded: Array, size: int, height: int) -> Array:
    """Copies whose rows are shifted by 0 .. size - 1, one above the other along the channels."""
    return jnp.concatenate([padded[:, i : i + height] for i in range(size)])


@jax.custom_vjp
def _pool_even(x: Array) -> Array:
    return jnp.max(_blocks(x), axis=(2, 5))


def _pool_backward(kept: tuple[Array, Array], grad: Array) -> tuple[Array]:
    x, largest = kept
    equal = _blocks(x) == largest[:, :, None, :, :, None]
    share = grad / jnp.sum(equal, axis=(2, 5)).astype(grad.dtype)
    return (jnp.where(equal, share[:, :, None, :, :, None], jnp.zeros((), grad.dtype)).reshape(x.shape),)


def _pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    largest = jnp.max(_blocks(x), axis=(2, 5))
    return largest, (x, largest)


_pool_even.defvjp(_pool_forward, _pool_backward)


def _blocks(x: Array) -> Array:
    channels, height, batch, width = x.shape
    return x.reshape(channels, height // 2, 2, batch, width // 2, 2)


def group_norm(
    x: Float[Array, "batch height width channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    *,
    groups: int,
    eps: float = 1e-5,
) -> Float[Array, "batch height width channels"]:
    """Zero mean and unit variance over the pixels and channels of each group, in float32; groups divides channels.

    Source: Wu and He, "Group normalization", ECCV 2018, equations 1 to 6. Unlike batch normalisation it has no state
    and does not look across examples, which federated and small-batch training need.
    """
    batch, height, width, channels = x.shape
    grouped = x.astype(jnp.float32).reshape(batch, height, width, groups, channels // groups)
    centred = grouped - jnp.mean(grouped, axis=(1, 2, 4), keepdims=True)
    variance = jnp.mean(centred * centred, axis=(1, 2, 4), keepdims=True)
    unit = (centred * jax.lax.rsqrt(variance + eps)).reshape(x.shape)
    return (unit * scale[None, None, None].astype(jnp.float32) + bias[None, None, None].astype(jnp.float32)).astype(
        x.dtype
    )
