"""Keys and values of earlier tokens: full length in global layers, a ring of `window` entries in local ones.

Source: Gemma 3 technical report (arXiv 2503.19786), section 2. The published implementation keeps full length in local
layers and masks; the ring is what saves the memory: bytes are those of `nn.memory.cache_bytes`, exactly.

A column is a place in the padded batch; a row's positions start after its left padding. `extend` takes any number of
columns at a time: whole prompts, chunks of them, single tokens.
Shapes: B batch, T new columns, S slots of a layer, K key/value heads, H head_dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models_core.errors import InputInvalid
from models_core.nn import decoder
from models_core.nn.attention import attend, causal_mask, project, rotations
from models_core.nn.configs import DecoderConfig

# Position of a slot that holds nothing yet.
_EMPTY = -(2**30)


class Cache(NamedTuple):
    """State between calls of `extend`; donate it."""

    keys: tuple[Float[Array, "batch kv_heads _ head_dim"], ...]
    values: tuple[Float[Array, "batch kv_heads _ head_dim"], ...]
    # Columns written so far.
    length: Int[Array, ""]
    # Columns at the left of each row that hold no token.
    padding: Int[Array, " batch"]

    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(leaf.nbytes for leaf in (*self.keys, *self.values))


def create(
    config: DecoderConfig,
    batch: int,
    capacity: int,
    padding: Int[Array, " batch"] | None = None,
    dtype: Any = jnp.float32,
) -> Cache:
    """An empty cache for `capacity` columns. padding: columns at the left of each row that hold no token."""
    decoder.check_length(capacity, config)
    if batch < 1 or capacity < 1:
        raise InputInvalid("A cache needs room.", fields={"batch": "At least 1.", "capacity": "At least 1."})
    slots = [capacity if config.is_global(i) else min(config.window, capacity) for i in range(config.n_layers)]

    def empty() -> tuple[Array, ...]:
        return tuple(jnp.zeros((batch, config.n_kv_heads, size, config.head_dim), dtype) for size in slots)

    padding = jnp.zeros(batch, jnp.int32) if padding is None else padding.astype(jnp.int32)
    return Cache(empty(), empty(), jnp.zeros((), jnp.int32), padding)


def extend(
    params: decoder.Params,
    config: DecoderConfig,
    cache: Cache,
    x: Float[Array, "batch time d_model"],
    blocks: Int[Array, "batch time"] | None = None,
) -> tuple[Float[Array, "batch time d_model"], Cache]:
    """Run embedded columns after those in the cache: their normalised output, and the cache with them.

    blocks: number of the image that a column belongs to, -1 for text; an image must not be cut between two calls.
    Columns past the capacity overwrite the last ones: the caller counts (`nn.generation` does).
    """
    time, start = x.shape[1], cache.length
    columns = start + jnp.arange(time, dtype=jnp.int32)
    positions = columns[None] - cache.padding[:, None]
    angle = rotations(config, positions)
    keys, values, valid = list(cache.keys), list(cache.values), positions >= 0
    seen: dict[tuple[bool, int], Bool[Array, "batch time _"]] = {}
    for index, layer in enumerate(decoder.unstack(params)["layers"]):
        is_global, slots = config.is_global(index), keys[index].shape[2]
        # A ring is read before it is overwritten, unless one token replaces the one that leaves the window.
        ring = not is_global and slots == config.window
        joined = ring and time > 1
        if (is_global, slots) not in seen:
            held = _held(start if joined else start + time, slots, ring)
            held = jnp.concatenate([held, columns]) if joined else held
            places = jnp.where(held[None] < 0, _EMPTY, held[None] - cache.padding[:, None])
            key_blocks = None if blocks is None else _key_blocks(blocks, held, start)
            window = None if is_global else config.window
            seen[is_global, slots] = causal_mask(positions, places, window, blocks, key_blocks)
        mask = seen[is_global, slots]

        def read(
            weights: decoder.Params,
            branch: Array,
            i: int = index,
            angle: Any = angle[is_global],
            mask: Array = mask,
            ring: bool = ring,
            joined: bool = joined,
        ) -> Array:
            q, k, v = project(weights, config, branch, angle)
            old_k, old_v = keys[i], values[i]
            keys[i], values[i] = _write(old_k, k, start, ring), _write(old_v, v, start, ring)
            if joined:
                k, v = jnp.concatenate([old_k, k], axis=2), jnp.concatenate([old_v, v], axis=2)
            else:
                k, v = keys[i], values[i]
            return attend(weights, config, q, k, v, mask)

        x, _ = decoder.block(layer, config, x, read, valid)
    return decoder.rms_norm(x, params["final_norm"]), Cache(tuple(keys), tuple(values), start + time, cache.padding)


def _held(written: Int[Array, ""], slots: int, ring: bool) -> Int[Array, " slots"]:
    """Column in each slot after `written` columns; negative, or not yet written, where there is none."""
    slot = jnp.arange(slots, dtype=jnp.int32)
    return (written - 1) - jnp.mod(written - 1 - slot, slots) if ring else slot


def _key_blocks(
    blocks: Int[Array, "batch time"], held: Int[Array, " source"], start: Int[Array, ""]
) -> Int[Array, "batch source"]:
    """Block of each held column: earlier calls' images are past, and belong to no block that anyone still forms."""
    place = jnp.clip(held - start, 0, blocks.shape[1] - 1)
    fresh = (held >= start) & (held < start + blocks.shape[1])
    return jnp.where(fresh[None], blocks[:, place], -1)


def _write(
    old: Float[Array, "batch kv_heads slots head_dim"],
    new: Float[Array, "batch kv_heads time head_dim"],
    start: Int[Array, ""],
    ring: bool,
) -> Float[Array, "batch kv_heads slots head_dim"]:
    slots, time = old.shape[2], new.shape[2]
    new = new.astype(old.dtype)
    if not ring:
        return jax.lax.dynamic_update_slice_in_dim(old, new, start, axis=2)
    if time == 1:
        return jax.lax.dynamic_update_slice_in_dim(old, new, jnp.mod(start, slots), axis=2)
    kept = min(time, slots)
    slot = jnp.mod(start + (time - kept) + jnp.arange(kept, dtype=jnp.int32), slots)
    return old.at[:, :, slot].set(new[:, :, time - kept :])
