"""Reads teacher targets back as they were drawn; refuses what is unfinished, altered or meant for another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num

from models_core.distill.cache import manifest as manifests
from models_core.distill.cache.manifest import CacheInvalid, Description, Shard
from models_core.distill.cache.writer import count_dtype, id_dtype, is_whole

Slots = tuple[
    Int[np.ndarray, "tokens k"],
    Num[np.ndarray, "tokens k"],
    Float[np.ndarray, " tokens"],
]


class Reader:
    """Targets by step. Holds one decoded shard; steps in turn read every file once.

    Raises CacheInvalid, here when the cache is missing, unfinished or of another description (its `fields` name every
    difference), in `at` when a shard is damaged or its content cannot be targets.
    """

    def __init__(self, folder: Path, expected: Description) -> None:
        self._folder = folder
        self.manifest = manifests.read(folder)
        manifests.check_same(self.manifest.description, expected)
        if not self.manifest.complete:
            raise CacheInvalid(
                f"The cache {folder.name} is unfinished: it holds {self.manifest.next_step} of {expected.steps} steps. "
                "Write it again, it goes on where it stopped.",
                fields={"shards": "Unfinished."},
            )
        self._loaded: tuple[Shard, Slots] | None = None

    def at(self, step: int) -> Slots:
        """ids, values and tail of one batch, bit for bit as `sparse.draw` gave them."""
        description = self.manifest.description
        if not 0 <= step < description.steps:
            raise CacheInvalid(f"The cache has no step {step}.", fields={"steps": f"Has {description.steps}."})
        shard = self.manifest.shards[step // description.steps_per_shard]
        if self._loaded is None or self._loaded[0] != shard:
            self._loaded = shard, decode(self._folder, shard, description)
        size = description.tokens_per_step
        begin = (step - shard.first_step) * size
        ids, values, tail = self._loaded[1]
        return ids[begin : begin + size], values[begin : begin + size], tail[begin : begin + size]


def decode(folder: Path, shard: Shard, description: Description) -> Slots:
    """One shard as slots; raises CacheInvalid."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not is_whole(folder, shard):
        raise CacheInvalid(
            f"{shard.name} of {folder.name} is not what was written: it is missing, or size or sha256 differs.",
            fields={"shards": shard.name},
        )
    try:
        arrays = load((folder / shard.name).read_bytes())
    except (SafetensorError, ValueError) as error:
        raise CacheInvalid(f"{shard.name} cannot be decoded: {error}", fields={"shards": shard.name}) from None
    counted = description.value_dtype == "count"
    rows = shard.steps * description.tokens_per_step
    expected = {
        "lengths": (np.dtype(np.uint16), (rows,)),
        "ids": (id_dtype(description), (shard.entries,)),
        "values": (count_dtype(description) if counted else np.dtype(description.value_dtype), (shard.entries,)),
    }
    if not counted:
        expected["tail"] = (np.dtype(description.value_dtype), (rows,))
    if {name: (array.dtype, array.shape) for name, array in arrays.items()} != expected:
        raise CacheInvalid(f"{shard.name} does not hold the arrays it should.", fields={"shards": shard.name})
    reason = _impossible(arrays, description, shard, counted)
    if reason:
        raise CacheInvalid(f"{shard.name} holds no targets: {reason}.", fields={"shards": shard.name})
    return _slots(arrays, description, counted)


def _impossible(arrays: dict[str, np.ndarray], description: Description, shard: Shard, counted: bool) -> str:
    lengths, ids, values = arrays["lengths"].astype(np.int64), arrays["ids"].astype(np.int64), arrays["values"]
    if lengths.min(initial=1) < 1 or lengths.max(initial=1) > description.k or lengths.sum() != shard.entries:
        return "the lengths of its rows do not add up"
    if ids.max(initial=0) >= description.vocabulary:
        return "an id is outside of the vocabulary"
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rising = np.diff(ids, prepend=-1) > 0
    rising[starts] = True
    if not rising.all():
        return "ids are not sorted or come twice"
    if counted:
        if np.any(np.add.reduceat(values.astype(np.int64) + 1, starts) != description.k):
            return f"counts do not add up to {description.k}"
    elif not np.all(np.isfinite(values) & (values <= 0)) or not np.all((arrays["tail"] >= 0) & (arrays["tail"] <= 1)):
        return "a probability is none"
    return ""


def _slots(arrays: dict[str, np.ndarray], description: Description, counted: bool) -> Slots:
    lengths = arrays["lengths"].astype(np.int64)
    used = np.arange(description.k)[None, :] < lengths[:, None]
    ids = np.zeros(used.shape, np.int32)
    ids[used] = arrays["ids"]
    if counted:
        values = np.zeros(used.shape, np.int32)
        values[used] = arrays["values"].astype(np.int32) + 1
        return ids, values, np.zeros(len(lengths), np.float32)
    values = np.full(used.shape, -np.inf, arrays["values"].dtype)
    values[used] = arrays["values"]
    return ids, values, arrays["tail"]
