"""The mixture of experts: routing, capacity, its losses, and its place in a block."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.nn import decoder, generation, moe
from models_core.nn.configs import DecoderConfig
from models_core.nn.torch import generation as torch_generation
from models_core.nn.torch.decoder import Decoder

DENSE = DecoderConfig(n_layers=2, d_model=16, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=24, window=4, global_every=2)
SPARSE = DENSE.model_copy(update={"n_experts": 4, "experts_per_token": 2})
CLOSE = 1e-5


def weights(config: DecoderConfig) -> dict[str, jax.Array]:
    return decoder.init(jax.random.key(0), config, 11)["layers"][0]["mlp"]


def some(tokens: int = 12) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (2, tokens, 16))


def test_one_expert_is_the_dense_network() -> None:
    config = DENSE.model_copy(update={"n_experts": 1, "experts_per_token": 1})
    params = weights(config)
    out, routing = moe.apply(params, config, some())
    plain = {name: params[name][0] for name in ("gate", "up", "down")}
    np.testing.assert_allclose(out, decoder.mlp(plain, some()), atol=CLOSE)
    assert float(routing.dropped) == 0


def test_dropless_and_roomy_capacity_agree_with_the_sum_written_out() -> None:
    params, x = weights(SPARSE), some()
    out, routing = moe.apply(params, SPARSE, x)
    roomy, kept = moe.apply(params, SPARSE.model_copy(update={"expert_capacity": 100.0}), x)
    logits = x @ params["router"]
    best, chosen = jax.lax.top_k(logits, 2)
    share = np.asarray(jax.nn.softmax(best, axis=-1))
    np.testing.assert_allclose(share.sum(-1), 1, atol=CLOSE)
    each = [decoder.mlp({name: params[name][e] for name in ("gate", "up", "down")}, x) for e in range(4)]
    expected = np.zeros(x.shape, np.float32)
    for e in range(4):
        expected += np.asarray(each[e]) * (share * np.asarray(chosen == e)).sum(-1)[..., None]
    np.testing.assert_allclose(out, expected, atol=CLOSE)
    np.testing.assert_allclose(roomy, expected, atol=CLOSE)
    assert float(routing.dropped) == float(kept.dropped) == 0
    assert float(jnp.sum(routing.load)) == pytest.approx(1)


def test_capacity_is_respected_and_later_tokens_are_dropped() -> None:
    config = DENSE.model_copy(update={"n_experts": 4, "experts_per_token": 1, "expert_capacity": 1.0})
    # Every token wants the same expert, which has room for a quarter of them.
    params = weights(config) | {"router": jnp.zeros((16, 4))}
    out, routing = moe.apply(params, config, some(tokens=8))
    used = np.abs(np.asarray(out)).max(-1).reshape(-1) > 0
    assert used.tolist() == [True] * 4 + [False] * 12
    assert float(routing.dropped) == pytest.approx(0.75)
    assert float(routing.load_entropy()) == pytest.approx(0)


def test_uniform_routing_has_balance_loss_one() -> None:
    config = DENSE.model_copy(update={"n_experts": 4, "experts_per_token": 1})
    # Tokens along four axes, each drawn to its own expert.
    x = jnp.tile(jnp.eye(16)[:4] * 3, (1, 2, 1))
    params = weights(config) | {"router": jnp.eye(16, 4)}
    _, routing = moe.apply(params, config, x)
    assert float(routing.balance) == pytest.approx(1, abs=1e-6)
    assert float(routing.load_entropy()) == pytest.approx(1, abs=1e-6)
    logits = np.array([3.0, 0, 0, 0])
    assert float(routing.z) == pytest.approx(np.log(np.exp(logits).sum()) ** 2, rel=1e-5)


def test_permuting_experts_changes_nothing() -> None:
    params, order = weights(SPARSE), jnp.array([2, 0, 3, 1])
    turned = {name: params[name][order] for name in ("gate", "up", "down")} | {"router": params["router"][:, order]}
    np.testing.assert_allclose(moe.apply(turned, SPARSE, some())[0], moe.apply(params, SPARSE, some())[0], atol=CLOSE)


@pytest.mark.parametrize("capacity", [None, 1.25])
def test_a_decoder_trains_its_experts_and_reports_every_layer(capacity: float | None) -> None:
    config = SPARSE.model_copy(update={"expert_capacity": capacity})
    params = decoder.init(jax.random.key(0), config, 11)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == config.parameter_count(11)

    @jax.jit
    def gradients(params: decoder.Params) -> decoder.Params:
        def loss(params: decoder.Params) -> jax.Array:
            run = decoder.run(params, config, decoder.embed(params, config, jnp.arange(11)[None]))
            assert run.routing is not None
            assert run.routing.load.shape == (2, 4)
            return jnp.sum(jnp.square(run.x)[:, :, :3]) + run.routing.loss()

        return jax.grad(loss)(params)

    for layer in gradients(params)["layers"]:
        assert all(float(jnp.abs(leaf).max()) > 0 for leaf in layer["mlp"].values())


def test_stacked_layers_are_the_same_decoder() -> None:
    config = SPARSE.model_copy(update={"n_layers": 5})
    params = decoder.init(jax.random.key(0), config, 11)
    stacked = decoder.stack(params, config)
    tokens = jnp.arange(11)[None]
    wanted = decoder.hidden_states(params, config, tokens)
    got = decoder.hidden_states(stacked, config, tokens)
    assert len(got) == len(wanted) == 6
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=CLOSE)
    jax.tree.map(np.testing.assert_array_equal, decoder.unstack(stacked), params)


@pytest.mark.parametrize("capacity", [None, 0.75])
def test_pytorch_has_the_logits_routing_and_gradients(capacity: float | None) -> None:
    config = SPARSE.model_copy(update={"expert_capacity": capacity})
    params = decoder.init(jax.random.key(0), config, 11)
    tokens = np.tile(np.arange(11, dtype=np.int32), (2, 1))
    positions = np.arange(11, dtype=np.int32)[None] - 3

    @jax.jit
    def ours(params: decoder.Params) -> tuple:
        def total(params: decoder.Params) -> tuple:
            run = decoder.run(
                params, config, decoder.embed(params, config, jnp.asarray(tokens)), jnp.asarray(positions)
            )
            return jnp.sum(jnp.square(run.x[:, 3:])) + run.routing.loss(), (run.x, run.routing)

        return jax.value_and_grad(total, has_aux=True)(params)

    (loss, (x, routing)), gradients = ours(params)
    model = Decoder(config, 11).load_tree(params)
    twin, report = model.routed_trunk(torch.from_numpy(tokens), torch.from_numpy(positions))
    np.testing.assert_allclose(twin.detach()[:, 3:], x[:, 3:], atol=CLOSE)
    for name in ("balance", "z", "load", "dropped"):
        np.testing.assert_allclose(getattr(report, name).detach(), getattr(routing, name), atol=CLOSE, err_msg=name)
    np.testing.assert_allclose(report.load_entropy().detach(), routing.load_entropy(), atol=CLOSE)
    assert (float(routing.dropped.max()) > 0) == (capacity is not None)
    total = twin[:, 3:].square().sum() + report.loss()
    np.testing.assert_allclose(total.detach(), loss, rtol=CLOSE)
    total.backward()
    found = model.tree(gradients=True)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=CLOSE * largest), found, gradients)
    jax.tree.map(np.testing.assert_array_equal, model.tree(), jax.tree.map(np.asarray, params))


def test_experts_decode_step_by_step_as_at_once() -> None:
    params = decoder.init(jax.random.key(2), SPARSE, 11)
    params["embedding"] = params["embedding"] * 3
    whole = decoder.apply(params, SPARSE, jnp.asarray([[1, 2, 3, 4, 5, 6, 7]]))
    made = generation.generate(params, SPARSE, [[1, 2, 3, 4, 5, 6, 7]], max_new=5, chunk=3)
    assert made[0][0] == int(whole[0, -1].argmax())
    assert torch_generation.generate(Decoder(SPARSE, 11).load_tree(params), [[1, 2, 3, 4, 5, 6, 7]], max_new=5) == made
