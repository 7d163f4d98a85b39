"""Glyphs of fonts as handwriting: digits and letters, 62 classes, rendered from local font files. A font is a writer.

Nobody wrote the images: Pillow renders each glyph several times, slightly turned, moved and scaled. npm's packages
`@fontsource/<name>` carry free handwriting fonts (.woff; .ttf and .otf do as well).
"""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from models_core.data._dataset import DataInvalid, Source, local_folder

SOURCE = Source(
    title="Glyphs of your fonts",
    origin="npm's packages @fontsource/<name>, folder files, or any fonts",
    licence="each font's",
    sha256=None,
)
# As in EMNIST: digits, upper case, lower case.
CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SUFFIXES = (".ttf", ".otf", ".woff", ".woff2")
_LARGEST_FILE = 16 << 20
_NO_CHARACTER = "\U0010fffd"


@dataclass(frozen=True, slots=True)
class Fonts:
    """Flat images, ink 1: x, y for training, test_* held out of the same fonts; owner: the font's place in `names`."""

    names: tuple[str, ...]
    x: Float32[np.ndarray, "examples pixels"]
    y: Int32[np.ndarray, " examples"]
    owner: Int32[np.ndarray, " examples"]
    test_x: Float32[np.ndarray, "tests pixels"]
    test_y: Int32[np.ndarray, " tests"]
    test_owner: Int32[np.ndarray, " tests"]


def load(
    folder: str | Path | None = None, *, seed: int, side: int = 28, images: int = 3, most_fonts: int | None = None
) -> Fonts:
    """`images` renderings of each glyph and font for training and one for the test; raises DataInvalid.

    side: pixels, at least 8. Fonts are in the order of their files' names, which are the writers' names; of several
    files with one name the first of SUFFIXES counts. Files that lack one of the characters (subsets for other scripts)
    are left out.
    """
    found = local_folder("fonts", folder)
    files: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(path for path in found.rglob("*") if path.suffix.lower() == suffix):
            files.setdefault(path.stem, path)
    paths: list[Path] = []
    drawn: list[np.ndarray] = []
    for name in sorted(files):
        if len(paths) == most_fonts:
            break
        glyphs = _draw(files[name], name, seed, side, images + 1)
        if glyphs is not None:
            paths.append(files[name])
            drawn.append(glyphs)
    if not paths:
        raise DataInvalid(f"{found} has no fonts ({', '.join(SUFFIXES)}) with digits and Latin letters.")
    every = np.stack(drawn)
    labels = np.arange(len(CHARACTERS), dtype=np.int32)
    train, test = every[:, :, :images], every[:, :, images:]

    def owners(count: int) -> np.ndarray:
        return np.repeat(np.arange(len(paths), dtype=np.int32), len(labels) * count)

    return Fonts(
        names=tuple(path.stem for path in paths),
        x=train.reshape(-1, side * side),
        y=np.tile(np.repeat(labels, images), len(paths)),
        owner=owners(images),
        test_x=test.reshape(-1, side * side),
        test_y=np.tile(labels, len(paths)),
        test_owner=owners(1),
    )


def _draw(path: Path, name: str, seed: int, side: int, count: int) -> np.ndarray | None:
    """[classes, count, side, side], ink 1; None when the font lacks a character."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise DataInvalid("Fonts are rendered with Pillow, which is not installed.") from None
    if path.stat().st_size > _LARGEST_FILE:
        raise DataInvalid(f"{path.name} is larger than {_LARGEST_FILE} bytes.")
    # Drawn large and shrunk: small sizes would meet the font's hinting instead of its shape.
    large = 4 * side
    try:
        # Fonts fill their em square differently: the tallest or widest glyph gets three quarters of the image.
        boxes = np.array([ImageFont.truetype(str(path), large).getbbox(character) for character in CHARACTERS])
        extent = max(float((boxes[:, 2:] - boxes[:, :2]).max()), 1.0)
        font: Any = ImageFont.truetype(str(path), max(round(0.75 * large * large / extent), 4))
    except OSError as error:
        raise DataInvalid(f"{path.name} cannot be read as a font: {error}") from None
    # What a font draws for a character that none has.
    absent = bytes(font.getmask(_NO_CHARACTER))
    if any(bytes(font.getmask(character)) in (absent, b"") for character in CHARACTERS):
        return None
    # A font's images depend on its name, not on which others lie beside it.
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    generator = np.random.Generator(np.random.Philox(key=[seed, place]))
    glyphs = np.zeros((len(CHARACTERS), count, side, side), np.float32)
    for label, character in enumerate(CHARACTERS):
        left, top, right, bottom = font.getbbox(character)
        for number in range(count):
            turn, scale = generator.normal(0, 4), np.exp(generator.normal(0, 0.06))
            shift = generator.normal(0, 0.02 * large, 2)
            canvas = Image.new("L", (large, large))
            where = (large / 2 - (left + right) / 2 + shift[0], large / 2 - (top + bottom) / 2 + shift[1])
            ImageDraw.Draw(canvas).text(where, character, fill=255, font=font)
            turned = canvas.rotate(turn, resample=Image.Resampling.BILINEAR)
            margin = (large - large / scale) / 2
            box = (margin, margin, large - margin, large - margin)
            small = turned.resize((side, side), Image.Resampling.BOX, box=box) if margin >= 0 else turned.resize(
                (side, side), Image.Resampling.BOX
            )  # fmt: skip
            glyphs[label, number] = np.asarray(small, np.float32) / 255
    return glyphs
