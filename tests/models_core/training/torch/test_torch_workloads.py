"""Workloads in PyTorch: the run that JAX has, whatever the network and whatever the optimizer looks at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core import benches, catalog
from models_core.errors import CheckpointInvalid, NonFinite, SpecInvalid
from models_core.events import Artifact, Checkpoint, Context, Metric
from models_core.nn.torch.mlp import Dense
from models_core.optim.adam import Options as Adam
from models_core.optim.adamw import Options as AdamW
from models_core.optim.muon import Options as Muon
from models_core.optim.sgd import Options as Sgd
from models_core.optim.sonew import Options as Sonew
from models_core.recipes.optimizer_benchmark.spec import Spec
from models_core.training import schedules, workloads
from models_core.training.step import check_finite
from models_core.training.torch import threads as torch_threads
from models_core.training.torch.step import TrainState

# Sums in two libraries round differently, and twenty steps of training carry that on.
CLOSE = 1e-4
RECIPE = catalog.recipe("optimizer_benchmark")
STEPS = 20
SHAPE = schedules.warmup_then_decay(1.0, steps=STEPS, warmup_steps=3, decay="cosine")
DECODER = {"n_layers": 2, "d_model": 8, "n_heads": 2, "n_kv_heads": 1, "head_dim": 4, "d_ff": 12, "window": 4,
           "global_every": 2}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    # Threads cost more than they give on matrices of this size.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def classifier(**network: Any) -> dict[str, Any]:
    return {"task": "classifier", "network": network}


def text(**options: Any) -> dict[str, Any]:
    return {"task": "language_model", "length": 8, "train_bytes": 5000, "model": DECODER, **options}


# Between them every kind of workload and network, and rules that look at one number, at neighbours, at axes, at
# matrices and at the loss. Tiny epsilons would make rounding decide.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "autoencoder": ({"task": "autoencoder", "width": 0.01}, {"kind": "lion", "lr": 0.003}),
    "mlp": (classifier(kind="mlp", hidden=[8]), {"kind": "shampoo", "epsilon": 1e-4}),
    "mlp, rows": (classifier(kind="mlp", hidden=[8]), {"kind": "sonew", "eps": 1e-4, "order": "row_major"}),
    "cnn": (classifier(kind="cnn", channels=[3], hidden=8), {"kind": "sonew", "eps": 1e-4}),
    "resnet": (classifier(kind="resnet", width=2, blocks=[1]), {"kind": "sgd", "nesterov": True, "weight_decay": 0.1}),
    "vit": (classifier(kind="vit", width=8, heads=2, layers=1), {"kind": "adamw", "lr": 0.003}),
    "decoder": (text(), {"kind": "muon", "adam_for": "embedding"}),
    "decoder, twice": (text(), {"kind": "sophia", "lr": 0.003, "eps": 1e-3, "update_every": 7}),
    "decoder, joined": (text(), {"kind": "adam", "lr": 0.003}),
    "online": ({"task": "online_convex"}, {"kind": "adagrad", "lr": 0.3}),
    "words": ({"task": "word_vectors", "words": 100, "size": 4}, {"kind": "rmsprop", "lr": 0.003}),
}


def options_of(case: str) -> tuple[Any, Any]:
    workload, optimizer = CASES[case]
    sizes = {"steps": STEPS, "batch_size": 16, "warmup_steps": 0}
    spec = RECIPE.parse({"workload": workload, "optimizer": optimizer, **sizes})
    assert isinstance(spec, Spec)
    return spec.workload, spec.optimizer


def test_the_cases_are_all_workloads() -> None:
    assert {workload["task"] for workload, _ in CASES.values()} == set(workloads.workloads())
    assert set(workloads.torch_workloads()) == set(workloads.workloads())


@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_have_the_losses_of_jax(case: str) -> None:
    workload, optimizer = options_of(case)
    problem = workloads.build(workload)
    order = problem.order(5, 16)
    ours, theirs = (
        benches.learner(framework, workload, problem, 16).training(
            optimizer, lambda count: optimizer.lr * SHAPE(count), steps=STEPS, seed=5
        )
        for framework in ("jax", "torch")
    )
    for step in range(STEPS):
        mine, other = (training.step(order.at(step)) for training in (ours, theirs))
        for key in ("loss", "grad_norm"):
            np.testing.assert_allclose(float(other[key]), float(mine[key]), rtol=CLOSE, err_msg=f"{key} at {step}")
    # What is exported has the names and shapes of JAX, joined kernels or not.
    for name, array in ours.arrays().items():
        if name.startswith("params."):
            assert theirs.arrays()[name].shape == array.shape


SMALL = {
    "workload": classifier(kind="mlp", hidden=[8]),
    "optimizer": {"kind": "adam", "lr": 0.03},
    "steps": 12,
    "batch_size": 50,
    "warmup_steps": 0,
    "eval_every": 4,
    "target": {"metric": "eval/accuracy", "value": 0.2},
}


def told(recipe: catalog.Recipe, payload: dict[str, Any]) -> tuple[dict[tuple[int, str], float], dict[str, bytes]]:
    values: dict[tuple[int, str], float] = {}
    files: dict[str, bytes] = {}
    for event in recipe.run(recipe.parse(payload), Context(seed=2)):
        if isinstance(event, Metric):
            values |= {(event.step, key): float(value) for key, value in event.values.items()}
        elif isinstance(event, Artifact):
            files[event.name] = event.content
    return values, files


def test_the_benchmark_tells_the_same_in_both_frameworks() -> None:
    (ours, _), (theirs, files) = (told(RECIPE, SMALL | {"framework": name}) for name in ("jax", "torch"))
    assert ours.keys() == theirs.keys()
    clocks = ("perf/", "seconds_to_target", "optim/state_bytes")
    for place, value in ours.items():
        if not place[1].startswith(clocks):
            np.testing.assert_allclose(theirs[place], value, rtol=CLOSE, err_msg=str(place))
    parameters = sum(array.size for array in _safetensors(files["model.safetensors"]).values())
    # PyTorch counts updates once for each tensor, in float32.
    assert theirs[0, "optim/state_bytes"] == 4 * (2 * parameters + 4)


def test_the_tuning_tells_the_same_in_both_frameworks() -> None:
    recipe = catalog.recipe("optimizer_tuning")
    payload = {
        "workload": classifier(kind="mlp", hidden=[8]),
        "optimizer": {"kind": "sgd"},
        "rules": {"kind": "external", "studies": 1, "trials": 3},
        "strategy": {"kind": "asha", "first": 1},
        "target": 2.2,
        "judged_seeds": 1,
        "steps": 6,
        "warmup_steps": 0,
        "batch_size": 16,
        "eval_every": 2,
    }
    (ours, table), (theirs, other_table) = (told(recipe, payload | {"framework": name}) for name in ("jax", "torch"))
    assert ours.keys() == theirs.keys()
    for place, value in ours.items():
        # JAX keeps a count beside the momentum.
        if not place[1].startswith(("perf/", "tuned/optimizer_bytes")):
            np.testing.assert_allclose(theirs[place], value, rtol=CLOSE, err_msg=str(place))
    trials = [json.loads(files["trials.json"]) for files in (table, other_table)]
    assert [[row[key] for key in ("state", "lr", "momentum")] for row in trials[0]] == [
        [row[key] for key in ("state", "lr", "momentum")] for row in trials[1]
    ]


def test_the_spectra_are_the_same_in_both_frameworks() -> None:
    recipe = catalog.recipe("gradient_spectra")
    payload = {
        "workload": classifier(kind="mlp", hidden=[12]),
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "rank": 3,
        "steps": 4,
        "warmup_steps": 0,
        "batch_size": 16,
        "eval_every": 2,
    }
    (ours, table), (theirs, other_table) = (told(recipe, payload | {"framework": name}) for name in ("jax", "torch"))
    assert ours.keys() == theirs.keys()
    for place, value in ours.items():
        if not place[1].startswith("perf/"):
            # Directions of nearly equal eigenvalues turn with rounding.
            atol = 1e-2 if place[1].endswith("overlap") else 1e-4
            np.testing.assert_allclose(theirs[place], value, rtol=2e-3, atol=atol, err_msg=str(place))
    assert table["spectra.csv"].count(b"\n") == other_table["spectra.csv"].count(b"\n")


def _safetensors(content: bytes) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(content)


def stream_of(spec: dict[str, Any], resume: Checkpoint | None = None, stop_after: int | None = None) -> list[Any]:
    asked = iter(range(10**6))
    stop = (lambda: next(asked) >= stop_after) if stop_after is not None else (lambda: False)
    return list(RECIPE.run(RECIPE.parse(spec), Context(seed=4, resume=resume, should_stop=stop)))


@pytest.mark.parametrize("case", ["mlp", "mlp, rows", "decoder", "decoder, joined", "online", "words"])
def test_a_stopped_run_goes_on_bit_for_bit(case: str) -> None:
    """Whatever the optimizer keeps, the views that it has and the losses that were paid."""
    workload, optimizer = CASES[case]
    spec = {
        "framework": "torch", "workload": workload, "optimizer": optimizer, "steps": 6, "batch_size": 8,
        "warmup_steps": 1, "decay": "linear", "eval_every": 3, "checkpoint_every": 4,
    }  # fmt: skip
    whole = stream_of(spec)
    stopped = stream_of(spec, stop_after=2)[-1]
    assert isinstance(stopped, Checkpoint)
    assert stopped.step == 2
    state = json.loads(json.dumps(dict(stopped.state)))
    resumed = stream_of(spec, resume=Checkpoint(2, dict(stopped.arrays), state))

    def kept(events: list[Any]) -> tuple[Any, Any, Any]:
        metrics = {
            (event.step, key): value
            for event in events
            if isinstance(event, Metric) and event.step > 2
            for key, value in event.values.items()
            if not key.startswith("perf/")
        }
        files = {event.name: event.content for event in events if isinstance(event, Artifact)}
        arrays = {
            name: (array.dtype, array.shape, array.tobytes())
            for event in events
            if isinstance(event, Checkpoint)
            for name, array in event.arrays.items()
        }
        return metrics, files, arrays

    assert kept(resumed) == kept(whole)


def training_of(optimizer: Any, rates: list[float]) -> tuple[TrainState, Any]:
    module = torch.nn.ParameterDict({"w": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])})
    return TrainState(module, optimizer, rates), lambda factor: lambda module: (module["w"] ** 2).sum() * factor


@pytest.mark.parametrize("optimizer", [Adam(), Sgd(weight_decay=0.1), AdamW(), Muon(), Sonew()])
def test_memory_is_known_before_the_first_step_and_the_rehearsal_leaves_no_trace(optimizer: Any) -> None:
    state, loss = training_of(optimizer, [0.1])
    before = state.arrays()
    foreseen = state.state_bytes()
    after = state.arrays()
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    state.advance(loss(1.0))
    assert foreseen == state.state_bytes() > 0


def test_the_first_step_that_met_nan_is_told_and_the_last_healthy_norm() -> None:
    state, loss = training_of(Sgd(momentum=0.0), [0.0] * 3)
    first = state.advance(loss(1.0))
    for _ in range(2):
        state.advance(loss(float("nan")))
    assert int(state.bad_step) == 2
    assert float(state.grad_norm) == float(first["grad_norm"]) > 0
    with pytest.raises(NonFinite, match="at step 2"):
        check_finite(state)


@pytest.mark.parametrize("optimizer", [Adam(), Sgd(weight_decay=0.1), AdamW()])
def test_a_step_waits_for_nothing_on_the_device(optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    state, loss = training_of(optimizer, [0.1] * 2)
    state.advance(loss(1.0))

    def read(tensor: torch.Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a number from the device")

    with monkeypatch.context() as patched:
        for name in ("item", "tolist", "__float__", "__int__", "__bool__"):
            patched.setattr(torch.Tensor, name, read)
        numbers = state.advance(loss(1.0))
    assert float(numbers["loss"]) < 91


@pytest.mark.parametrize(
    ("inputs", "outputs", "rows", "threads"),
    # Four operations an entry of the kernel and a row: the product, and the kernel's gradient.
    [(8, 4, 16, 1), (500, 500, 400, 1), (500, 500, 600, 2), (1100, 1000, 4, 2)],
)
def test_small_steps_are_worth_one_thread(inputs: int, outputs: int, rows: int, threads: int) -> None:
    torch.set_num_threads(2)
    module, x = Dense(inputs, outputs), torch.ones(rows, inputs)
    torch_threads.choose(module, lambda: torch.autograd.grad(module(x).sum(), list(module.parameters())))
    assert torch.get_num_threads() == threads


def test_a_checkpoint_of_another_model_is_refused() -> None:
    state, _ = training_of(Adam(), [0.1])
    arrays = state.arrays()
    with pytest.raises(CheckpointInvalid, match=r"params\.w"):
        state.restore({name: array for name, array in arrays.items() if name != "params.w"})
    with pytest.raises(CheckpointInvalid, match="expected"):
        state.restore(arrays | {"params.w": np.zeros((2, 3), np.float32)})


def test_the_table_of_a_schedule_is_the_schedule() -> None:
    for schedule in (SHAPE, schedules.by_epoch(0.3, steps=STEPS, warmup_steps=4, epoch_steps=2)):
        expected = [float(schedule(jnp.asarray(step))) for step in range(STEPS)]
        np.testing.assert_allclose(schedules.table(schedule, STEPS), expected, rtol=1e-6)


def test_a_workload_that_pytorch_has_not_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from models_core.benches import fields

    monkeypatch.setattr(fields, "torch_workloads", lambda: ("autoencoder",))
    with pytest.raises(SpecInvalid) as refusal:
        RECIPE.parse(SMALL | {"framework": "torch"})
    assert refusal.value.fields == {"workload.task": "With PyTorch: autoencoder."}
    assert RECIPE.parse(SMALL | {"framework": "jax"})
