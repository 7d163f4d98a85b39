"""Counts of words that occur together, against counting one by one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from models_core.data._dataset import DataInvalid
from models_core.training.workloads import word_vectors

TEXTS = ["The cat saw the dog; the DOG saw a bird.", "A bird saw the cat.", "dog cat dog cat the a"] * 2


def test_counts_are_one_over_the_distance_inside_a_text_in_both_directions() -> None:
    window, words = 3, 5
    # By frequency, ties in alphabetical order: bird has 4 occurrences and is left out, its place is kept.
    names = ["the", "cat", "dog", "a", "saw"]
    expected: dict[tuple[int, int], float] = defaultdict(float)
    for text in TEXTS:
        run = [word.strip(".;").lower() for word in text.split()]
        for here, word in enumerate(run):
            for there, other in enumerate(run):
                if 0 < abs(here - there) <= window and word in names and other in names:
                    expected[names.index(word), names.index(other)] += 1 / abs(here - there)
    first, second, counts = word_vectors.count_pairs(TEXTS, words=words, window=window)
    found = dict(zip(zip(first.tolist(), second.tolist(), strict=True), counts.tolist(), strict=True))
    assert {pair: pytest.approx(count) for pair, count in expected.items()} == found
    assert np.all(counts > 0)


def test_too_few_words_are_refused() -> None:
    with pytest.raises(DataInvalid) as refusal:
        word_vectors.count_pairs(TEXTS, words=7, window=2)
    assert list(refusal.value.fields) == ["workload.words"]
