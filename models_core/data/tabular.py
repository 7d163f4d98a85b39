"""Tables of numbers with a label of two values, as one stream of examples: what online convex methods are compared on.

`breast_cancer` and `digits` come with scikit-learn; `libsvm` reads files of that format (a9a, gisette, ...), which
docs/reference/data.md says where to find.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from models_core.data._dataset import DataInvalid, Source, local_folder, read_local, read_packaged

SOURCE = Source(
    title="Breast cancer Wisconsin (diagnostic), W. Wolberg, W. Street and O. Mangasarian, UCI, 1995",
    origin="scikit-learn's wheel, sklearn/datasets/data/breast_cancer.csv",
    licence="CC BY 4.0",
    sha256="fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed",
)
Table = Literal["breast_cancer", "digits", "libsvm"]
_LARGEST_FILE = 1 << 28
# Examples times features of a file, in numbers: the rows are stored in full.
_LARGEST_TABLE = 200_000_000


@dataclass(frozen=True, slots=True)
class Labelled:
    """x: the last column is 1, the intercept. y: 0 or 1. Rows in the order of the file."""

    x: Float64[np.ndarray, "examples features"]
    y: Float64[np.ndarray, " examples"]


def load(name: Table, file: str = "", folder: str | Path | None = None) -> Labelled:
    """The table of that name; raises DataInvalid.

    breast_cancer: 569 x 30, each feature shifted and scaled to mean 0 and standard deviation 1; 1 is benign. digits:
    1,797 x 64 greys in [0, 1]; 1 is an odd digit. libsvm: `file` below `folder` (default: see `_dataset.local_folder`),
    features as they are; 1 where the label is above 0.
    """
    match name:
        case "breast_cancer":
            content = read_packaged("sklearn", ("datasets", "data", "breast_cancer.csv"), SOURCE.sha256 or "")
            table = np.loadtxt(io.BytesIO(content), delimiter=",", skiprows=1)
            x, y = table[:, :-1], table[:, -1]
            x = (x - x.mean(axis=0)) / x.std(axis=0)
        case "digits":
            from models_core.data import digits

            images = digits.load()
            x = np.concatenate([images.train_x, images.test_x]).astype(np.float64)
            y = np.concatenate([images.train_y, images.test_y]) % 2
        case "libsvm":
            x, y = _libsvm(file, folder)
    return Labelled(np.concatenate([x, np.ones((len(x), 1))], axis=1), (y > 0).astype(np.float64))


def _libsvm(file: str, folder: str | Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Dense features and raw labels of `label index:value ...` lines; indices count from 1, what is absent is 0."""
    root = local_folder("libsvm", folder).resolve()
    if not (root / file).resolve().is_relative_to(root):
        raise DataInvalid(f"{file} is not below the data folder.", fields={"workload.file": "Leaves the data folder."})
    content = read_local(root, file, limit=_LARGEST_FILE)
    labels: list[float] = []
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for number, line in enumerate(content.splitlines(), 1):
        label, *entries = line.partition(b"#")[0].split() or [b""]
        if not label:
            continue
        try:
            pairs = [entry.split(b":") for entry in entries]
            found = [(int(index), float(value)) for index, value in pairs]
            labels.append(float(label))
        except ValueError:
            raise DataInvalid(f"Line {number} of {file} is not `label index:value ...`.") from None
        if any(index < 1 or not math.isfinite(value) for index, value in found) or not math.isfinite(labels[-1]):
            raise DataInvalid(f"Line {number} of {file} has an index below 1 or a value that is not finite.")
        rows += [len(labels) - 1] * len(found)
        columns += [index - 1 for index, _ in found]
        values += [value for _, value in found]
    if not values:
        raise DataInvalid(f"{file} holds no examples.")
    shape = len(labels), max(columns) + 1
    if shape[0] * shape[1] > _LARGEST_TABLE:
        raise DataInvalid(f"{file} has {shape[0]} x {shape[1]} numbers, more than the {_LARGEST_TABLE} that fit.")
    x = np.zeros(shape)
    x[rows, columns] = values
    return x, np.array(labels)
