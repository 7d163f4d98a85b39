"""Images on their way to the vision tower: resizing, Pan & Scan, and a cache of what the frozen tower made of them.

Source: Gemma 3 technical report (arXiv 2503.19786), section 2.1. numpy and Pillow alone.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models_core.errors import InputInvalid
from models_core.nn.configs import VisionConfig

MAX_CROPS, MIN_CROP, MIN_RATIO = 4, 256, 1.2


def to_pixels(image: NDArray[np.uint8], config: VisionConfig) -> NDArray[np.float32]:
    """An image (height, width, 3) of bytes as the tower wants it: (3, size, size), bilinear, (x / 255 - 0.5) / 0.5."""
    _check(image)
    side = config.image_size
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, np.float32).transpose(2, 0, 1) / np.float32(255)
    return np.ascontiguousarray((pixels - np.float32(0.5)) / np.float32(0.5))


def pan_and_scan(
    image: NDArray[np.uint8], *, max_crops: int = MAX_CROPS, min_crop: int = MIN_CROP, min_ratio: float = MIN_RATIO
) -> list[NDArray[np.uint8]]:
    """Crops of a long image (height, width, 3), in reading order; none for nearly square or small ones.

    The caller puts the whole image first and the crops after it. max_crops >= 2. min_crop: pixels; shorter ones are not
    made. min_ratio > 0: long over short side from which an image counts as long. Crops do not overlap and cover the
    image.
    """
    _check(image)
    if max_crops < 2 or min_crop < 1 or not min_ratio > 0:
        raise InputInvalid(
            "Pan & Scan cannot work like this.",
            fields={"max_crops": "At least 2.", "min_crop": "At least 1.", "min_ratio": "Above 0."},
        )
    height, width = image.shape[:2]
    long, short = max(height, width), min(height, width)
    if long / short < min_ratio:
        return []
    count = min(long // min_crop, math.floor(long / short + 0.5))
    count = min(max(count, 2), max_crops)
    step = math.ceil(long / count)
    if min(step, short) < min_crop:
        return []
    starts = range(0, step * count, step)
    if width >= height:
        return [image[:, start : start + step] for start in starts]
    return [image[start : start + step] for start in starts]


class EmbeddingCache:
    """What a frozen tower made of each image, by content; the least recently used goes first when full.

    compute: pixels (images, C, H, W) to an array (images, ...), called once for all unknown images of a request.
    model: names the weights; entries of other weights are never returned. limit_bytes: of the kept arrays, above 0.
    """

    def __init__(self, compute: Callable[[NDArray[Any]], Any], *, model: str, limit_bytes: int) -> None:
        if limit_bytes <= 0:
            raise InputInvalid("A cache needs room.", fields={"limit_bytes": "Must be above 0."})
        self._compute, self._model, self._limit_bytes = compute, model, limit_bytes
        self._kept: OrderedDict[str, NDArray[Any]] = OrderedDict()
        self.held_bytes = self.hits = self.misses = 0

    def key(self, pixels: NDArray[Any]) -> str:
        """Hash of weights' name, shape, dtype and content of one image."""
        head = f"{self._model}\n{pixels.dtype.str}\n{pixels.shape}\n".encode()
        return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()

    def __call__(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Embeddings of images (images, C, H, W), in their order."""
        keys = [self.key(image) for image in pixels]
        unknown = {key: index for index, key in reversed(list(enumerate(keys))) if key not in self._kept}
        fresh: dict[str, NDArray[Any]] = {}
        if unknown:
            order = sorted(unknown.items(), key=lambda item: item[1])
            made = np.asarray(self._compute(pixels[[index for _, index in order]]))
            fresh = {key: np.array(row) for (key, _), row in zip(order, made, strict=True)}
        self.misses += len(fresh)
        self.hits += len(keys) - len(fresh)
        rows = [fresh[key] if key in fresh else self._kept[key] for key in keys]
        for key, row in zip(keys, rows, strict=True):
            self._keep(key, row)
        return np.stack(rows)

    def _keep(self, key: str, row: NDArray[Any]) -> None:
        if key not in self._kept:
            self._kept[key] = row
            self.held_bytes += row.nbytes
        self._kept.move_to_end(key)
        while self.held_bytes > self._limit_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.held_bytes -= dropped.nbytes


def _check(image: NDArray[np.uint8]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        reason = f"Must be (height, width, 3) of uint8, is {image.shape} of {image.dtype}."
        raise InputInvalid("This is no colour image.", fields={"image": reason})
