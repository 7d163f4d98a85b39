"""The same strictness as the tests of the model core itself, and compiled code shared between the runs of a recipe."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

# Compiling is most of the time of these small runs; unoptimised code computes the same.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield
