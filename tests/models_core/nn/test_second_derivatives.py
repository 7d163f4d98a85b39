"""Products with the Hessian, which some optimizers need: derivatives that are written by hand have derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.data.packing import pack_documents
from models_core.nn import decoder, ragged
from models_core.nn.configs import NANO, DecoderConfig
from models_core.nn.loss import next_token_sum
from models_core.nn.torch.decoder import Decoder
from models_core.nn.torch.geglu import geglu
from models_core.nn.torch.loss import next_token_sum as torch_sum
from models_core.optim.torch._curvature import products, twice_differentiable
from models_core.training import language_model
from models_core.training.torch import language_model as torch_language_model

VOCABULARY = 30
DRAWS = np.random.default_rng(0)
DOCUMENTS = [DRAWS.integers(3, VOCABULARY, size=size).astype(np.int32) for size in (9, 30, 5, 14, 22, 40)]
BATCH = {key: np.ascontiguousarray(part) for key, part in pack_documents(DOCUMENTS, 32).batch(np.arange(2)).items()}
SMALL = NANO.model_copy(update={"n_layers": 2, "global_every": 2, "window": 6, "d_ff": 48})
CONFIGS = {
    "local and global": SMALL,
    "soft caps and experts": SMALL.model_copy(
        update={"attention_soft_cap": 2.0, "logit_soft_cap": 3.0, "n_experts": 3, "experts_per_token": 2}
    ),
}
# Of the norm: two derivatives in float32, in two libraries.
CLOSE = 1e-5
# Differences of gradients at steps that rounding allows: half an error's square is what they miss.
ROUGHLY = 0.02


def far_apart(found: Any, wanted: Any) -> float:
    """Norm of the difference over the norm."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True))
    square = sum(float(np.sum((np.asarray(a) - np.asarray(b)) ** 2)) for a, b in pairs)
    return float(np.sqrt(square / sum(float(np.sum(np.asarray(b) ** 2)) for _, b in pairs)))


def signs_like(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(DRAWS.choice([-1.0, 1.0], leaf.shape).astype(np.float32)), tree)


def product(loss: Any, params: Any, direction: Any) -> Any:
    return gradient_and_product(loss)(params, direction)[1]


def gradient_and_product(loss: Any) -> Any:
    @jax.jit
    def both(params: Any, direction: Any) -> Any:
        gradient, back = jax.vjp(jax.grad(loss), params)
        return gradient, back(direction)[0]

    return both


def loss_of(config: DecoderConfig) -> Any:
    sums, batch = language_model.build_sums(config), {key: jnp.asarray(part) for key, part in BATCH.items()}
    return lambda params: sums(params, batch)[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_decoder_has_the_same_products_in_both_frameworks(name: str) -> None:
    config = CONFIGS[name]
    params = decoder.init(jax.random.key(0), config, VOCABULARY)
    direction = signs_like(params)
    found = product(loss_of(config), params, direction)

    def module(tree: Any) -> Decoder:
        return Decoder(config, VOCABULARY).load_tree(jax.device_get(tree))

    model, along, expected = module(params), module(direction), module(found)
    with twice_differentiable():
        total, _, _ = torch_language_model.sums(model, {key: torch.from_numpy(part) for key, part in BATCH.items()})
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(total, parameters, create_graph=True)
    theirs = products(gradients, parameters, [probe.detach() for probe in along.parameters()])
    assert (
        far_apart([part.numpy() for part in theirs], [part.detach().numpy() for part in expected.parameters()]) < CLOSE
    )


def test_a_decoders_product_is_the_change_of_its_gradient_scanned_or_not() -> None:
    params = decoder.init(jax.random.key(0), SMALL, VOCABULARY)
    direction, both, step = signs_like(params), gradient_and_product(loss_of(SMALL)), 1e-3
    found = both(params, direction)[1]
    moved = (jax.tree.map(lambda p, d, s=s: p + s * d, params, direction) for s in (step, -step))
    ahead, behind = (both(place, direction)[0] for place in moved)
    assert far_apart(found, jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)) < ROUGHLY
    scanned = product(loss_of(SMALL), decoder.stack(params, SMALL), decoder.stack(direction, SMALL))
    assert far_apart(decoder.unstack(scanned), found) < CLOSE


@pytest.mark.parametrize("cap", [None, 2.0])
def test_the_sliced_loss_has_the_products_of_the_whole_one(cap: float | None) -> None:
    x, embedding = (DRAWS.normal(size=shape).astype(np.float32) for shape in ((2, 7, 6), (9, 6)))
    targets, weight = DRAWS.integers(0, 9, (2, 7)), (DRAWS.random((2, 7)) < 0.6).astype(np.float32)
    given = jnp.asarray(x), jnp.asarray(embedding)

    def whole(pair: Any) -> Any:
        logits = pair[0] @ pair[1].T
        logits = logits if cap is None else jnp.tanh(logits / cap) * cap
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(targets)[..., None], -1)[..., 0]
        return -jnp.sum(chosen * weight)

    def sliced(pair: Any) -> Any:
        return next_token_sum(*pair, jnp.asarray(targets), jnp.asarray(weight), chunk=4, logit_soft_cap=cap)

    direction = signs_like(given)
    expected = product(whole, given, direction)
    assert far_apart(product(sliced, given, direction), expected) < CLOSE
    pair = [torch.tensor(part, requires_grad=True) for part in (x, embedding)]
    total = torch_sum(*pair, torch.tensor(targets), torch.tensor(weight), chunk=4, logit_soft_cap=cap)
    gradients = torch.autograd.grad(total, pair, create_graph=True)
    plain = torch.autograd.grad(torch_sum(*pair, torch.tensor(targets), torch.tensor(weight), logit_soft_cap=cap), pair)
    assert far_apart([part.detach() for part in gradients], plain) < CLOSE
    assert (
        far_apart(products(gradients, pair, [torch.tensor(np.asarray(part)) for part in direction]), expected) < CLOSE
    )


def test_the_gate_has_the_second_derivative_of_its_formula() -> None:
    gate_up = torch.tensor(DRAWS.normal(size=(3, 8)), requires_grad=True)
    assert torch.autograd.gradcheck(geglu, gate_up)
    assert torch.autograd.gradgradcheck(geglu, gate_up)


def test_products_of_groups_of_rows_have_all_derivatives() -> None:
    x, kernels = (jnp.asarray(DRAWS.normal(size=shape), jnp.float32) for shape in ((9, 4), (3, 4, 5)))
    # One group has no rows.
    sizes, group = jnp.array([4, 0, 5], jnp.int32), np.array([0] * 4 + [2] * 5)

    def bend(out: Any) -> Any:
        return jnp.sum(jnp.sin(out) * out)

    ours = lambda pair: bend(ragged.product(*pair, sizes))  # noqa: E731
    plain = lambda pair: bend(jnp.einsum("nd,ndf->nf", pair[0], pair[1][group]))  # noqa: E731
    direction = signs_like((x, kernels))
    assert far_apart(jax.grad(ours)((x, kernels)), jax.grad(plain)((x, kernels))) < CLOSE
    assert far_apart(product(ours, (x, kernels), direction), product(plain, (x, kernels), direction)) < CLOSE

    def third(loss: Any) -> Any:
        return product(lambda pair: bend(jax.grad(loss)(pair)[0]), (x, kernels), direction)

    assert far_apart(third(ours), third(plain)) < CLOSE
