"""Texts of many owners as windows for next-token prediction: bytes, or the most frequent words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from models_core.data._dataset import DataInvalid, Document

# Ids of words: 0 is every word outside the vocabulary.
UNKNOWN = 0


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of every owner's text in its order, the last fifth held out; y is x one token later.

    owner, test_owner: the place in `names`. vocabulary: ids are below it.
    """

    names: tuple[str, ...]
    x: Int32[np.ndarray, "examples time"]
    y: Int32[np.ndarray, "examples time"]
    owner: Int32[np.ndarray, " examples"]
    test_x: Int32[np.ndarray, "tests time"]
    test_y: Int32[np.ndarray, "tests time"]
    test_owner: Int32[np.ndarray, " tests"]
    vocabulary: int


def cut(
    documents: Sequence[Document],
    *,
    length: int,
    most_owners: int | None = None,
    least: int = 5,
    most: int = 400,
    words: int = 0,
) -> Windows:
    """Owners with at least `least` windows of `length` + 1 tokens, in the order of their first document.

    most: windows of an owner, the first ones. words: size of the vocabulary of words, counted on the training windows'
    text, the ids in the order of frequency; 0: bytes. Raises DataInvalid when no owner has enough.
    """
    texts: dict[str, list[str]] = {}
    for document in documents:
        texts.setdefault(document.group, []).append(document.text)
    tokens: dict[str, list[str] | bytes] = {}
    for name, parts in texts.items():
        joined = "\n".join(parts)
        found: list[str] | bytes = joined.split() if words else joined.encode()
        if len(found) // (length + 1) >= least:
            tokens[name] = found[: most * (length + 1)]
        if most_owners is not None and len(tokens) == most_owners:
            break
    if not tokens:
        raise DataInvalid(f"No owner has {least} windows of {length + 1} {'words' if words else 'bytes'}.")
    kept = {name: len(found) // (length + 1) for name, found in tokens.items()}
    trained = {name: count - max(1, count // 5) for name, count in kept.items()}
    ids: dict[str, int] = {}
    if words:
        counts = Counter(word for name, found in tokens.items() for word in found[: trained[name] * (length + 1)])
        # Equally frequent words in alphabetical order: the ids must not depend on the order of reading.
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        ids = {str(word): place for place, (word, _) in enumerate(ranked[:words], 1)}
    pieces: dict[bool, list[np.ndarray]] = {False: [], True: []}
    owners: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for place, (name, found) in enumerate(tokens.items()):
        whole = found[: kept[name] * (length + 1)]
        coded = (
            np.frombuffer(whole, np.uint8).astype(np.int32)
            if isinstance(whole, bytes)
            else np.array([ids.get(word, UNKNOWN) for word in whole], np.int32)
        )
        rows = coded.reshape(-1, length + 1)
        for held_out, part in ((False, rows[: trained[name]]), (True, rows[trained[name] :])):
            pieces[held_out].append(part)
            owners[held_out].append(np.full(len(part), place, np.int32))
    train, test = np.concatenate(pieces[False]), np.concatenate(pieces[True])
    return Windows(
        names=tuple(tokens),
        x=train[:, :-1],
        y=train[:, 1:],
        owner=np.concatenate(owners[False]),
        test_x=test[:, :-1],
        test_y=test[:, 1:],
        test_owner=np.concatenate(owners[True]),
        vocabulary=len(ids) + 1 if words else 256,
    )
