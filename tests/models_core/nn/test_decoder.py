"""The decoder: what a position can see, what the parts do, and how many numbers it has."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.errors import SpecInvalid
from models_core.nn import decoder
from models_core.nn.configs import MICRO, NANO, DecoderConfig
from models_core.nn.sampling import sample

VOCABULARY = 50
# Rounding of float32 through a few layers; a wrong mask or angle shows at 1e-1.
CLOSE = 2e-5
SMALL = DecoderConfig(n_layers=2, d_model=16, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=24, window=3, global_every=2)
DEEP = SMALL.model_copy(update={"n_layers": 3})
PLAIN = SMALL.model_copy(update={"qk_norm": False, "post_norms": False})
LOCAL = SMALL.model_copy(update={"n_layers": 1, "global_every": 6})


def randomised(config: DecoderConfig, seed: int = 0) -> decoder.Params:
    """Fresh parameters with every norm weight away from zero, so that a missing factor shows."""
    params = decoder.init(jax.random.key(seed), config, VOCABULARY)
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + generator.normal(size=leaf.shape).astype(np.float32) / 10, params)


def logits(config: DecoderConfig, tokens: np.ndarray, params: decoder.Params | None = None, **kwargs) -> np.ndarray:
    params = randomised(config) if params is None else params
    return np.asarray(jax.jit(decoder.apply, static_argnums=1)(params, config, jnp.asarray(tokens), **kwargs))


def some_tokens(batch: int = 2, time: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, VOCABULARY, (batch, time)).astype(np.int32)


def test_changing_a_token_changes_no_earlier_logit() -> None:
    tokens = some_tokens()
    changed = tokens.copy()
    changed[:, 13] = (changed[:, 13] + 1) % VOCABULARY
    before, after = logits(DEEP, tokens), logits(DEEP, changed)
    np.testing.assert_array_equal(before[:, :13], after[:, :13])
    assert np.abs(before[:, 13:] - after[:, 13:]).max() > 0.1


def test_a_local_layer_sees_exactly_its_window() -> None:
    tokens = some_tokens(batch=1)
    changed = tokens.copy()
    changed[:, 5] = (changed[:, 5] + 1) % VOCABULARY
    differs = np.abs(logits(LOCAL, tokens) - logits(LOCAL, changed)).max(axis=(0, 2)) > 1e-4
    # The window of three holds the query itself: positions 5, 6 and 7 see token 5, position 8 does not.
    assert np.flatnonzero(differs).tolist() == [5, 6, 7]


def test_a_global_layer_sees_all() -> None:
    config = LOCAL.model_copy(update={"global_every": 1})
    tokens = some_tokens(batch=1)
    changed = tokens.copy()
    changed[:, 0] = (changed[:, 0] + 1) % VOCABULARY
    assert np.all(np.abs(logits(config, tokens) - logits(config, changed)).max(axis=(0, 2)) > 1e-4)


def test_a_window_as_long_as_the_text_is_no_window() -> None:
    wide = LOCAL.model_copy(update={"window": 20})
    alike = LOCAL.model_copy(update={"global_every": 1, "rope_base_global": LOCAL.rope_base_local})
    params = randomised(LOCAL)
    np.testing.assert_array_equal(logits(wide, some_tokens(), params), logits(alike, some_tokens(), params))


def test_pattern_makes_every_sixth_layer_global_and_leaves_the_remainder_local() -> None:
    config = NANO.model_copy(update={"n_layers": 26})
    assert [layer for layer in range(26) if config.is_global(layer)] == [5, 11, 17, 23]


def test_grouped_queries_equal_full_heads_with_keys_and_values_repeated() -> None:
    params = randomised(SMALL)
    full = SMALL.model_copy(update={"n_kv_heads": 4})

    def repeat(kernel: jax.Array) -> jax.Array:
        heads = kernel.reshape(SMALL.d_model, SMALL.n_kv_heads, SMALL.head_dim)
        return jnp.repeat(heads, 2, axis=1).reshape(SMALL.d_model, -1)

    layers = [
        layer
        | {"attention": layer["attention"] | {name: repeat(layer["attention"][name]) for name in ("key", "value")}}
        for layer in params["layers"]
    ]
    expected = logits(full, some_tokens(), params | {"layers": layers})
    np.testing.assert_allclose(logits(SMALL, some_tokens(), params), expected, atol=CLOSE)


def test_only_relative_positions_matter() -> None:
    tokens = some_tokens(batch=1)
    shifted = jnp.arange(20)[None] + 37
    np.testing.assert_allclose(logits(SMALL, tokens), logits(SMALL, tokens, positions=shifted), atol=1e-4)


def test_rotary_factor_stretches_positions() -> None:
    positions = jnp.arange(6)[None]
    stretched = decoder.rotary_angles(positions * 8, 16, 1e4, 8.0)
    plain = decoder.rotary_angles(positions, 16, 1e4, 1.0)
    np.testing.assert_allclose(stretched, plain, atol=1e-6)


def test_rotation_turns_half_split_pairs_by_the_position() -> None:
    x = jnp.zeros((1, 3, 1, 4)).at[..., 0].set(1.0)
    turned = decoder.rotate(x, decoder.rotary_angles(jnp.arange(3)[None], 4, 1e4, 1.0))
    angle = np.arange(3)
    np.testing.assert_allclose(turned[0, :, 0, 0], np.cos(angle), atol=1e-6)
    np.testing.assert_allclose(turned[0, :, 0, 2], np.sin(angle), atol=1e-6)


@pytest.mark.parametrize("name", ["query", "key"])
def test_query_key_norm_hides_the_kernels_scale(name: str) -> None:
    params = randomised(SMALL)
    layers = [
        layer | {"attention": layer["attention"] | {name: layer["attention"][name] * 30}} for layer in params["layers"]
    ]
    scaled = logits(SMALL, some_tokens(), params | {"layers": layers})
    np.testing.assert_allclose(scaled, logits(SMALL, some_tokens(), params), atol=1e-4)


def test_rms_norm_has_unit_rms_ignores_scale_and_keeps_zero() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 64)), jnp.float32) * 7
    unit = decoder.rms_norm(x, jnp.zeros(64))
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(unit), axis=-1)), 1, rtol=1e-5)
    np.testing.assert_allclose(decoder.rms_norm(x * 100, jnp.zeros(64)), unit, rtol=1e-5)
    np.testing.assert_allclose(decoder.rms_norm(x, jnp.ones(64)), 2 * unit, rtol=1e-6)
    assert np.all(np.asarray(decoder.rms_norm(jnp.zeros((1, 64)), jnp.ones(64))) == 0)


def test_norm_is_cast_back_after_the_weight() -> None:
    x = jnp.asarray([[1.0, 2.0, 3.0, 5.0]], jnp.bfloat16)
    weight = jnp.asarray([0.3, 0.1, -0.2, 0.05], jnp.bfloat16)
    exact = np.asarray(x, np.float32)
    expected = exact / np.sqrt(np.mean(exact**2) + 1e-6) * (1 + np.asarray(weight, np.float32))
    got = decoder.rms_norm(x, weight)
    np.testing.assert_array_equal(
        np.asarray(got, np.float32), np.asarray(jnp.asarray(expected, jnp.bfloat16), np.float32)
    )


@pytest.mark.parametrize("config", [NANO, MICRO, SMALL, PLAIN])
def test_parameter_count_formula(config: DecoderConfig) -> None:
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), config, VOCABULARY))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == config.parameter_count(VOCABULARY)


def test_published_size_is_counted_exactly() -> None:
    one_billion = DecoderConfig(
        n_layers=26, d_model=1152, n_heads=4, n_kv_heads=1, head_dim=256, d_ff=6912, window=512, rope_base_global=1e6
    )
    # Gemma 3 1B: 301,989,888 in the embedding and 697,896,064 others.
    assert one_billion.parameter_count(262_144) == 301_989_888 + 697_896_064


def test_fresh_model_predicts_nearly_uniformly_on_average() -> None:
    params = decoder.init(jax.random.key(0), SMALL, VOCABULARY)
    scores = logits(SMALL, some_tokens(8), params)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    assert np.log(VOCABULARY) < -log_p.mean() < np.log(VOCABULARY) + 1


def test_tied_embedding_gets_the_output_layers_gradient_too() -> None:
    params, tokens = randomised(SMALL), jnp.asarray(some_tokens(1))

    def tied(embedding: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(decoder.apply(params | {"embedding": embedding}, SMALL, tokens)))

    grad = jax.jit(jax.grad(tied))(params["embedding"])
    unused = np.setdiff1d(np.arange(VOCABULARY), np.asarray(tokens))
    # Rows of tokens that do not occur still get the output layer's gradient.
    assert np.all(np.abs(np.asarray(grad)[unused]).max(axis=1) > 0)


def test_sampling_continues_the_prompt_and_depends_on_the_key_alone() -> None:
    params, prompt = randomised(SMALL), jnp.asarray([1, 2, 3], jnp.int32)
    first, again, other = (
        np.asarray(sample(params, SMALL, prompt, 12, jax.random.key(seed), jnp.float32(1.0))) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first[:3], prompt)


def test_cold_sampling_is_greedy() -> None:
    params, prompt = randomised(SMALL), jnp.asarray([1, 2, 3], jnp.int32)
    written = np.asarray(sample(params, SMALL, prompt, 8, jax.random.key(0), jnp.float32(1e-4)))
    best = logits(SMALL, written[None].astype(np.int32), params)[0].argmax(axis=-1)
    np.testing.assert_array_equal(written[3:], best[2:7])


def test_key_value_heads_must_divide_query_heads() -> None:
    payload = NANO.model_dump() | {"n_kv_heads": 3}
    with pytest.raises(SpecInvalid) as refusal:
        DecoderConfig.parse(payload)
    assert refusal.value.fields == {"n_kv_heads": "Must divide the 4 query heads."}


@pytest.mark.parametrize("time", [7, 9, 11])
@pytest.mark.parametrize("kind", ["plain", "padded", "packed"])
def test_pieces_of_the_window_are_the_whole_square(monkeypatch: pytest.MonkeyPatch, time: int, kind: str) -> None:
    columns = np.arange(time, dtype=np.int32)
    more: dict[str, np.ndarray] = {}
    if kind == "padded":
        more["positions"] = columns[None] - np.array([[0], [2]], np.int32)
    if kind == "packed":
        starts = np.where(columns < 4, 0, 4)
        more["positions"], more["segments"] = (columns - starts)[None], (1 + (starts > 0))[None].astype(np.int32)
    tokens = some_tokens(time=time)
    given = {name: jnp.asarray(value.astype(np.int32)) for name, value in more.items()}
    params = randomised(LOCAL)
    states = []
    for limit in (2, 100):
        monkeypatch.setattr(decoder, "BANDED_FROM", limit)
        states.append(np.asarray(decoder.apply(params, LOCAL, jnp.asarray(tokens), **given)))
    seen = np.broadcast_to(more.get("positions", columns[None]) >= 0, tokens.shape)
    np.testing.assert_allclose(states[0][seen], states[1][seen], atol=CLOSE)
