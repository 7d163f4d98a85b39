"""Clipping, noise, tree noise, the accountant, secure sums and compression."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.federated import dp_ftrl
from models_core.federated.compression import quantised, top_k
from models_core.federated.privacy import dp_fedavg
from models_core.federated.privacy.secure_aggregation import SecureRound, TooFewClients
from models_core.federated.simulation.rule import norm
from models_core.federated.simulation.uplink import Adaptive, Uplink, decode, encode, overflows

KEY = jax.random.key(0)


def test_a_clipped_change_is_no_longer_than_the_clip_and_a_short_one_is_untouched() -> None:
    uplink = Uplink(clip=1.0)
    long, short = {"a": jnp.array([3.0, 4.0])}, {"a": jnp.array([0.3, 0.4])}
    cut, within = uplink.prepare(long, jnp.float32(1.0), KEY)
    assert float(norm(cut)) == pytest.approx(1.0, rel=1e-6)
    assert float(within) == 0.0
    same, within = uplink.prepare(short, jnp.float32(1.0), KEY)
    np.testing.assert_array_equal(same["a"], short["a"])
    assert float(within) == 1.0


def test_noise_on_the_sum_has_its_standard_deviation() -> None:
    uplink = Uplink(clip=2.0, noise=1.5, denominator=10.0)
    noisy = uplink.add_noise({"a": jnp.zeros(1000)}, jnp.float32(2.0), KEY)["a"]
    # 1,000 draws: sum of squares over sigma^2 is chi-square, standard deviation sqrt(2000).
    statistic = float(jnp.sum(noisy**2)) / (1.5 * 2.0 / 10.0) ** 2
    assert abs(statistic - 1000) < 5 * np.sqrt(2000)


def test_an_adaptive_clip_settles_at_the_quantile() -> None:
    uplink = Uplink(clip=0.1, denominator=50.0, adaptive=Adaptive(quantile=0.5, rate=0.2, count_noise=0.0))
    lengths = np.random.default_rng(0).lognormal(0.0, 0.5, 50)
    clip = jnp.float32(0.1)
    for _ in range(150):
        clip = uplink.next_clip(clip, jnp.float32((lengths <= float(clip)).sum()), KEY)
    assert float(clip) == pytest.approx(float(np.median(lengths)), rel=0.1)


def test_epsilon_grows_with_rounds_and_falls_with_noise() -> None:
    def epsilon(noise: float, rounds: int) -> float:
        return dp_fedavg.epsilon(noise=noise, chance=0.05, rounds=rounds, delta=1e-5)

    assert epsilon(1.0, 0) == 0.0
    assert epsilon(1.0, 10) < epsilon(1.0, 100) < epsilon(0.7, 100)
    assert epsilon(0.0, 1) == float("inf")
    raised = dp_fedavg.Options(noise=1.0, adaptive=True, count_noise=5.0)
    assert raised.noise_on_change == pytest.approx((1 - 0.01) ** -0.5)
    # A full-batch Gaussian release: the accountant's bound is above the classic trade-off's value for one round.
    assert dp_fedavg.epsilon(noise=5.0, chance=1.0, rounds=1, delta=1e-5) < 1.1


def test_tree_noise_of_a_prefix_is_the_sum_of_its_nodes() -> None:
    like = {"w": jnp.zeros(4000)}
    noises = [np.asarray(dp_ftrl.tree_noise(KEY, jnp.int32(0), jnp.int32(count), like)["w"]) for count in range(1, 9)]
    for count, noise in enumerate(noises, 1):
        assert noise.var() == pytest.approx(count.bit_count(), rel=0.15)
    # Node 1..2 is in the sums of 2 and 3; the difference is the leaf 3 alone.
    assert (noises[2] - noises[1]).var() == pytest.approx(1, rel=0.15)
    np.testing.assert_array_equal(noises[3], dp_ftrl.tree_noise(KEY, jnp.int32(0), jnp.int32(4), like)["w"])


def test_tree_epsilon_counts_nodes_and_restarts() -> None:
    options = dp_ftrl.Options(cohort=10, noise=4.0)
    one = dp_ftrl.epsilon(options, clients=1000, rounds=64)
    assert 0 < one < dp_ftrl.epsilon(options, clients=1000, rounds=128) < float("inf")
    assert dp_ftrl.epsilon(options, clients=100, rounds=64) > one
    assert dp_ftrl.epsilon(options.model_copy(update={"noise": 0.0}), clients=100, rounds=1) == float("inf")


def secure(values: np.ndarray, *, bits: int = 32, gone: tuple[int, ...] = (), threshold: int = 2) -> np.ndarray:
    clients, length = values.shape
    this = SecureRound(clients, length, threshold=threshold, modulus_bits=bits, fraction_bits=12, seed=1)
    for client in range(clients):
        if client not in gone:
            this.receive(client, this.masked(client, values[client]))
    return this.unmask()


def test_a_secure_sum_is_the_sum_of_the_rounded_numbers_exactly() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7))
    rounded = np.round(values * 2**12) / 2**12
    np.testing.assert_array_equal(secure(values), rounded.sum(axis=0))
    np.testing.assert_allclose(secure(values), values.sum(axis=0), atol=5 / 2**13)
    np.testing.assert_array_equal(secure(values, gone=(1, 4)), rounded[[0, 2, 3]].sum(axis=0))


def test_one_message_alone_is_masked_and_too_few_cannot_be_unmasked() -> None:
    this = SecureRound(3, 1000, threshold=3, modulus_bits=16, fraction_bits=4, seed=2)
    message = this.masked(0, np.zeros(1000))
    assert abs(message.astype(float).mean() - 2**15) < 2**11
    this.receive(0, message)
    with pytest.raises(TooFewClients):
        this.unmask()
    with pytest.raises(ValueError, match="received already"):
        this.receive(0, message)


def test_a_modulus_that_is_too_small_wraps_around() -> None:
    values = np.full((4, 1), 5.0)
    assert secure(values)[0] == 20.0
    assert secure(values, bits=17)[0] != 20.0
    assert float(overflows({"a": jnp.array([20.0, 1.0])}, 17, 12)) == 1.0
    assert float(overflows({"a": jnp.array([15.9, -16.0])}, 17, 12)) == 1.0


def test_fixed_point_of_the_engine_adds_as_the_protocol_does() -> None:
    values = np.random.default_rng(1).normal(size=(4, 9)).astype(np.float32)
    total = sum((encode({"a": jnp.asarray(row)}, 24, 12)["a"] for row in values), start=jnp.zeros(9, jnp.uint32))
    np.testing.assert_array_equal(decode({"a": total}, 24, 12)["a"], secure(values, bits=24).astype(np.float32))


def test_top_k_keeps_the_largest_and_counts_its_bytes() -> None:
    delta = {"a": jnp.array([0.1, -3.0, 0.2, 2.0]), "b": jnp.array([[1.0]])}
    kept = top_k.build(top_k.Options(share=0.5))(delta, KEY)
    np.testing.assert_array_equal(kept["a"], [0.0, -3.0, 0.0, 2.0])
    np.testing.assert_array_equal(kept["b"], [[1.0]])
    assert top_k.Options(share=0.5).upload_bytes([4, 1]) == 16 + 4
    assert top_k.Options(share=1.0).upload_bytes([100]) == 400


def test_quantisation_is_unbiased_and_on_its_levels() -> None:
    compress = quantised.build(quantised.Options(bits=3))
    delta = {"a": jnp.array([1.0, 0.4, -0.7, 0.0])}
    many = jax.vmap(lambda key: compress(delta, key)["a"])(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(many.mean(axis=0), delta["a"], atol=0.02)
    levels = np.asarray(many) * 3
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
