"""EMNIST, 28x28 pixels: handwritten digits and letters in six splits, from local IDX files.

The published files hold every image transposed and the labels of `letters` from 1; both are put right here. There are
no writer ids in these files: see `federated_emnist`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models_core.data._dataset import Images, Source, local_folder
from models_core.data._idx import load_images

SOURCE = Source(
    title="EMNIST, G. Cohen, S. Afshar, J. Tapson and A. van Schaik, 2017 (NIST Special Database 19)",
    origin="https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip, md5 58c8d27c78d21e728a6bc7b3cc06412e",
    licence="public domain (work of the US government)",
    sha256=None,
)
Split = Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"]
CLASSES: dict[Split, int] = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}


def load(folder: str | Path | None = None, *, split: Split = "balanced") -> Images:
    """The images, upright, grey 0..255 scaled to [0, 1]; raises DataInvalid. folder: default see `local_folder`."""
    names = [
        f"emnist-{split}-{part}-{kind}-ubyte" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")
    ]
    return load_images(
        local_folder("emnist", folder),
        names,
        (None,) * 4,
        classes=CLASSES[split],
        first_label=1 if split == "letters" else 0,
        transposed=True,
    )
