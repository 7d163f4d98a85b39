"""Several PyTorch processes that train one decoder: the numbers of one process, and its checkpoints."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from models_core.data.packing import pack_documents
from models_core.errors import MeshInvalid
from models_core.nn.configs import NANO
from models_core.optim._options import OptimizerOptions
from models_core.optim.adam import Options as Adam
from models_core.optim.sophia import Options as Sophia
from models_core.training.options import LoopOptions
from models_core.training.torch import team
from models_core.training.torch.language_model import Engine

VOCABULARY = 30
CONFIG = NANO.model_copy(update={"n_layers": 2, "global_every": 2})
DRAWS = np.random.default_rng(0)
PACKED = pack_documents([DRAWS.integers(3, VOCABULARY, size=40).astype(np.int32) for _ in range(6)], 16)
# The sums of two processes are added in another order; four steps of Adam, whose first divide by tiny roots, carry it.
CLOSE = 1e-4
ADAM = Adam(lr=0.01, weight_decay=0.1)


@pytest.fixture(autouse=True)
def _two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    gc.collect()
    torch.set_num_threads(before)


def engine(mesh: tuple[int, int] = (1, 1), optimizer: OptimizerOptions = ADAM) -> Engine:
    return Engine(
        CONFIG,
        VOCABULARY,
        seed=0,
        optimizer=optimizer,
        steps=10,
        warmup_steps=2,
        decay="cosine",
        options=LoopOptions(clip=0.7, ema_decay=0.8),
        mesh=mesh,
    )


def micro_batches(first: int, rows: int = 4) -> dict[str, np.ndarray]:
    """Two unequal ones: their rows have different numbers of valid tokens."""
    chosen = (np.arange(2 * rows, dtype=np.int32) + first) % len(PACKED)
    return {key: part.reshape(2, rows, 16) for key, part in PACKED.batch(chosen).items()}


@pytest.mark.parametrize("mesh", [(2, 1), (1, 2)], ids=["copies", "shards"])
def test_two_processes_train_as_one_does_and_go_on_bit_for_bit(mesh: tuple[int, int]) -> None:
    alone, together = engine(), engine(mesh)
    for number in range(2):
        for one in (alone, together):
            one.step(micro_batches(number))
    saved = together.arrays()
    for number in range(2, 4):
        for one in (alone, together):
            one.step(micro_batches(number))
        for key, value in alone.numbers().items():
            np.testing.assert_allclose(together.numbers()[key], value, rtol=CLOSE, err_msg=key)
    ours, theirs = alone.arrays(), together.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, rtol=CLOSE, atol=CLOSE, err_msg=name)

    together.restore(saved)
    for number in range(2, 4):
        together.step(micro_batches(number))
    for name, array in together.arrays().items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    # A checkpoint does not depend on the mesh.
    alone.restore(saved)
    alone.step(micro_batches(2))
    with pytest.raises(MeshInvalid, match="3 rows does not divide over 2"):
        together.step(micro_batches(0, rows=3))


def test_two_processes_find_the_curvature_of_one() -> None:
    # A large beta 2 would hide the estimates.
    sophia = Sophia(lr=0.01, gamma=1.0, beta2=0.5, update_every=2, weight_decay=0.1)
    alone, together = engine(optimizer=sophia), engine((1, 2), sophia)
    for number in range(4):
        for one in (alone, together):
            one.step(micro_batches(number))
    ours, theirs = alone.arrays(), together.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        far = np.abs(theirs[name] - array).max()
        assert far < 1e-3 * max(np.abs(array).max(), 1.0), name


def test_a_shard_holds_its_part_of_the_optimizer_alone() -> None:
    sharded = engine((1, 2))
    sharded.step(micro_batches(0))
    own, all_of_it = sharded._loop.optimizer_arrays(), sharded.arrays()
    held = {int(name.split(".")[1]) for name in own}
    assert held == {number for number in range(len(list(sharded._loop.model.parameters()))) if number % 2 == 0}
    assert {name for name in all_of_it if name.startswith("optimizer.")} > own.keys()


def test_more_processes_than_devices_are_refused() -> None:
    with pytest.raises(MeshInvalid, match=f"needs 64 devices; there are {team.devices()}"):
        engine((64, 1))
