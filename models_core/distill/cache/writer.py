"""Writes teacher targets shard by shard; begun again, it goes on after the last shard that is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num
from safetensors.numpy import save

from models_core.distill.cache import manifest as manifests
from models_core.distill.cache.manifest import CacheInvalid, Description, Manifest, Shard


class Writer:
    """`add` every step from `next_step` on, in turn; the manifest lists a shard only once it is on the disk.

    Raises CacheInvalid when the folder holds targets of another description, naming what differs. A shard that is
    listed but damaged, and all after it, are written anew.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.manifest = Manifest(description)
        if (folder / manifests.NAME).exists():
            found = manifests.read(folder)
            manifests.check_same(found.description, description)
            whole = 0
            while whole < len(found.shards) and is_whole(folder, found.shards[whole]):
                whole += 1
            self.manifest = Manifest(description, found.shards[:whole])
        manifests.write(folder, self.manifest)
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def next_step(self) -> int:
        """The step that `add` expects."""
        return self.manifest.next_step + len(self._pending)

    def add(
        self,
        step: int,
        ids: Int[np.ndarray, "tokens k"],
        values: Num[np.ndarray, "tokens k"],
        tail: Float[np.ndarray, " tokens"],
    ) -> None:
        """The targets of one batch, see `sparse.SparseTargets`; raises CacheInvalid out of turn or of another size."""
        description = self.manifest.description
        if step != self.next_step or step >= description.steps:
            raise CacheInvalid(
                f"Step {step} was given, step {self.next_step} of {description.steps} is next.",
                fields={"step": "Order."},
            )
        if ids.shape != (description.tokens_per_step, description.k) or values.shape != ids.shape:
            raise CacheInvalid(
                f"Targets of shape {list(ids.shape)} do not fit the description.", fields={"k": "Shape."}
            )
        self._pending.append((ids, values, tail))
        if len(self._pending) == description.steps_per_shard or self.next_step == description.steps:
            self._flush()

    def _flush(self) -> None:
        first = self.manifest.next_step
        ids, values, tail = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        content, entries = encode(self.manifest.description, ids, values, tail)
        name = manifests.shard_name(first)
        manifests.replace_file(self._folder / name, content)
        shard = Shard(name, len(content), hashlib.sha256(content).hexdigest(), first, len(self._pending), entries)
        self.manifest = Manifest(self.manifest.description, (*self.manifest.shards, shard))
        manifests.write(self._folder, self.manifest)
        self._pending = []


def encode(description: Description, ids: np.ndarray, values: np.ndarray, tail: np.ndarray) -> tuple[bytes, int]:
    """One shard's bytes and its number of entries: used slots row after row, and how many each row has.

    ids in 2 bytes up to 65,536 of vocabulary, else 4. A count is stored less one, so that 256 fits a byte.
    """
    counted = description.value_dtype == "count"
    used = values > 0 if counted else np.isfinite(values)
    arrays = {
        "lengths": used.sum(axis=1).astype(np.uint16),
        "ids": ids[used].astype(id_dtype(description)),
        "values": (values[used] - 1).astype(count_dtype(description)) if counted else values[used],
    }
    if not counted:
        arrays["tail"] = tail
    return save(arrays), int(used.sum())


def id_dtype(description: Description) -> np.dtype:
    """The type of stored ids."""
    return np.dtype(np.uint16 if description.vocabulary <= 65536 else np.uint32)


def count_dtype(description: Description) -> np.dtype:
    """The type of stored counts less one."""
    return np.dtype(np.uint8 if description.k <= 256 else np.uint16)


def is_whole(folder: Path, shard: Shard) -> bool:
    """Whether the file is the one that was written."""
    try:
        path = folder / shard.name
        if path.stat().st_size != shard.size_bytes:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256
    except OSError:
        return False
