"""Following an optimizer step by step, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

Gradients = list[np.ndarray]
# Rounding of float64 over a dozen steps of decompositions.
STEPWISE = 1e-8
STEPS = 9


@pytest.fixture
def stream() -> Callable[..., Gradients]:
    """Gradients of a shape, normal and independent."""

    def made(*shape: int, steps: int = STEPS, seed: int = 3) -> Gradients:
        return list(np.random.default_rng(seed).normal(size=(steps, *shape)))

    return made


@pytest.fixture
def follow() -> Callable[..., Gradients]:
    """The parameters after each step of what `optimizer` makes of them."""

    def followed(
        optimizer: Callable[[Any], torch.optim.Optimizer], start: np.ndarray, gradients: Gradients
    ) -> Gradients:
        parameter = torch.nn.Parameter(torch.tensor(start))
        made, seen = optimizer([parameter]), []
        for g in gradients:
            parameter.grad = torch.tensor(g)
            made.step()
            seen.append(parameter.detach().numpy().copy())
        return seen

    return followed


@pytest.fixture
def compare() -> Callable[..., None]:
    """Step by step, and as many steps."""

    def compared(ours: Gradients, theirs: Iterator[np.ndarray], rtol: float = STEPWISE) -> None:
        for step, (mine, expected) in enumerate(zip(ours, theirs, strict=True), start=1):
            np.testing.assert_allclose(mine, expected, rtol=rtol, atol=rtol, err_msg=f"step {step}")

    return compared
