"""What a cache of teacher targets says about itself, and which of it a reader insists on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models_core.errors import CoreError

FORMAT = 1
NAME = "manifest.json"


class CacheInvalid(CoreError):
    """A cache is missing, unfinished, damaged, or made for something else; `fields` names what differs."""

    code = "teacher_cache.invalid"


@dataclass(frozen=True, slots=True)
class Description:
    """Everything on which the stored numbers depend; two caches with equal descriptions are equal.

    teacher, tokenizer, data, order: hashes or names. mode: see `sparse`. value_dtype: "count" or a float's name.
    """

    teacher: str
    tokenizer: str
    data: str
    order: str
    mode: str
    k: int
    temperature: float
    seed: int
    value_dtype: str
    vocabulary: int
    batch_size: int
    length: int
    steps: int
    steps_per_shard: int

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one of the student's batches."""
        return self.batch_size * self.length

    def folder_name(self) -> str:
        """A name that only this description has."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: steps first_step .. first_step + steps - 1, `entries` id-value pairs."""

    name: str
    size_bytes: int
    sha256: str
    first_step: int
    steps: int
    entries: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A description and the shards that there are so far."""

    description: Description
    shards: tuple[Shard, ...] = ()

    @property
    def next_step(self) -> int:
        """The first step that no shard holds."""
        return self.shards[-1].first_step + self.shards[-1].steps if self.shards else 0

    @property
    def complete(self) -> bool:
        """Whether every step is there."""
        return self.next_step == self.description.steps

    def bytes_per_token(self) -> float:
        """Size of the shards over the tokens in them, headers included."""
        return sum(shard.size_bytes for shard in self.shards) / max(
            self.next_step * self.description.tokens_per_step, 1
        )

    def to_json(self) -> bytes:
        """The file's content."""
        content = {"format": FORMAT, **asdict(self), "complete": self.complete}
        return json.dumps(content, sort_keys=True, indent=1).encode()


def order_hash(batches: Iterable[np.ndarray]) -> str:
    """sha256 over the rows that the student's batches name, in turn."""
    digest = hashlib.sha256()
    for batch in batches:
        digest.update(np.ascontiguousarray(batch, np.int64).tobytes())
    return digest.hexdigest()


def shard_name(first_step: int) -> str:
    """The only name that the shard beginning there may have."""
    return f"shard-{first_step:09d}.safetensors"


def read(folder: Path) -> Manifest:
    """The manifest of a folder; raises CacheInvalid when it is missing or not one."""
    try:
        content = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        raise CacheInvalid(f"{folder} holds no teacher targets: it has no {NAME}.") from None
    except (OSError, ValueError) as error:
        raise CacheInvalid(f"The manifest of {folder.name} cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CacheInvalid(f"The cache {folder.name} is not of format {FORMAT}, the only one known here.")
    description = _typed(Description, content.get("description"), folder)
    listed = content.get("shards")
    if not isinstance(listed, list):
        raise CacheInvalid(f"The manifest of {folder.name} lists no shards.", fields={"shards": "Must be a list."})
    manifest = Manifest(description, tuple(_typed(Shard, item, folder) for item in listed))
    _check_sequence(manifest, folder)
    return manifest


def check_same(found: Description, expected: Description) -> None:
    """Raise CacheInvalid that names every field in which the two differ."""
    pairs = {name: (getattr(found, name), getattr(expected, name)) for name in Description.__slots__}
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if differing:
        text = "; ".join(f"{name} is {stored!r}, wanted {wanted!r}" for name, (stored, wanted) in differing.items())
        raise CacheInvalid(
            f"These teacher targets were made for something else: {text}.",
            fields={name: f"The cache has {stored!r}." for name, (stored, _) in differing.items()},
        )


def write(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in one rename, after its content has reached the disk."""
    replace_file(folder / NAME, manifest.to_json())


def replace_file(path: Path, content: bytes) -> None:
    """Write and fsync beside the file, then rename over it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def _typed(kind: type[Any], content: Any, folder: Path) -> Any:
    """An instance of a flat dataclass from untrusted JSON: exactly its fields, each of its type, sizes not negative."""
    wanted = {info.name: str(info.type) for info in dataclasses.fields(kind)}
    if not isinstance(content, dict) or content.keys() != wanted.keys():
        raise CacheInvalid(f"The manifest of {folder.name} is not complete: its {kind.__name__.lower()} is malformed.")
    for name, type_name in wanted.items():
        value = content[name]
        good = {
            "str": isinstance(value, str),
            "int": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
            "float": isinstance(value, int | float) and not isinstance(value, bool) and value > 0,
        }[type_name]
        if not good:
            raise CacheInvalid(
                f"The manifest of {folder.name} is malformed: {name} is {value!r}.", fields={name: "Malformed."}
            )
    return kind(**content)


def _check_sequence(manifest: Manifest, folder: Path) -> None:
    """Shards follow each other without gap or overlap, under the names that are theirs."""
    description, step = manifest.description, 0
    if min(description.batch_size, description.length, description.k, description.steps_per_shard) < 1:
        raise CacheInvalid(f"The manifest of {folder.name} is malformed: a size is 0.")
    for shard in manifest.shards:
        size = min(description.steps_per_shard, description.steps - step)
        if shard.name != shard_name(step) or shard.first_step != step or shard.steps != size or size < 1:
            raise CacheInvalid(
                f"The shards of {folder.name} do not follow each other at step {step}.", fields={"shards": shard.name}
            )
        step += shard.steps
