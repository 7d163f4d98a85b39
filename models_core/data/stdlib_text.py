"""The source of the Python standard library as text: real, and on every machine without a download.

The text depends on the interpreter; `Text.fingerprint` tells which it was. Test suites and generated files are left
out.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from models_core.data._dataset import DataInvalid, Document, Source

SOURCE = Source(
    title="The Python standard library's source files",
    origin="the running interpreter's own installation",
    licence="PSF-2.0",
    sha256=None,
)

PAD, BOS, EOS = 0, 1, 2
_FIRST_BYTE = 3
VOCABULARY = _FIRST_BYTE + 256
# A second tokenizer: the specials, the bytes below 128, and one id for all others.
ASCII_VOCABULARY = _FIRST_BYTE + 128 + 1

_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "__pycache__"}
)
# About a tenth of the files: those whose name hashes below this first byte.
_VALIDATION_BELOW = 26


@dataclass(frozen=True, slots=True)
class Text:
    """Rows of tokens: `row[:-1]` is the input, `row[1:]` the target, and every token is a target once."""

    train: Int32[np.ndarray, "train length"]
    validation: Int32[np.ndarray, "validation length"]
    fingerprint: str


def load(*, length: int, train_bytes: int, validation_bytes: int) -> Text:
    """Pack about `train_bytes` and `validation_bytes` of text into rows of `length` + 1 tokens; raises DataInvalid.

    Files are taken in the order of the hash of their path, so that a small part is as mixed as the whole; a file is
    either training or validation text, whatever the amounts.
    """
    digest = hashlib.sha256()
    streams: dict[bool, list[Int32[np.ndarray, " tokens"]]] = {True: [], False: []}
    wanted = {True: validation_bytes, False: train_bytes}
    for name_hash, path in _files():
        held_out = name_hash[0] < _VALIDATION_BELOW
        if wanted[held_out] <= 0:
            continue
        content = path.read_bytes()[: wanted[held_out]]
        wanted[held_out] -= len(content)
        digest.update(hashlib.sha256(content).digest())
        streams[held_out].append(encode(content))
    rows = {held_out: pack(np.concatenate(parts), length) for held_out, parts in streams.items() if parts}
    if len(rows) < 2 or not all(map(len, rows.values())):
        raise DataInvalid(f"The standard library's source at {root()} is too small for rows of {length} tokens.")
    return Text(rows[False], rows[True], digest.hexdigest())


def documents() -> list[Document]:
    """Every file as a document; its group is the top-level module or package. Not UTF-8: replaced."""
    base = root()
    paths = [path for _, path in _files()]
    names = [path.relative_to(base).as_posix() for path in paths]
    return [
        Document(name, name.split("/")[0].removesuffix(".py"), path.read_text("utf-8", "replace"))
        for name, path in zip(names, paths, strict=True)
    ]


def encode(content: bytes) -> Int32[np.ndarray, " tokens"]:
    """One document as tokens: BOS, its bytes shifted by 3, EOS."""
    return np.concatenate([[BOS], np.frombuffer(content, np.uint8).astype(np.int32) + _FIRST_BYTE, [EOS]]).astype(
        np.int32
    )


def decode(tokens: np.ndarray) -> str:
    """The text of tokens; specials are left out and broken UTF-8 is replaced."""
    kept = tokens[tokens >= _FIRST_BYTE] - _FIRST_BYTE
    return kept.astype(np.uint8).tobytes().decode(errors="replace")


def as_ascii(tokens: np.ndarray) -> np.ndarray:
    """Tokens of the ascii tokenizer for tokens of bytes, one for one."""
    ascii: np.ndarray = np.minimum(tokens, ASCII_VOCABULARY - 1)
    return ascii


def pack(stream: Int32[np.ndarray, " tokens"], length: int) -> Int32[np.ndarray, "rows row"]:
    """Rows of `length` + 1 tokens, each starting at the last token of the one before; what is left over is dropped."""
    rows = (len(stream) - 1) // length
    starts = np.arange(rows)[:, None] * length
    packed: Int32[np.ndarray, "rows row"] = stream[starts + np.arange(length + 1)[None, :]]
    return packed


def root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _files() -> Iterator[tuple[bytes, Path]]:
    base = root()
    found = []
    for folder, below, names in os.walk(base):
        below[:] = [name for name in below if name not in _LEFT_OUT]
        for name in names:
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                path = Path(folder, name)
                found.append((hashlib.sha256(path.relative_to(base).as_posix().encode()).digest(), path))
    yield from sorted(found)
