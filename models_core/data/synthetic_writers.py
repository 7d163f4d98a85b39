"""Synthetic EMNIST-like handwriting: made-up glyphs, written by made-up writers. Never to be compared with EMNIST.

A glyph is a fixed polyline of a class. A writer has a style (slant, rotation, scale, shift, stroke width, contrast), a
mix of classes and a number of images; every image adds a small jitter. The writers of the slow domain turn their glyphs
by `domain_turn` degrees, which nobody in the fast domain does: their handwriting can be learned from them alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from models_core.data._dataset import Source

SOURCE = Source(
    title="Synthetic writers",
    origin="drawn by this module; no person wrote any of it",
    licence="Apache-2.0",
    sha256=None,
)
_POINTS = 6
_GLYPH_SEED = 20_26


@dataclass(frozen=True, slots=True)
class Knobs:
    """writers, classes > 0; side: pixels. label_alpha: of each writer's Dirichlet mix of classes (small: few classes).
    style: factor on the spread of styles, 0 for one hand. size_sigma: of the logarithm of a writer's number of images,
    clipped to [8, 400], median `images`. slow_share: writers in the slow domain. domain_turn: degrees by which they
    turn their glyphs, 0 for no domain shift. tests: test images a domain.
    """

    writers: int = 60
    classes: int = 10
    side: int = 14
    images: int = 30
    label_alpha: float = 1.0
    style: float = 1.0
    size_sigma: float = 0.4
    slow_share: float = 0.25
    domain_turn: float = 75.0
    tests: int = 400


@dataclass(frozen=True, slots=True)
class SyntheticWriters:
    """Images of all writers, `clients[i]` the rows of writer i; slow[i]: whether it is of the slow domain. The test
    images are of unseen writers, as many of each domain, every class equally often; test_domain: 1 where slow.
    """

    x: Float32[np.ndarray, "examples pixels"]
    y: Int32[np.ndarray, " examples"]
    clients: list[np.ndarray]
    slow: list[bool]
    test_x: Float32[np.ndarray, "tests pixels"]
    test_y: Int32[np.ndarray, " tests"]
    test_domain: Int32[np.ndarray, " tests"]


def load(knobs: Knobs, *, seed: int) -> SyntheticWriters:
    """Draw everything; a pure function of its arguments. Glyphs depend on the class alone."""
    glyphs = _glyphs(knobs.classes)
    slow_count = round(knobs.slow_share * knobs.writers)
    slow = [writer >= knobs.writers - slow_count for writer in range(knobs.writers)]
    xs, ys = [], []
    for writer in range(knobs.writers):
        generator = _generator(seed, 1, writer)
        size = int(np.clip(knobs.images * np.exp(knobs.size_sigma * generator.normal()), 8, 400))
        mix = generator.dirichlet(np.full(knobs.classes, max(knobs.label_alpha, 1e-3)))
        labels = generator.choice(knobs.classes, size=size, p=mix)
        xs.append(_write(glyphs, labels, knobs, slow[writer], generator))
        ys.append(labels)
    test_x, test_y, test_domain = [], [], []
    domains = [0, 1] if slow_count else [0]
    for domain in domains:
        labels = np.arange(knobs.tests) % knobs.classes
        for place in range(0, knobs.tests, 20):
            generator = _generator(seed, 2 + domain, place)
            chosen = labels[place : place + 20]
            test_x.append(_write(glyphs, chosen, knobs, domain == 1, generator))
            test_y.append(chosen)
            test_domain.append(np.full(len(chosen), domain))
    ends = np.cumsum([len(labels) for labels in ys])
    return SyntheticWriters(
        x=np.concatenate(xs),
        y=np.concatenate(ys).astype(np.int32),
        clients=[np.arange(end - len(labels), end) for end, labels in zip(ends, ys, strict=True)],
        slow=slow,
        test_x=np.concatenate(test_x),
        test_y=np.concatenate(test_y).astype(np.int32),
        test_domain=np.concatenate(test_domain).astype(np.int32),
    )


def unlabelled(knobs: Knobs, count: int, *, kind: str, seed: int) -> Float32[np.ndarray, "count pixels"]:
    """Images for a server without labels. kind: "in_domain" (unseen writers of both domains), "out_of_domain" (glyphs
    of classes that are not in the task) or "noise" (uniform pixels).
    """
    generator = _generator(seed, 9, 0)
    if kind == "noise":
        noise: Float32[np.ndarray, "count pixels"] = generator.uniform(size=(count, knobs.side**2)).astype(np.float32)
        return noise
    if kind not in ("in_domain", "out_of_domain"):
        raise ValueError(f"no kind of unlabelled images is called {kind!r}")
    glyphs = _glyphs(2 * knobs.classes)
    glyphs = glyphs[: knobs.classes] if kind == "in_domain" else glyphs[knobs.classes :]
    drawn = []
    for place in range(0, count, 20):
        writer = _generator(seed, 10, place)
        slow = bool(writer.uniform() < knobs.slow_share)
        drawn.append(_write(glyphs, writer.integers(0, knobs.classes, min(20, count - place)), knobs, slow, writer))
    return np.concatenate(drawn)


def _glyphs(classes: int) -> np.ndarray:
    """Control points of every class in [-1, 1]^2, [classes, points, 2]; the first are the same whatever the count."""
    glyphs = [
        np.cumsum(_generator(_GLYPH_SEED, 0, label).normal(0, 0.75, (_POINTS, 2)), axis=0) for label in range(classes)
    ]
    centred = [glyph - glyph.mean(axis=0) for glyph in glyphs]
    return np.stack([0.75 * glyph / np.abs(glyph).max() for glyph in centred])


def _write(
    glyphs: np.ndarray, labels: np.ndarray, knobs: Knobs, slow: bool, generator: np.random.Generator
) -> Float32[np.ndarray, "images pixels"]:
    """Images in one hand: its style is drawn first, then a jitter for every image."""
    count, style = len(labels), knobs.style
    slant = np.deg2rad(12 * style * generator.normal())
    turn = np.deg2rad(5 * style * generator.normal() + (knobs.domain_turn if slow else 0.0))
    scale = np.exp(0.1 * style * generator.normal(size=2))
    shift = 0.08 * style * generator.normal(size=2)
    width = 0.14 * np.exp(0.2 * style * generator.normal())
    contrast = np.clip(1 - 0.15 * style * abs(generator.normal()), 0.4, 1.0)
    turns = turn + np.deg2rad(3) * generator.normal(size=count)
    cosines, sines = np.cos(turns), np.sin(turns)
    rotation = np.stack([np.stack([cosines, -sines], -1), np.stack([sines, cosines], -1)], -2)
    shear = np.array([[1.0, np.tan(slant)], [0.0, 1.0]]) * scale[None, :]
    points = glyphs[labels] + 0.04 * generator.normal(size=(count, _POINTS, 2))
    points = points @ (shear.T @ rotation.transpose(0, 2, 1)) + shift + 0.03 * generator.normal(size=(count, 1, 2))
    axis = np.linspace(-1.1, 1.1, knobs.side)
    pixels = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    nearest = np.full((count, len(pixels)), np.inf)
    for point in range(_POINTS - 1):
        begin, end = points[:, point, None], points[:, point + 1, None]
        along = end - begin
        where = np.sum((pixels - begin) * along, -1) / np.maximum(np.sum(along * along, -1), 1e-9)
        distance = np.sum((pixels - begin - np.clip(where, 0, 1)[..., None] * along) ** 2, -1)
        nearest = np.minimum(nearest, distance)
    ink = contrast * np.exp(-nearest / (2 * width * width)) + 0.03 * generator.normal(size=nearest.shape)
    written: Float32[np.ndarray, "images pixels"] = np.clip(ink, 0, 1).astype(np.float32)
    return written


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, number]))
