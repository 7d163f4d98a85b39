"""Strict numerics for every test of the model core: no silent dtype or rank promotion, array shapes enforced."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest
from jaxtyping import install_import_hook

# Must precede the first import of these modules: those with arrays in their signatures.
ARRAY_MODULES = (
    "data",
    "distill",
    "federated.simulation.engine",
    "federated.simulation.schedule",
    "nn.attention",
    "nn.audio",
    "nn.autoencoder",
    "nn.cache",
    "nn.cnn",
    "nn.convolution",
    "nn.decoder",
    "nn.generation",
    "nn.interleaved",
    "nn.loss",
    "nn.lstm",
    "nn.mlp",
    "nn.moe",
    "nn.multimodal",
    "nn.norms",
    "nn.ragged",
    "nn.resnet",
    "nn.sampling",
    "nn.tower",
    "nn.vision",
    "nn.vit",
    "training",
)
install_import_hook([f"models_core.{name}" for name in ARRAY_MODULES], "beartype.beartype")

# Compiling is most of the time of these small tests; unoptimised code computes the same.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield
