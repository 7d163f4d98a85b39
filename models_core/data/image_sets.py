"""Which image sets there are and what shape they have, readable without an array library; `load` reads one."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from models_core.data._dataset import Images

ImageSet = Literal["digits", "mnist5k", "mnist", "fashion_mnist", "emnist", "cifar10", "cifar100"]


@dataclass(frozen=True, slots=True)
class ImageSetInfo:
    """train: images for training. carried: whether an installed package brings it; else its files must be local."""

    train: int
    side: int
    channels: int
    classes: int
    carried: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.side, self.side, self.channels


IMAGE_SETS: dict[ImageSet, ImageSetInfo] = {
    "digits": ImageSetInfo(1437, 8, 1, 10, carried=True),
    "mnist5k": ImageSetInfo(4000, 28, 1, 10, carried=True),
    "mnist": ImageSetInfo(60_000, 28, 1, 10, carried=False),
    "fashion_mnist": ImageSetInfo(60_000, 28, 1, 10, carried=False),
    "emnist": ImageSetInfo(112_800, 28, 1, 47, carried=False),
    "cifar10": ImageSetInfo(50_000, 32, 3, 10, carried=False),
    "cifar100": ImageSetInfo(50_000, 32, 3, 100, carried=False),
}


def load(name: ImageSet, folder: str | Path | None = None) -> Images:
    """The images of the set; folder: of local files, default see `_dataset.local_folder`. Raises DataInvalid."""
    module = importlib.import_module(f"models_core.data.{name}")
    images: Images = module.load() if IMAGE_SETS[name].carried else module.load(folder)
    return images
