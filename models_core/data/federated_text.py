"""Text by owner from TensorFlow Federated's HDF5 files: Shakespeare's speakers and StackOverflow's users."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models_core.data import _hdf5
from models_core.data._dataset import DataInvalid, Document, Source, local_folder

SOURCE = Source(
    title="Federated Shakespeare (LEAF, 2018) and StackOverflow of TensorFlow Federated",
    origin="https://storage.googleapis.com/tff-datasets-public/shakespeare.tar.bz2 and .../stackoverflow.tar.bz2",
    licence="Shakespeare: public domain; StackOverflow: CC BY-SA 3.0 of its users",
    sha256=None,
)
FIELDS = {"shakespeare": "snippets", "stackoverflow": "tokens"}
_MOST_TEXTS, _LONGEST_BYTES = 1_000_000, 1 << 20


def documents(
    name: Literal["shakespeare", "stackoverflow"],
    folder: str | Path | None = None,
    *,
    part: str = "train",
    most_owners: int | None = None,
    most_texts: int | None = None,
) -> list[Document]:
    """The texts of `part` ("train", "test", or StackOverflow's "held_out"); group: the speaker of a play, or the user.

    The first `most_owners` in the order of their names, `most_texts` of each in the order of the file. For
    StackOverflow the document's name ends in its kind, question or answer. Raises DataInvalid.
    """
    path = local_folder(f"federated_{name}", folder) / f"{name}_{part}.h5"
    keys = (FIELDS[name], "type") if name == "stackoverflow" else (FIELDS[name],)
    found = []
    for owner, arrays in _hdf5.clients(path, keys, most=most_owners, rows=_MOST_TEXTS):
        texts, kinds = arrays[keys[0]][:most_texts], arrays["type"][:most_texts] if len(keys) > 1 else None
        for place, text in enumerate(texts):
            kind = f" {_decoded(kinds[place], owner)}" if kinds is not None else ""
            found.append(Document(f"{owner} {place}{kind}", owner, _decoded(text, owner)))
    if not found:
        raise DataInvalid(f"{path} has no texts.")
    return found


def _decoded(value: object, owner: str) -> str:
    if not isinstance(value, bytes) or len(value) > _LONGEST_BYTES:
        raise DataInvalid(f"A text of {owner} is no string, or longer than {_LONGEST_BYTES} bytes.")
    return value.decode("utf-8", "replace")
