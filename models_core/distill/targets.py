"""Sparse targets of a student's batches: drawn from a live teacher or read from a cache, the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from models_core.data.order import BatchOrder
from models_core.distill import sparse
from models_core.distill.cache.manifest import NAME as MANIFEST
from models_core.distill.cache.manifest import Description, order_hash
from models_core.distill.cache.reader import Reader
from models_core.distill.options import Sampled, Sparse
from models_core.errors import SpecInvalid
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig

Draw = Callable[[Any, np.ndarray, int], sparse.SparseTargets]
STEPS_PER_SHARD = 64


def build_draw(options: Sparse, config: DecoderConfig, key: jax.Array, *, vocabulary: int, temperature: float) -> Draw:
    """`draw(teacher, rows, step)`: targets of the batch `rows` [batch, length + 1], as [batch * length, k].

    vocabulary: ids that exist; padding rows of the teacher's embedding are cut off. Draws depend on key and step.
    """

    @jax.jit
    def drawn(teacher: Any, rows: jax.Array, step: jax.Array) -> sparse.SparseTargets:
        logits = decoder.apply(teacher, config.dropless, rows[:, :-1])[..., :vocabulary]
        flat = logits.reshape(-1, vocabulary)
        return sparse.draw(options, jax.random.fold_in(key, step), flat, temperature=temperature)

    return lambda teacher, rows, step: drawn(teacher, rows, np.int32(step))


def describe(
    options: Sparse,
    *,
    teacher: str,
    tokenizer: str,
    data: str,
    order: BatchOrder,
    seed: int,
    temperature: float,
    vocabulary: int,
    batch_size: int,
    length: int,
    steps: int,
) -> Description:
    """The description of the targets of a whole training. What missing mass becomes is the reader's choice."""
    return Description(
        teacher=teacher,
        tokenizer=tokenizer,
        data=data,
        order=order_hash(order.at(step) for step in range(steps)),
        mode=options.kind,
        k=options.k,
        temperature=temperature,
        seed=seed,
        value_dtype="count" if isinstance(options, Sampled) else options.precision,
        vocabulary=vocabulary,
        batch_size=batch_size,
        length=length,
        steps=steps,
        steps_per_shard=STEPS_PER_SHARD,
    )


def cache_folder(cache_dir: str, description: Description) -> Path:
    """Where the targets of this description are, if they are."""
    return Path(cache_dir, "teacher_targets", description.folder_name())


def open_cache(cache_dir: str | None, *descriptions: Description) -> Reader:
    """The cache of the first of these descriptions that has one; raises CacheInvalid where none has.

    Raises SpecInvalid where there is no folder for caches at all.
    """
    if not cache_dir:
        raise SpecInvalid(
            "There is no cache folder on this machine, so there are no cached targets.",
            fields={"targets.cached": "Needs a cache folder."},
        )
    there = [one for one in descriptions if (cache_folder(cache_dir, one) / MANIFEST).is_file()]
    chosen = (there or descriptions)[0]
    return Reader(cache_folder(cache_dir, chosen), chosen)


def as_batch(targets: Any, batch_size: int) -> sparse.SparseTargets:
    """Slots [batch * length, ...] as [batch, length, ...]."""
    reshaped = (jax.numpy.asarray(part).reshape(batch_size, -1, *part.shape[1:]) for part in targets)
    return sparse.SparseTargets(*reshaped)
