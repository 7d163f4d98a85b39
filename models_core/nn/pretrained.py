"""Pretrained checkpoints as JAX parameters, and back. Formats and errors are those of `nn.weights.gemma`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from models_core.nn import decoder
from models_core.nn.weights import gemma
from models_core.nn.weights.gemma import Checkpoint, DType
from models_core.nn.weights.hf_config import Style


def load(folder: Path | str, *, dtype: DType | None = None) -> Checkpoint:
    """Read a checkpoint's folder; its params are JAX arrays for `nn.decoder`, or with images for `nn.multimodal`."""
    found = gemma.load(folder, dtype=dtype)
    return replace(found, params=jax.tree.map(jnp.asarray, found.params))


def save(
    folder: Path | str,
    checkpoint: Checkpoint,
    *,
    dtype: DType | None = None,
    style: Style = "new",
    shard_bytes: int = 5_000_000_000,
) -> list[Path]:
    """Write a checkpoint from JAX parameters, stacked or not; returns its files."""
    params = checkpoint.params
    params = params | {"text": decoder.unstack(params["text"])} if "text" in params else decoder.unstack(params)
    held = replace(checkpoint, params=jax.tree.map(np.asarray, params))
    return gemma.save(folder, held, dtype=dtype, style=style, shard_bytes=shard_bytes)
