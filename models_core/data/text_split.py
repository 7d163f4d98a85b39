"""A corpus as training and validation text of bounded size, the same in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from models_core.data._dataset import DataInvalid, Document

# About a tenth of the documents: those whose name hashes below this first byte.
_VALIDATION_BELOW = 26
# Of a corpus with too few documents, the last tenth of each is held out.
_HELD_OUT = 10


@dataclass(frozen=True, slots=True)
class Split:
    """fingerprint: sha256 of the text, which tells whether two runs read the same."""

    train: list[str]
    validation: list[str]
    fingerprint: str


def split(documents: Sequence[Document], *, train_bytes: int, validation_bytes: int) -> Split:
    """Whole documents in the order of their names' hashes, up to the bytes wanted of each part (the last one cut).

    A document is either training or validation text; only where that leaves a part empty, each is cut in two. Raises
    DataInvalid when there is too little text for both.
    """
    hashed = [(hashlib.sha256(document.name.encode()).digest(), document) for document in documents]
    ordered = sorted(hashed, key=lambda pair: pair[0])
    train = [document.text for digest, document in ordered if digest[0] >= _VALIDATION_BELOW]
    held_out = [document.text for digest, document in ordered if digest[0] < _VALIDATION_BELOW]
    if not any(train) or not any(held_out):
        cuts = [(document.text, len(document.text) - len(document.text) // _HELD_OUT) for _, document in ordered]
        train, held_out = [text[:cut] for text, cut in cuts], [text[cut:] for text, cut in cuts]
    train, held_out = _first(train, train_bytes), _first(held_out, validation_bytes)
    if not train or not held_out:
        raise DataInvalid("There is too little text to train on and to hold out.", fields={"data": "Too little text."})
    digest = hashlib.sha256()
    for text in (*train, "", *held_out):
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return Split(train, held_out, digest.hexdigest())


def _first(texts: Sequence[str], wanted: int) -> list[str]:
    taken = []
    for text in texts:
        if wanted <= 0:
            break
        content = text.encode("utf-8", "surrogatepass")[:wanted]
        wanted -= len(content)
        if content:
            taken.append(content.decode("utf-8", "ignore"))
    return taken
