"""Chunks of points: what goes in comes out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stillroom.telemetry.codec import Points, decode, decode_many, encode, encode_many

steps = hnp.arrays(np.int64, st.shared(st.integers(1, 300), key="n"), elements=st.integers(-(2**63), 2**63 - 1))
values = hnp.arrays(np.float64, st.shared(st.integers(1, 300), key="n"), elements=st.floats(width=64))
times = hnp.arrays(np.float64, st.shared(st.integers(1, 300), key="n"), elements=st.floats(0, 4e9))


@given(step=steps, value=values, time=times)
def test_a_round_trip_loses_nothing_but_less_than_a_microsecond(
    step: np.ndarray, value: np.ndarray, time: np.ndarray
) -> None:
    found = decode(encode(Points(step, value, time)))
    np.testing.assert_array_equal(found.step, step)
    np.testing.assert_array_equal(found.value, value)
    np.testing.assert_array_equal(np.signbit(found.value), np.signbit(value))
    np.testing.assert_allclose(found.time, time, atol=1e-6, rtol=0)


@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_many_at_once_are_what_they_are_one_by_one(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for index, n in enumerate(sizes):
        value = rng.standard_normal(n)
        value = value.astype(np.float32).astype(np.float64) if index % 2 else value
        parts.append(Points(rng.integers(-(2**62), 2**62, n), value, rng.uniform(0, 2e9, n)))
        if index % 3 == 0:
            value[0] = np.nan
    blobs = [encode(part) for part in parts]
    assert encode_many(parts) == blobs
    for one, other in zip(decode_many(blobs), map(decode, blobs), strict=True):
        for left, right in ((one.step, other.step), (one.value, other.value), (one.time, other.time)):
            np.testing.assert_array_equal(left, right)


def test_values_born_in_float32_take_half_the_room() -> None:
    rng = np.random.default_rng(0)
    n = 10_000
    step, time = np.arange(n), 1.7e9 + np.arange(n) * 0.1
    narrow = rng.standard_normal(n).astype(np.float32).astype(np.float64)
    wide = rng.standard_normal(n)
    assert len(encode(Points(step, narrow, time))) < 0.6 * len(encode(Points(step, wide, time)))


def test_another_version_is_refused() -> None:
    import zstandard

    raw = bytearray(zstandard.ZstdDecompressor().decompress(encode(Points(np.arange(2), np.ones(2), np.ones(2)))))
    raw[0] = 99
    with pytest.raises(ValueError, match="version 99"):
        decode(zstandard.ZstdCompressor().compress(bytes(raw)))
