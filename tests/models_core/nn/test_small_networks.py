"""Convolutional, recurrent and transformer networks for small data: published sizes, hand sums, other libraries."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.nn import cnn, convolution, lstm, resnet, vit

# Two libraries sum the same numbers in another order; values are of order 1.
CLOSE = 2e-5


def count(init) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init)))


def randomised(params, seed: int = 7):
    """Every number drawn anew, so that no zero or one hides a missing term."""
    leaves, structure = jax.tree.flatten(params)
    draws = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [jnp.asarray(draws.normal(size=x.shape) * 0.3, x.dtype) for x in leaves])


def images(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        (partial(cnn.init, jax.random.key(0), (28, 28, 1)), 1_663_370),
        (partial(resnet.init, jax.random.key(0)), 11_173_962),
        (partial(lstm.init, jax.random.key(0), 90), 820_522),
        (partial(vit.init, jax.random.key(0), (224, 224, 3), classes=1000, patch=16, width=192, layers=12), 5_717_416),
    ],
)
def test_published_sizes(init, expected: int) -> None:
    assert count(init) == expected


@pytest.mark.parametrize(("side", "size", "stride"), [(5, 3, 1), (6, 3, 2), (5, 3, 2), (8, 5, 1), (4, 1, 2)])
def test_both_formulations_are_torch_convolution(side: int, size: int, stride: int) -> None:
    x, kernel = images(2, side, side, 3), images(size, size, 3, 4)
    theirs = torch.nn.functional.conv2d(
        torch.tensor(np.asarray(x)).permute(0, 3, 1, 2),
        torch.tensor(np.asarray(kernel)).permute(3, 2, 0, 1),
        stride=stride,
        padding=size // 2,
    ).permute(0, 2, 3, 1)
    for formulation in ("native", "patches"):
        ours = convolution.convolve(x, kernel, stride=stride, formulation=formulation)
        np.testing.assert_allclose(ours, theirs, rtol=CLOSE, atol=CLOSE)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="even size 2"):
        convolution.convolve(images(1, 4, 4, 1), images(2, 2, 1, 1))


@pytest.mark.parametrize("shape", [(5, 6), (8, 8)])
def test_planes_are_the_same_convolution_and_pooling_with_the_same_gradients(shape: tuple[int, int]) -> None:
    # Whole numbers give blocks with equal values, whose share of the gradient must agree as well.
    x, kernel, bias = jnp.round(images(3, *shape, 2)), images(5, 5, 2, 4), images(4)

    def by_image(x, kernel, bias):
        convolved = convolution.convolve(x, kernel, formulation="native") + bias[None, None, None]
        return convolution.max_pool(jax.nn.relu(convolved)), convolution.max_pool(x)

    def by_plane(x, kernel, bias):
        planes = x.transpose(3, 1, 0, 2)
        pooled = convolution.pool_planes(convolution.convolve_planes(planes, kernel))
        found = jax.nn.relu(pooled + bias[:, None, None, None]), convolution.pool_planes(planes)
        return tuple(part.transpose(2, 1, 3, 0) for part in found)

    def through(apply):
        def loss(args):
            found = apply(*args)
            return jnp.sum(found[0] ** 2) + jnp.sum(found[1] ** 3), found

        return jax.jit(jax.grad(loss, has_aux=True))((x, kernel, bias))

    for ours, theirs in zip(jax.tree.leaves(through(by_plane)), jax.tree.leaves(through(by_image)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="even size 2"):
        convolution.convolve_planes(images(1, 4, 1, 4), images(2, 2, 1, 1))


def test_planes_with_a_kernel_for_each_model_are_the_models_one_by_one() -> None:
    keys = jax.random.split(jax.random.key(3))
    params = jax.vmap(lambda key: cnn.init(key, (8, 8, 1), channels=(2, 3), hidden=4))(keys)
    x = images(2, 3, 8, 8, 1)
    together = jax.jit(jax.vmap(partial(cnn.apply, formulation="patches")))(params, x)
    for place in range(2):
        own = jax.tree.map(lambda leaf, at=place: leaf[at], params)
        alone = jax.jit(partial(cnn.apply, formulation="native"))(own, x[place])
        np.testing.assert_allclose(together[place], alone, rtol=CLOSE, atol=CLOSE)


def test_pooling_drops_the_odd_edge_and_group_norm_is_torch() -> None:
    x = images(2, 5, 5, 6)
    theirs = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)
    pooled = torch.nn.functional.max_pool2d(theirs, 2).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(convolution.max_pool(x), pooled)
    scale, bias = images(6), images(6) + 1
    normed = torch.nn.functional.group_norm(theirs, 3, torch.tensor(np.asarray(scale)), torch.tensor(np.asarray(bias)))
    ours = convolution.group_norm(x, scale, bias, groups=3)
    np.testing.assert_allclose(ours, normed.permute(0, 2, 3, 1), rtol=1e-4, atol=CLOSE)


def test_resnet_shapes_identity_and_independence_of_the_batch() -> None:
    params = randomised(resnet.init(jax.random.key(0), 1, width=4, blocks=(1, 1), classes=3))
    x = images(3, 9, 9, 1)
    apply = jax.jit(resnet.apply, static_argnames="formulation")
    logits = apply(params, x)
    assert logits.shape == (3, 3)
    np.testing.assert_allclose(apply(params, x[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(apply(params, x, formulation="native"), logits, rtol=1e-4, atol=1e-5)
    # With a dead branch a block without a change of shape is the identity on what a ReLU left.
    dead = jax.tree.map(lambda leaf: leaf, params)
    dead["stages"][0][0]["second"] = jax.tree.map(jnp.zeros_like, params["stages"][0][0]["second"])
    without = {**dead, "stages": [[], dead["stages"][1]]}
    np.testing.assert_allclose(apply(dead, x), apply(without, x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="width of 3"):
        resnet.init(jax.random.key(0), width=3)


def test_lstm_is_torch_lstm() -> None:
    params = randomised(lstm.init(jax.random.key(0), 11, embedding=5, width=6, layers=2))
    twin = torch.nn.LSTM(5, 6, num_layers=2, batch_first=True)
    with torch.no_grad():
        for index, cell in enumerate(params["cells"]):
            for name, array in (
                ("weight_ih", cell["input"].T),
                ("weight_hh", cell["hidden"].T),
                ("bias_ih", cell["bias"]),
            ):
                twin.get_parameter(f"{name}_l{index}").copy_(torch.tensor(np.asarray(array)))
            twin.get_parameter(f"bias_hh_l{index}").zero_()
    tokens = np.random.default_rng(0).integers(0, 11, size=(3, 7)).astype(np.int32)
    theirs = twin(torch.tensor(np.asarray(params["embedding"]))[torch.tensor(tokens).long()])[0].detach()
    np.testing.assert_allclose(jax.jit(lstm.states)(params, jnp.asarray(tokens)), theirs, rtol=CLOSE, atol=CLOSE)
    # The classifier reads the state after the last valid token; what follows does not matter.
    lengths = jnp.asarray([7, 3, 1], jnp.int32)
    padded = np.where(np.arange(7)[None] < np.asarray(lengths)[:, None], tokens, 0)
    np.testing.assert_array_equal(
        lstm.classify(params, jnp.asarray(tokens), lengths), lstm.classify(params, jnp.asarray(padded), lengths)
    )
    np.testing.assert_allclose(
        lstm.apply(params, jnp.asarray(tokens))[0, -1],
        lstm.classify(params, jnp.asarray(tokens))[0],
        rtol=CLOSE,
        atol=CLOSE,
    )


def test_vit_block_is_torch_encoder_layer() -> None:
    width, heads = 8, 2
    params = randomised(vit.init(jax.random.key(0), (4, 6, 2), patch=2, width=width, layers=2, classes=3))
    layers = []
    with torch.no_grad():
        for block in params["blocks"]:
            layer = torch.nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
                layer_norm_eps=1e-6,
            )
            attention = layer.self_attn
            for target, array in (
                (attention.in_proj_weight, block["qkv"]["kernel"].T),
                (attention.in_proj_bias, block["qkv"]["bias"]),
                (attention.out_proj.weight, block["out"]["kernel"].T),
                (attention.out_proj.bias, block["out"]["bias"]),
                (layer.linear1.weight, block["up"]["kernel"].T),
                (layer.linear1.bias, block["up"]["bias"]),
                (layer.linear2.weight, block["down"]["kernel"].T),
                (layer.linear2.bias, block["down"]["bias"]),
                (layer.norm1.weight, block["attention_norm"]["scale"]),
                (layer.norm1.bias, block["attention_norm"]["bias"]),
                (layer.norm2.weight, block["mlp_norm"]["scale"]),
                (layer.norm2.bias, block["mlp_norm"]["bias"]),
            ):
                target.copy_(torch.tensor(np.asarray(array)))
            layers.append(layer)
    as_torch = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), params)
    x = images(3, 4, 6, 2)
    cut = np.stack(
        [np.asarray(x)[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(3, -1) for i in range(2) for j in range(3)],
        axis=1,
    )
    tokens = torch.tensor(cut) @ as_torch["patches"]["kernel"] + as_torch["patches"]["bias"]
    hidden = torch.cat([as_torch["class_token"].expand(3, 1, width), tokens], dim=1) + as_torch["positions"]
    for layer in layers:
        hidden = layer(hidden)
    final = as_torch["final_norm"]
    normed = torch.nn.functional.layer_norm(hidden[:, 0], (width,), final["scale"], final["bias"], 1e-6)
    theirs = (normed @ as_torch["head"]["kernel"] + as_torch["head"]["bias"]).detach()
    np.testing.assert_allclose(
        jax.jit(partial(vit.apply, patch=2, heads=heads))(params, x), theirs, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="patches of 5"):
        vit.init(jax.random.key(0), (4, 6, 2), patch=5)


def test_a_small_cnn_learns_digits() -> None:
    from models_core.data import digits

    data = digits.load()
    x, y = jnp.asarray(data.train_x[:256]).reshape(-1, 8, 8, 1), jnp.asarray(data.train_y[:256])
    params = cnn.init(jax.random.key(0), (8, 8, 1), channels=(4, 8), hidden=16)

    def loss(params):
        return jnp.mean(-jnp.take_along_axis(jax.nn.log_softmax(cnn.apply(params, x)), y[:, None], axis=1))

    @jax.jit
    def descend(params):
        def step(params, _):
            value, grads = jax.value_and_grad(loss)(params)
            return jax.tree.map(lambda p, g: p - 0.2 * g, params, grads), value

        return jax.lax.scan(step, params, None, length=60)

    params, losses = descend(params)
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match="too small for 4 stages"):
        cnn.init(jax.random.key(0), (8, 8, 1), channels=(4, 4, 4, 4))
