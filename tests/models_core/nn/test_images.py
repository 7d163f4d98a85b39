"""Images before and after the tower: sizes, Pan & Scan, the cache of embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from models_core.errors import InputInvalid
from models_core.nn import images
from models_core.nn.configs import VisionConfig

TINY = VisionConfig(image_size=16, patch_size=4, n_layers=1, width=8, n_heads=2, d_ff=8, tokens_per_image=4)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(300, 300), (300, 900), (900, 300), (520, 700), (256, 4000), (200, 900)])
def test_pan_and_scan_crops_as_the_peer_and_covers_the_image(height: int, width: int) -> None:
    image = picture(height, width)
    crops = images.pan_and_scan(image)
    wanted = Gemma3ImageProcessorPil().pan_and_scan(image.transpose(2, 0, 1), 256, 4, 1.2)
    assert len(crops) == len(wanted) != 1
    for crop, other in zip(crops, wanted, strict=True):
        np.testing.assert_array_equal(crop.transpose(2, 0, 1), other)
    if crops:
        np.testing.assert_array_equal(np.concatenate(crops, axis=1 if width > height else 0), image)
    turned = images.pan_and_scan(image.transpose(1, 0, 2).copy())
    assert [crop.shape[1::-1] for crop in turned] == [crop.shape[:2] for crop in crops]


def test_pixels_are_the_peers() -> None:
    image = picture(30, 50)
    size = {"height": 16, "width": 16}
    wanted = Gemma3ImageProcessorPil(size=size)(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(images.to_pixels(image, TINY), wanted, atol=1e-6)


def test_cache_computes_each_content_once_and_keeps_its_limit() -> None:
    calls = []

    def compute(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        return pixels.reshape(len(pixels), -1)[:, :4] * 2

    batch = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype(np.float32)
    batch = np.concatenate([batch, batch[:1]])
    cache = images.EmbeddingCache(compute, model="a", limit_bytes=3 * 16)
    first = cache(batch)
    np.testing.assert_array_equal(first, compute(batch))
    np.testing.assert_array_equal(cache(batch), first)
    assert calls == [3, 4]
    assert (cache.misses, cache.hits, cache.held_bytes) == (3, 5, 48)
    cache(batch[:1] + 1)
    assert cache.held_bytes == 48
    assert images.EmbeddingCache(compute, model="b", limit_bytes=1).key(batch[0]) != cache.key(batch[0])


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InputInvalid, match="image"):
        images.pan_and_scan(image)
