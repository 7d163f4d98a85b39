"""The small networks in PyTorch are those in JAX: same names, layouts, outputs, gradients and sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.errors import CheckpointInvalid
from models_core.nn import autoencoder, cnn, image_models, lstm, mlp, resnet, vit
from models_core.nn.torch import autoencoder as torch_autoencoder
from models_core.nn.torch import image_models as torch_image_models
from models_core.nn.torch.arrays import load_named, named
from models_core.nn.torch.cnn import Cnn
from models_core.nn.torch.lstm import Lstm
from models_core.nn.torch.mlp import Mlp
from models_core.nn.torch.resnet import ResNet
from models_core.nn.torch.vit import VisionTransformer
from models_core.training import snapshot

# Of the largest number of a tensor: float32 sums in two libraries. A wrong eps of a norm shows at 1e-4.
CLOSE = 2e-5
KEY = jax.random.key(0)
TOKENS = np.random.default_rng(0).integers(0, 11, size=(3, 7)).astype(np.int32)
LENGTHS = np.array([7, 3, 1], np.int32)


def randomised(params: Any) -> Any:
    """Every number drawn anew, so that no zero or one hides a missing term."""
    leaves, structure = jax.tree.flatten(params)
    draws = np.random.default_rng(7)
    return jax.tree.unflatten(structure, [jnp.asarray(draws.normal(size=x.shape) * 0.3, x.dtype) for x in leaves])


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def of_lstm(module: Lstm, x: torch.Tensor) -> torch.Tensor:
    return module.classify(x, torch.tensor(LENGTHS))


CASES: dict[str, tuple[Any, Callable[..., Any], Callable[[], Any], np.ndarray, Callable[..., torch.Tensor]]] = {
    "mlp": (partial(mlp.init, KEY, [12, 7, 5]), mlp.apply, lambda: Mlp([12, 7, 5]), images(3, 12), Mlp.__call__),
    "autoencoder": (
        partial(autoencoder.init, KEY, 12, width=0.01, code=2),
        autoencoder.apply,
        lambda: torch_autoencoder.build(12, width=0.01, code=2),
        images(3, 12),
        Mlp.__call__,
    ),
    "cnn": (
        partial(cnn.init, KEY, (9, 8, 2), channels=(3, 4), hidden=6),
        cnn.apply,
        lambda: Cnn((9, 8, 2), channels=(3, 4), hidden=6),
        images(3, 9, 8, 2),
        Cnn.__call__,
    ),
    # Odd sides, so that a stage rounds up, and a second block without a shortcut.
    "resnet": (
        partial(resnet.init, KEY, 2, width=4, blocks=(1, 2), classes=3),
        resnet.apply,
        lambda: ResNet(2, width=4, blocks=(1, 2), classes=3),
        images(3, 7, 9, 2),
        ResNet.__call__,
    ),
    "lstm": (
        partial(lstm.init, KEY, 11, embedding=5, width=6),
        lstm.apply,
        lambda: Lstm(11, embedding=5, width=6),
        TOKENS,
        Lstm.__call__,
    ),
    "lstm, a classifier": (
        partial(lstm.init, KEY, 11, outputs=4, embedding=5, width=6, layers=1),
        lambda params, x: lstm.classify(params, x, jnp.asarray(LENGTHS)),
        lambda: Lstm(11, outputs=4, embedding=5, width=6, layers=1),
        TOKENS,
        of_lstm,
    ),
    "vit": (
        partial(vit.init, KEY, (4, 6, 2), patch=2, width=8, layers=2, classes=3),
        partial(vit.apply, patch=2, heads=2),
        lambda: VisionTransformer((4, 6, 2), patch=2, width=8, layers=2, classes=3, heads=2),
        images(3, 4, 6, 2),
        VisionTransformer.__call__,
    ),
}


def assert_close(theirs: torch.Tensor | None, ours: Any, what: str) -> None:
    assert theirs is not None, what
    scale = float(np.abs(ours).max()) or 1.0
    np.testing.assert_allclose(theirs.detach().numpy(), ours, rtol=0, atol=CLOSE * scale, err_msg=what)


@pytest.mark.parametrize("name", CASES)
def test_twins_have_the_same_parameters_outputs_and_gradients(name: str) -> None:
    init, apply, build, inputs, call = CASES[name]
    params = randomised(jax.jit(init)())
    arrays = snapshot.to_arrays(params)
    twin = load_named(build(), arrays)
    # The tree comes back as it went in, under the names that a checkpoint of either framework has.
    assert {key: array.tobytes() for key, array in named(twin).items()} == {
        key: array.tobytes() for key, array in arrays.items()
    }
    theirs = call(twin, torch.tensor(inputs))

    def loss(params: Any) -> tuple[Any, Any]:
        found = apply(params, jnp.asarray(inputs))
        return jnp.sum(found * found), found

    grads, ours = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert_close(theirs, ours, name)
    theirs.square().sum().backward()
    for key, grad in snapshot.to_arrays(grads).items():
        assert_close(twin.get_parameter(key).grad, grad, key)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: Cnn((28, 28, 1)), 1_663_370),
        (ResNet, 11_173_962),
        (lambda: Lstm(90), 820_522),
        (lambda: VisionTransformer((224, 224, 3), classes=1000, patch=16, width=192, layers=12, heads=3), 5_717_416),
    ],
)
def test_published_sizes(build: Callable[[], torch.nn.Module], expected: int) -> None:
    assert sum(parameter.numel() for parameter in build().parameters()) == expected


@pytest.mark.parametrize(
    "options",
    [
        image_models.MlpModel(hidden=(5,)),
        image_models.CnnModel(channels=(2, 3), hidden=4),
        image_models.ResNetModel(width=2, blocks=(1, 1)),
        image_models.VitModel(patch=4, width=8, heads=2, layers=1),
    ],
)
def test_one_set_of_options_builds_either(options: Any) -> None:
    shape = (8, 8, 2)
    params, apply = image_models.build(options, KEY, shape, 3)
    twin = load_named(torch_image_models.build(options, shape, 3), snapshot.to_arrays(params))
    x = images(2, *shape)
    assert_close(twin(torch.tensor(x)), np.asarray(jax.jit(apply)(params, jnp.asarray(x))), options.kind)
    assert image_models.misfit(options, 8) is None


def test_fresh_modules_begin_as_the_originals_do() -> None:
    torch.manual_seed(0)
    cases = [
        (partial(resnet.init, width=16, blocks=(1, 1)), lambda: ResNet(width=16, blocks=(1, 1))),
        (partial(lstm.init, vocabulary=50, width=32), lambda: Lstm(50, width=32)),
        (
            partial(vit.init, shape=(8, 8, 1), patch=2, layers=1),
            lambda: VisionTransformer((8, 8, 1), patch=2, layers=1),
        ),
    ]
    for init, build in cases:
        twin = build()
        for name, array in snapshot.to_arrays(jax.jit(init)(KEY)).items():
            theirs = twin.get_parameter(name).detach().numpy()
            # Moments of some hundreds of draws; a wrong fan is off by a factor.
            np.testing.assert_allclose(theirs.mean(), array.mean(), atol=0.5 * array.std() + 1e-6, err_msg=name)
            np.testing.assert_allclose(theirs.std(), array.std(), rtol=0.25, atol=1e-6, err_msg=name)


def test_what_does_not_fit_is_refused_by_name() -> None:
    arrays = snapshot.to_arrays(resnet.init(KEY, 1, width=2, blocks=(1,)))
    with pytest.raises(CheckpointInvalid, match=r"head\.bias is missing"):
        load_named(ResNet(1, width=2, blocks=(1,)), {k: v for k, v in arrays.items() if k != "head.bias"})
    with pytest.raises(CheckpointInvalid, match=r"head\.kernel is \[2, 10\], expected \[2, 3\]"):
        load_named(ResNet(1, width=2, blocks=(1,), classes=3), {**arrays, "head.bias": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="width of 3"):
        ResNet(width=3)
    with pytest.raises(ValueError, match="patches of 5"):
        VisionTransformer((4, 6, 2), patch=5)
    assert image_models.misfit(image_models.CnnModel(channels=(2, 2, 2, 2)), 8) == (
        "channels",
        "Images of 8 pixels cannot be halved that often.",
    )
    for wrong, field in (({"patch": 3}, "patch"), ({"heads": 3}, "heads")):
        found = image_models.misfit(image_models.VitModel(**wrong), 8)
        assert found is not None
        assert found[0] == field


def test_reconstruction_losses_agree() -> None:
    logits, x = images(4, 9) * 3, 1 / (1 + np.exp(-images(4, 9)))
    theirs = torch_autoencoder.reconstruction_loss(torch.tensor(logits), torch.tensor(x))
    ours = autoencoder.reconstruction_loss(jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
