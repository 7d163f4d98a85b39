"""The deep autoencoder and its loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from models_core.nn import autoencoder, mlp


def test_full_width_is_the_published_network() -> None:
    sizes = autoencoder.sizes(784, width=1.0, code=30)
    assert sizes == [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
    shapes = jax.eval_shape(lambda: autoencoder.init(jax.random.key(0), 784, width=1.0, code=30))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2_837_314


def test_code_and_output_are_linear_and_the_rest_tanh() -> None:
    params = autoencoder.init(jax.random.key(0), 6, width=0.01, code=2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6)), jnp.float32) * 10
    value = np.asarray(x)
    for index, layer in enumerate(params):
        value = value @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        value = value if index in (3, 7) else np.tanh(value)
    np.testing.assert_allclose(autoencoder.apply(params, x), value, rtol=1e-5, atol=1e-6)


def test_loss_is_the_sum_of_binary_cross_entropies() -> None:
    generator = np.random.default_rng(0)
    logits, x = generator.normal(size=(4, 9)) * 3, generator.uniform(size=(4, 9))
    p = 1 / (1 + np.exp(-logits))
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
    got = autoencoder.reconstruction_loss(jnp.asarray(logits, jnp.float32), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_glorot_bound() -> None:
    kernel = np.asarray(mlp.init(jax.random.key(0), [30, 50])[0]["kernel"])
    bound = np.sqrt(6 / 80)
    assert 0.95 * bound < np.abs(kernel).max() <= bound
