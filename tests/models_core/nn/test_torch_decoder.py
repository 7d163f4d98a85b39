"""The PyTorch decoder against the JAX one: logits, every hidden state, every gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.errors import InputInvalid
from models_core.nn import decoder
from models_core.nn.configs import NANO, DecoderConfig
from models_core.nn.torch.decoder import Decoder

VOCABULARY, TIME = 50, 20
# Of the largest entry: rounding of float32 in another order. Gross errors start at 1e-3.
CLOSE = 1e-5
GEMMA_1 = NANO.model_copy(
    update={"n_layers": 2, "global_every": 1, "qk_norm": False, "post_norms": False, "rope_base_global": 1e4}
)
CONFIGS = {
    "gemma-1": GEMMA_1,
    "gemma-3": NANO,
    "factor and scale": NANO.model_copy(update={"rope_factor_global": 8.0, "query_scale": 0.11, "n_kv_heads": 1}),
    "soft caps": NANO.model_copy(update={"attention_soft_cap": 2.0, "logit_soft_cap": 3.0, "n_layers": 3}),
}


def randomised(config: DecoderConfig) -> decoder.Params:
    params = decoder.init(jax.random.key(0), config, VOCABULARY)
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + generator.normal(size=leaf.shape).astype(np.float32) / 10, params)


def close(got: Any, wanted: Any) -> None:
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=0, atol=CLOSE * max(np.abs(wanted).max(), 1e-3))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("padded", [False, True])
def test_states_logits_and_gradients_agree(name: str, padded: bool) -> None:
    config = CONFIGS[name]
    params = randomised(config)
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (2, TIME))
    positions = np.arange(TIME)[None] - (np.array([[0], [6]]) if padded else np.array([[0]]))
    weight = np.random.default_rng(2).normal(size=(2, TIME, VOCABULARY)).astype(np.float32)
    weight *= (positions >= 0)[:, :, None]

    @jax.jit
    def numbers(params: decoder.Params) -> Any:
        def total(params: decoder.Params) -> Any:
            states = decoder.hidden_states(params, config, jnp.asarray(tokens), jnp.asarray(positions))
            trunk = decoder.rms_norm(states[-1], params["final_norm"])
            logits = decoder.unembed(params, trunk, config.logit_soft_cap)
            return jnp.sum(logits * weight), (logits, states)

        return jax.value_and_grad(total, has_aux=True)(params)

    (_, (logits, states)), gradients = numbers(params)
    twin = Decoder(config, VOCABULARY).load_tree(params)
    given = (torch.from_numpy(tokens), torch.from_numpy(positions) if padded else None)
    twin_states, twin_logits = twin.hidden_states(*given), twin(*given)
    (twin_logits * torch.from_numpy(weight)).sum().backward()
    valid = np.broadcast_to(positions >= 0, (2, TIME))
    close(twin_logits.detach().numpy()[valid], np.asarray(logits)[valid])
    for twin_state, state in zip(twin_states, states, strict=True):
        close(twin_state.detach().numpy()[valid], np.asarray(state)[valid])
    jax.tree.map(close, twin.tree(gradients=True), gradients)


def test_a_tree_comes_back_bit_for_bit_in_bfloat16() -> None:
    params = jax.tree.map(lambda leaf: np.asarray(leaf.astype(jnp.bfloat16)), randomised(NANO))
    twin = Decoder(NANO, VOCABULARY, dtype=torch.bfloat16).load_tree(params)
    jax.tree.map(np.testing.assert_array_equal, twin.tree(), params)


def test_both_embed_in_bfloat16_with_a_rounded_factor() -> None:
    config = NANO.model_copy(update={"d_model": 66})
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), randomised(config))
    tokens = np.arange(10)[None]
    # sqrt(66) = 8.124 is 8.125 in bfloat16.
    expected = params["embedding"][:10] * jnp.asarray(8.125, jnp.bfloat16)
    np.testing.assert_array_equal(decoder.embed(params, config, jnp.asarray(tokens))[0], expected)
    twin = Decoder(config, VOCABULARY, dtype=torch.bfloat16).load_tree(params)
    np.testing.assert_array_equal(
        twin.embed(torch.from_numpy(tokens))[0].detach().float(), expected.astype(jnp.float32)
    )


@pytest.mark.parametrize("bad", [-1, VOCABULARY])
def test_both_refuse_ids_outside_the_vocabulary(bad: int) -> None:
    tokens = np.array([[1, bad]])
    with pytest.raises(InputInvalid) as refused:
        decoder.apply(randomised(NANO), NANO, jnp.asarray(tokens))
    assert str(bad) in refused.value.fields["tokens"]
    with pytest.raises(InputInvalid) as refused:
        Decoder(NANO, VOCABULARY)(torch.from_numpy(tokens))
    assert str(bad) in refused.value.fields["tokens"]


def test_both_refuse_sequences_past_the_context() -> None:
    config = NANO.model_copy(update={"context": 8})
    tokens = np.ones((1, 9), np.int64)
    with pytest.raises(InputInvalid, match="context"):
        decoder.apply(decoder.init(jax.random.key(0), config, VOCABULARY), config, jnp.asarray(tokens))
    with pytest.raises(InputInvalid, match="context"):
        Decoder(config, VOCABULARY)(torch.from_numpy(tokens))
