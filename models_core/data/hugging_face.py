"""A text set of the Hugging Face hub, through its `datasets` library where that is installed and the hub is reachable.

Refuses sets that need code of their own to be read.
"""

from __future__ import annotations

from itertools import islice

from models_core.data._dataset import DataInvalid, Document


def documents(
    name: str, *, revision: str, config: str | None = None, split: str = "train", text_field: str = "text", most: int
) -> list[Document]:
    """The first `most` rows of `split`. revision: a commit of the set, so that the same text comes back.

    Raises DataInvalid when the library is missing, the hub cannot be reached, or the rows have no `text_field`.
    """
    try:
        import datasets  # type: ignore[import-not-found]
    except ImportError:
        raise DataInvalid(
            f"{name} is read with the package datasets, which is not installed.",
            fields={"data.name": "Needs the package datasets."},
        ) from None
    try:
        rows = datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
        taken = list(islice(rows, most))
    except Exception as error:
        # The library raises errors of half a dozen others' kinds; all mean that the set could not be had.
        raise DataInvalid(f"{name} could not be read: {type(error).__name__}: {error}") from None
    if not taken or not all(isinstance(row.get(text_field), str) for row in taken):
        raise DataInvalid(f"The rows of {name} have no text in their field {text_field!r}.")
    return [Document(f"{name}:{index}", name, row[text_field]) for index, row in enumerate(taken)]
