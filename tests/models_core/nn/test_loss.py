"""The chunked loss against the whole one, in both frameworks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.nn.loss import next_token_loss
from models_core.nn.torch.loss import next_token_loss as torch_loss

CLOSE = 1e-6


@pytest.mark.parametrize("cap", [None, 2.0])
def test_chunks_change_neither_loss_nor_gradient(cap: float | None) -> None:
    generator = np.random.default_rng(0)
    x, embedding = generator.normal(size=(2, 7, 6)), generator.normal(size=(9, 6))
    x, embedding = x.astype(np.float32), embedding.astype(np.float32)
    targets, valid = generator.integers(0, 9, (2, 7)), generator.random((2, 7)) < 0.6
    logits = x @ embedding.T
    logits = logits if cap is None else np.tanh(logits / cap) * cap
    nll = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, targets[..., None], -1)[..., 0]

    def loss(chunk: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        def one(x: jax.Array, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
            return next_token_loss(
                x, embedding, jnp.asarray(targets), jnp.asarray(valid), chunk=chunk, logit_soft_cap=cap
            )

        (value, count), parts = jax.value_and_grad(one, (0, 1), has_aux=True)(jnp.asarray(x), jnp.asarray(embedding))
        assert int(count) == valid.sum()
        return value, parts

    whole, gradients = loss(100)
    assert float(whole) == pytest.approx(float((nll * valid).sum() / valid.sum()), abs=CLOSE)
    for chunk in (1, 4):
        value, parts = loss(chunk)
        assert float(value) == pytest.approx(float(whole), abs=CLOSE)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=CLOSE), parts, gradients)
        given = torch.from_numpy(x).requires_grad_(), torch.from_numpy(embedding).requires_grad_()
        twin, _ = torch_loss(
            *given, torch.from_numpy(targets), torch.from_numpy(valid), chunk=chunk, logit_soft_cap=cap
        )
        twin.backward()
        assert twin.item() == pytest.approx(float(whole), abs=CLOSE)
        for tensor, gradient in zip(given, gradients, strict=True):
            np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=CLOSE)


def test_nothing_valid_is_zero() -> None:
    nothing = jnp.zeros((1, 3), bool)
    value, count = next_token_loss(jnp.ones((1, 3, 2)), jnp.ones((4, 2)), jnp.zeros((1, 3), jnp.int32), nothing)
    assert (float(value), float(count)) == (0, 0)
