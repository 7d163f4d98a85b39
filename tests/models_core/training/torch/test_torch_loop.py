"""The PyTorch loop: the same losses as JAX from the same weights, and the same promises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core import optim
from models_core.data.packing import pack_documents
from models_core.errors import CheckpointInvalid, NonFinite, SpecInvalid
from models_core.nn import cnn
from models_core.nn.configs import NANO
from models_core.nn.prompts import Sampling
from models_core.nn.torch.cnn import Cnn
from models_core.optim._options import OptimizerOptions
from models_core.optim.adam import Options as Adam
from models_core.optim.rmsprop import Options as RmsProp
from models_core.optim.sgd import Options as Sgd
from models_core.optim.sonew import Options as SONew
from models_core.training import language_model, loop, schedules, snapshot
from models_core.training.options import LoopOptions, torch_optimizers
from models_core.training.precision import PRECISIONS
from models_core.training.torch import language_model as torch_language_model
from models_core.training.torch import loop as torch_loop
from models_core.training.torch import schedules as torch_schedules
from models_core.training.torch.optimizers import AVAILABLE

VOCABULARY = 30
# Two libraries round differently; ten steps of training carry that on.
CLOSE = 2e-4
CONFIG = NANO.model_copy(update={"n_layers": 2, "global_every": 2})
DRAWS = np.random.default_rng(0)
DOCUMENTS = [DRAWS.integers(3, VOCABULARY, size=size).astype(np.int32) for size in (9, 30, 5, 14, 22, 17, 3, 40)]
PACKED = pack_documents(DOCUMENTS, 16)
OPTIONS = LoopOptions(clip=0.7, ema_decay=0.8)


def micro_batches(first: int = 0) -> dict[str, np.ndarray]:
    rows = (np.arange(6, dtype=np.int32) + first) % len(PACKED)
    return {key: part.reshape(2, 3, 16) for key, part in PACKED.batch(rows).items()}


def engine(module, optimizer=None, options: LoopOptions = OPTIONS, weights=None, steps: int = 10):
    return module.Engine(
        CONFIG,
        VOCABULARY,
        seed=0,
        optimizer=optimizer or Adam(lr=0.01, weight_decay=0.1),
        steps=steps,
        warmup_steps=2,
        decay="cosine",
        options=options,
        weights=weights,
    )


@pytest.mark.parametrize(
    "optimizer",
    # Rules that look at one number at a time: kernels are joined and turned in PyTorch, which other rules would see.
    [Adam(lr=0.01, weight_decay=0.1), Sgd(lr=0.1, nesterov=True, weight_decay=0.01), RmsProp(lr=0.001)],
    ids=lambda options: options.kind,
)
def test_ten_steps_of_a_decoder_have_the_losses_of_jax(optimizer) -> None:
    ours = engine(language_model, optimizer)
    theirs = engine(torch_language_model, optimizer, weights=ours.export())
    for number in range(10):
        for one in (ours, theirs):
            one.step(micro_batches(number))
        mine, other = ours.numbers(), theirs.numbers()
        assert mine.keys() == other.keys()
        for key, value in mine.items():
            np.testing.assert_allclose(other[key], value, rtol=CLOSE, err_msg=f"{key} at {number}")
    assert mine["loss"] < np.log(VOCABULARY)
    for one, two in zip(
        ours.evaluate(PACKED.batch(np.arange(2))), theirs.evaluate(PACKED.batch(np.arange(2))), strict=True
    ):
        np.testing.assert_allclose(two, one, rtol=1e-3)
    assert ours.export().keys() == theirs.export().keys()


def test_a_convolutional_network_has_the_losses_of_jax() -> None:
    params = cnn.init(jax.random.key(1), (8, 8, 1), channels=(3, 4), hidden=6)
    x, y = DRAWS.normal(size=(2, 5, 8, 8, 1)).astype(np.float32), DRAWS.integers(0, 10, size=(2, 5)).astype(np.int32)
    valid = np.array([[1, 1, 1, 0, 1], [1, 0, 0, 0, 1]], np.float32)

    def sums(params, batch):
        log_q = jax.nn.log_softmax(cnn.apply(params, batch["x"]))
        losses = -jnp.take_along_axis(log_q, batch["y"][:, None], axis=1)[:, 0]
        return jnp.sum(losses * batch["valid"]), jnp.sum(batch["valid"]), {}

    def torch_sums(model, batch):
        losses = torch.nn.functional.cross_entropy(model(batch["x"]), batch["y"].long(), reduction="none")
        return (losses * batch["valid"]).sum(), batch["valid"].sum(), {}

    batch = {"x": x, "y": y, "valid": valid}
    optimizer = optim.build(Sgd(lr=0.1))
    state = loop.start(params, optimizer, OPTIONS)
    model = Cnn((8, 8, 1), channels=(3, 4), hidden=6)
    model.load_state_dict({name: torch.tensor(array) for name, array in snapshot.to_arrays(params).items()})
    twin = torch_loop.Loop(model, Sgd(lr=0.1), lambda _: 0.1, OPTIONS, torch_sums)
    step = loop.compile_step(sums, optimizer, OPTIONS, state, jax.tree.map(jnp.asarray, batch))
    for _ in range(5):
        state, metrics = step(state, jax.tree.map(jnp.asarray, batch))
        theirs = twin.step([{key: torch.tensor(part[i]) for key, part in batch.items()} for i in range(2)])
        np.testing.assert_allclose(theirs["loss"], metrics["loss"], rtol=CLOSE)
    assert twin.ema is not None
    for name, array in snapshot.to_arrays(state.ema).items():
        np.testing.assert_allclose(twin.ema[name], array, rtol=1e-3, atol=1e-5)


def test_schedules_are_the_same_function() -> None:
    for decay in ("none", "linear", "cosine"):
        arguments = {"steps": 9, "warmup_steps": 3, "decay": decay}
        ours = schedules.warmup_then_decay(0.3, **arguments)
        theirs = torch_schedules.warmup_then_decay(0.3, **arguments)
        for count in range(12):
            np.testing.assert_allclose(theirs(count), ours(jnp.asarray(count)), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("optimizer", [None, SONew(lr=0.01)], ids=["adam", "sonew"])
@pytest.mark.parametrize("module", [language_model, torch_language_model])
def test_resume_is_bit_exact(module, optimizer) -> None:
    whole = engine(module, optimizer)
    for number in range(4):
        if number == 2:
            arrays = {name: array.copy() for name, array in whole.arrays().items()}
        whole.step(micro_batches(number))
    resumed = engine(module, optimizer, weights=engine(module, steps=3).export())
    resumed.restore(arrays)
    for number in (2, 3):
        resumed.step(micro_batches(number))
    assert resumed.numbers() == whole.numbers()
    expected = whole.arrays()
    assert resumed.arrays().keys() == expected.keys()
    for name, array in resumed.arrays().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name, strict=True)
    asked = {"max_new": 9, "sampling": Sampling(temperature=0.8)}
    assert resumed.sample([[1, 5], [7]], **asked) == whole.sample([[1, 5], [7]], **asked)


def test_a_checkpoint_that_does_not_fit_is_refused() -> None:
    one = engine(torch_language_model)
    one.step(micro_batches())
    arrays = one.arrays()
    for changed, complaint in (
        ({name: array for name, array in arrays.items() if name != "params.embedding"}, "params.embedding is missing"),
        (arrays | {"params.more": np.zeros(1)}, "params.more is not expected"),
        (arrays | {"params.embedding": np.zeros((2, 2), np.float32)}, r"expected torch\.float32\[30, 64\]"),
        ({name: array for name, array in arrays.items() if name != "counters"}, "counters"),
    ):
        with pytest.raises(CheckpointInvalid, match=complaint):
            one.restore(changed)
    with pytest.raises(CheckpointInvalid, match="embedding"):
        engine(torch_language_model, weights={"other": np.zeros(1)})


def test_divergence_stops_or_is_skipped() -> None:
    for policy in ("stop", "skip"):
        options = LoopOptions(on_non_finite=policy, most_skips=1)
        one = engine(torch_language_model, Sgd(lr=0.1), options)
        before = one.export()
        spoilt = micro_batches()
        spoilt["valid"] = spoilt["valid"] * np.float32(np.nan)
        one.step(spoilt)
        if policy == "stop":
            with pytest.raises(NonFinite, match="at step 1"):
                one.check()
            continue
        one.check()
        assert one.skipped == 1
        for name, array in one.export().items():
            np.testing.assert_array_equal(array, before[name])
        one.step(spoilt)
        with pytest.raises(NonFinite, match="2 steps in a row"):
            one.check()


@pytest.mark.parametrize("name", ["mixed_bfloat16", "bfloat16"])
def test_precisions_train_close_to_float32(name) -> None:
    losses = {}
    for chosen in ("float32", name):
        one = engine(torch_language_model, options=LoopOptions(precision=PRECISIONS[chosen], ema_decay=0.5))
        for number in range(3):
            one.step(micro_batches(number))
        losses[chosen] = one.numbers()["loss"]
        kinds = {array.dtype.name for key, array in one.arrays().items() if key.startswith("params.")}
        assert kinds == {PRECISIONS[chosen].params}
    np.testing.assert_allclose(losses[name], losses["float32"], rtol=0.02)
    assert losses[name] != losses["float32"]


@pytest.mark.parametrize("kind", ["lion", "muon", "shampoo", "soap", "sonew"])
def test_every_optimizer_trains_and_resumes_bit_for_bit(kind: str) -> None:
    options = optim.optimizers()[kind].parse({"kind": kind, "lr": 0.003, "weight_decay": 0.1})
    whole, first = (engine(torch_language_model, options) for _ in range(2))
    for number in range(3):
        whole.step(micro_batches(number))
    for number in range(2):
        first.step(micro_batches(number))
    resumed = engine(torch_language_model, options, weights=engine(torch_language_model, options).export())
    resumed.restore(first.arrays())
    resumed.step(micro_batches(2))
    expected = whole.arrays()
    assert resumed.arrays().keys() == expected.keys()
    for name, array in resumed.arrays().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_what_pytorch_has_not_is_refused_by_name() -> None:
    class Other(OptimizerOptions):
        kind: str = "other"

    with pytest.raises(SpecInvalid, match="other is not available") as refusal:
        engine(torch_language_model, Other(lr=0.1))
    assert list(refusal.value.fields) == ["optimizer.kind"]


def test_optimizers_are_named_without_loading_pytorch() -> None:
    assert torch_optimizers() == AVAILABLE
    assert {"adam", "sgd", "lion"} <= set(AVAILABLE)


def test_a_shared_gradient_is_divided_once() -> None:
    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))

    def sums(model, batch):
        return ((model.one + model.other) * batch["x"]).sum(), torch.tensor(4.0), {}

    twin = torch_loop.Loop(Both(), Sgd(lr=1.0), lambda _: 1.0, LoopOptions(), sums)
    twin.step([{"x": torch.tensor([1.0, 2.0, 4.0])}])
    for parameter in twin.model.parameters():
        np.testing.assert_array_equal(parameter.detach(), [0.75, 0.5, 0.0])
