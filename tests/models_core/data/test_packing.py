"""Packing: no token lost or doubled, positions restart, and documents in one row do not see each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_core.data.packing import pack_documents, pack_stream
from models_core.nn import decoder
from models_core.nn.configs import NANO

LENGTHS = st.lists(st.integers(0, 23), max_size=12)


def numbered(lengths: list[int]) -> list[np.ndarray]:
    """Documents whose tokens are all different, so that each can be traced."""
    ends = np.cumsum([0, *lengths])
    return [np.arange(1 + ends[i], 1 + ends[i + 1], dtype=np.int32) for i in range(len(lengths))]


@settings(deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 9))
def test_every_target_stands_once_after_its_own_document(lengths: list[int], length: int) -> None:
    documents = numbered(lengths)
    packed = pack_documents(documents, length)
    valid = packed.valid == 1
    expected = np.concatenate([np.zeros(0, np.int32), *(document[1:] for document in documents)])
    np.testing.assert_array_equal(np.sort(packed.targets[valid]), expected)
    np.testing.assert_array_equal(packed.inputs[valid] + 1, packed.targets[valid])
    np.testing.assert_array_equal(packed.segments > 0, valid)
    assert (packed.inputs[~valid] == 0).all()
    for row in range(len(packed)):
        for segment in set(packed.segments[row].tolist()):
            places = np.flatnonzero(packed.segments[row] == segment)
            np.testing.assert_array_equal(packed.positions[row, places], np.arange(len(places)))
            np.testing.assert_array_equal(places, np.arange(places[0], places[0] + len(places)))


def test_rows_are_filled() -> None:
    packed = pack_documents(numbered([6, 6, 6, 3, 3, 3]), 7)
    assert len(packed) == 3
    assert packed.valid.mean() == 1.0


@given(lengths=LENGTHS, length=st.integers(1, 9))
def test_a_stream_wastes_less_than_a_row(lengths: list[int], length: int) -> None:
    documents = numbered(lengths)
    packed = pack_stream(documents, length)
    total = sum(lengths)
    np.testing.assert_array_equal(packed.targets.ravel(), np.arange(2, 2 + packed.targets.size))
    assert max(total - 1, 0) - packed.targets.size < length


@pytest.mark.parametrize("lengths", [[5, 9, 4], [20], [2, 2, 2, 2, 2, 2]])
def test_a_packed_document_has_the_logits_it_has_alone(lengths: list[int]) -> None:
    documents = [document % 40 for document in numbered(lengths)]
    packed = pack_documents(documents, 20)
    params = decoder.init(jax.random.key(0), NANO.model_copy(update={"n_layers": 2, "global_every": 2}), 40)
    config = NANO.model_copy(update={"n_layers": 2, "global_every": 2})
    apply = jax.jit(decoder.apply, static_argnums=1)
    inputs, positions, segments = (jnp.asarray(x) for x in (packed.inputs, packed.positions, packed.segments))
    together = apply(params, config, inputs, positions, segments=segments)
    for row in range(len(packed)):
        for segment in range(1, packed.segments[row].max() + 1):
            places = packed.segments[row] == segment
            # On its own, in a row of the same shape, so that one compilation serves all.
            alone = np.zeros((len(packed), 20), np.int32)
            alone[0, : places.sum()] = packed.inputs[row, places]
            logits = apply(params, config, jnp.asarray(alone))
            np.testing.assert_allclose(logits[0, : places.sum()], together[row, places], rtol=1e-4, atol=1e-4)
    # Control: without the segments they do see each other.
    if packed.segments.max() > 1:
        mixed = apply(params, config, inputs, positions)
        assert np.abs(np.asarray(mixed - together)).max() > 1e-2
