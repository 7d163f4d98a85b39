"""Partitions: nothing lost, nothing twice, and as uneven as asked."""

from __future__ import annotations

import numpy as np
import pytest

from models_core.data import partition

LABELS = np.repeat(np.arange(10), 100).astype(np.int32)

SPLITS = {
    "iid": lambda seed: partition.iid(LABELS, 7, seed=seed),
    "dirichlet_per_client": lambda seed: partition.dirichlet_per_client(LABELS, 7, alpha=0.3, seed=seed),
    "dirichlet_per_class": lambda seed: partition.dirichlet_per_class(LABELS, 7, alpha=0.3, seed=seed),
    "shards": lambda seed: partition.shards(LABELS, 7, per_client=2, seed=seed),
}


def class_shares(parts: partition.Partition) -> np.ndarray:
    return np.stack([np.bincount(LABELS[part], minlength=10) / len(part) for part in parts])


@pytest.mark.parametrize("name", SPLITS)
def test_no_example_twice_and_the_same_for_the_same_seed(name: str) -> None:
    parts = SPLITS[name](3)
    joined = np.concatenate(parts)
    assert len(parts) == 7
    assert len(np.unique(joined)) == len(joined)
    assert all(np.array_equal(a, b) for a, b in zip(parts, SPLITS[name](3), strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(parts, SPLITS[name](4), strict=True))


@pytest.mark.parametrize("name", ["iid", "dirichlet_per_class", "shards"])
def test_every_example_is_dealt_out(name: str) -> None:
    assert sum(map(len, SPLITS[name](0))) == len(LABELS)


def test_the_two_dirichlet_recipes_differ_in_sizes() -> None:
    assert {len(part) for part in SPLITS["dirichlet_per_client"](0)} == {142}
    sizes = [len(part) for part in SPLITS["dirichlet_per_class"](0)]
    assert max(sizes) > 1.3 * min(sizes)


def test_large_alpha_is_close_to_the_overall_shares_and_small_alpha_is_not() -> None:
    even = class_shares(partition.dirichlet_per_client(LABELS, 5, alpha=1000.0, seed=0))
    uneven = class_shares(partition.dirichlet_per_client(LABELS, 5, alpha=0.05, seed=0))
    # 200 draws a client: a share of 0.1 has a standard deviation of 0.02.
    assert np.abs(even - 0.1).max() < 0.09
    assert uneven.max(axis=1).min() > 0.3


def test_shards_give_few_classes() -> None:
    parts = partition.shards(LABELS, 10, per_client=2, seed=0)
    assert max(len(np.unique(LABELS[part])) for part in parts) <= 4


def test_per_class_keeps_the_smallest_client_above_its_least() -> None:
    parts = partition.dirichlet_per_class(LABELS, 5, alpha=0.5, seed=0, least=50)
    assert min(map(len, parts)) >= 50
    with pytest.raises(ValueError, match="leaves each 900"):
        partition.dirichlet_per_class(LABELS, 5, alpha=0.5, seed=0, least=900)
