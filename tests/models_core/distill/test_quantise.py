"""Rounded weights: codes, bounds, gradients and sizes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.distill import quantise
from models_core.distill.torch import quantise as torch_quantise
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.nn.torch.decoder import Decoder

FORMATS: list[quantise.Format] = ["int4_channel", "int4_block", "float8"]


def weights(rows: int = 70) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(rows, 5)), jnp.float32).at[:, 2].set(0.0)


@pytest.mark.parametrize("kind", FORMATS)
def test_rounding_twice_is_rounding_once_and_zero_stays_zero(kind: quantise.Format) -> None:
    once = quantise.rounded(weights(), kind)
    np.testing.assert_allclose(quantise.rounded(once, kind), once, atol=1e-6)
    assert np.all(np.asarray(once)[:, 2] == 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_gradient_passes_straight_through(kind: quantise.Format) -> None:
    grad = jax.grad(lambda w: jnp.sum(3 * quantise.rounded(w, kind)))(weights())
    np.testing.assert_array_equal(grad, 3.0)


def test_codes_are_in_range_and_errors_are_at_most_half_a_step_finer_in_blocks() -> None:
    for block in (0, quantise.BLOCK):
        codes, step = quantise.encode(weights(), block=block)
        assert np.abs(codes).max() == 7
        error = np.abs(quantise.decode(codes, step, 70) - weights())
        bound = np.repeat(np.asarray(step)[:, 0], codes.shape[1], axis=0)[:70] / 2
        assert np.all(error <= bound + 1e-6)
    whole, blocks = (quantise.encode(weights(), block=block)[1] for block in (0, quantise.BLOCK))
    assert np.all(np.asarray(blocks) <= np.asarray(whole))


def test_many_bits_give_the_weights_back() -> None:
    np.testing.assert_allclose(quantise.decode(*quantise.encode(weights(), bits=20), 70), weights(), atol=1e-5)


def test_sizes_by_hand() -> None:
    assert quantise.stored_bytes(64, 10, "int4_channel") == 320 + 20
    assert quantise.stored_bytes(64, 10, "int4_block") == 320 + 40
    assert quantise.stored_bytes(64, 10, "float8") == 640 + 20


@pytest.mark.parametrize("kind", FORMATS)
def test_pytorch_rounds_to_the_same_values_and_passes_the_gradient(kind: quantise.Format) -> None:
    given = torch.tensor(np.array(weights().T), requires_grad=True)
    found = torch_quantise.rounded(given, kind)
    np.testing.assert_allclose(found.detach().numpy().T, quantise.rounded(weights(), kind), atol=1e-6)
    (3 * found).sum().backward()
    assert given.grad is not None
    np.testing.assert_array_equal(given.grad.numpy(), 3.0)


def test_the_embedding_has_a_scale_for_each_id() -> None:
    # One id of large values spoils no other.
    embedding = jnp.ones((6, 4)).at[0].set(1000.0)
    model = {"embedding": embedding, "mlp": embedding}
    rounded = quantise.rounded_kernels(model, "int4_channel")
    np.testing.assert_allclose(rounded["embedding"], embedding, rtol=1e-6)
    assert np.all(np.asarray(rounded["mlp"])[1:] == 0)
    assert quantise.model_bytes({"embedding": embedding}, "int4_channel") == 12 + 2 * 6
    assert quantise.model_bytes({"mlp": embedding}, "int4_channel") == 12 + 2 * 4
    assert quantise.model_bytes(model, None) == 2 * 2 * 24


@pytest.mark.parametrize("kind", FORMATS)
def test_experts_are_rounded_one_by_one_and_routers_stay(kind: quantise.Format) -> None:
    config = DecoderConfig(
        n_layers=1, d_model=34, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=40, window=4, n_experts=2, experts_per_token=1
    )
    model = jax.jit(lambda key: decoder.init(key, config, 9))(jax.random.key(0))
    rounded = jax.jit(lambda model: quantise.rounded_kernels(model, kind))(model)
    experts, held = model["layers"][0]["mlp"], rounded["layers"][0]["mlp"]
    np.testing.assert_array_equal(held["router"], experts["router"])
    for name in ("gate", "up", "down"):
        for expert in range(2):
            alone = quantise.rounded(experts[name][expert], kind)
            np.testing.assert_allclose(held[name][expert], alone, rtol=1e-6, atol=1e-8)
    size = quantise.stored_bytes(34, 40, kind)
    assert quantise.model_bytes({"gate": experts["gate"]}, kind) == 2 * size
    assert quantise.model_bytes({"router": experts["router"]}, kind) == 2 * 34 * 2

    twin = Decoder(config, 9).load_tree(jax.device_get(model))
    twin.load_state_dict({name: p.detach() for name, p in torch_quantise.rounded_parameters(twin, kind).items()})
    theirs = twin.tree()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), jax.device_get(rounded), theirs)
