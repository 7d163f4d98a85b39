"""Fashion-MNIST, 28x28 pixels: 60,000 articles of clothing for training, 10,000 for testing, from local IDX files.

Debian's package `dataset-fashion-mnist` carries them in /usr/share/datasets/fashion-mnist, where they are found without
a setting; `dpkg -x` unpacks it anywhere without root.
"""

from __future__ import annotations

from pathlib import Path

from models_core.data._dataset import DataInvalid, Images, Source, local_folder
from models_core.data._idx import load_images
from models_core.data.mnist import FILES

SOURCE = Source(
    title="Fashion-MNIST, H. Xiao, K. Rasul and R. Vollgraf, 2017",
    origin="https://github.com/zalandoresearch/fashion-mnist, or Debian's package dataset-fashion-mnist",
    licence="MIT",
    sha256=None,
)
# Of the unpacked files: Debian packs them anew, so that the packed bytes differ from the published ones.
SHA256 = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def load(folder: str | Path | None = None, *, verify: bool = True) -> Images:
    """The images, grey 0..255 scaled to [0, 1]; raises DataInvalid. verify=False admits other files of the format."""
    try:
        found = local_folder("fashion_mnist", folder)
    except DataInvalid:
        if folder is not None or not DEBIAN.is_dir():
            raise
        found = DEBIAN
    return load_images(found, FILES, SHA256 if verify else (None,) * 4)
