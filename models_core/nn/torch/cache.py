"""PyTorch twin of `nn.cache`: full length in global layers, rings of `window` entries in local ones, in place."""

from __future__ import annotations

import torch
from torch import Tensor

from models_core.errors import InputInvalid
from models_core.nn.torch.attention import Attention, Mask, Rotation, causal_mask, rotations
from models_core.nn.torch.decoder import Decoder

_EMPTY = -(2**30)


class Cache:
    """Keys and values for up to `capacity` columns of `batch` rows. padding: columns at the left without a token."""

    def __init__(self, model: Decoder, batch: int, capacity: int, padding: Tensor | None = None) -> None:
        model.check_length(capacity)
        if batch < 1 or capacity < 1:
            raise InputInvalid("A cache needs room.", fields={"batch": "At least 1.", "capacity": "At least 1."})
        config, kind = model.config, model.embedding
        self.model, self.config, self.capacity = model, config, capacity
        slots = [capacity if config.is_global(i) else min(config.window, capacity) for i in range(config.n_layers)]
        shapes = [(batch, config.n_kv_heads, size, config.head_dim) for size in slots]
        self.keys = [kind.new_zeros(shape) for shape in shapes]
        self.values = [kind.new_zeros(shape) for shape in shapes]
        self.length = 0
        # None where no row is padded: single tokens then need no mask at all.
        self.padding = padding if padding is not None and bool(padding.any()) else None
        columns = torch.arange(capacity, device=kind.device)[None]
        self._positions = columns if self.padding is None else columns - self.padding[:, None]
        self._angles = rotations(config, self._positions)

    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(leaf.nbytes for leaf in (*self.keys, *self.values))

    @torch.no_grad()
    def extend(self, x: Tensor, blocks: Tensor | None = None) -> Tensor:
        """Run embedded columns (B, T, D) after those held; their normalised output. See `nn.cache.extend`."""
        time, start = x.shape[1], self.length
        if start + time > self.capacity:
            reason = f"{self.capacity} columns, {start} of them used, cannot take {time} more."
            raise InputInvalid("The cache is full.", fields={"capacity": reason})
        held = slice(start, start + time)
        columns = torch.arange(start, start + time, device=x.device)
        positions = self._positions[:, held]
        angle = {kind: (cos[:, held], sin[:, held]) for kind, (cos, sin) in self._angles.items()}
        seen: dict[bool, Mask] = {}

        def read(index: int, attention: Attention, branch: Tensor) -> Tensor:
            is_global = self.config.is_global(index)
            if is_global not in seen:
                seen[is_global] = self._mask(is_global, index, columns, positions, blocks)
            return self._read(index, attention, branch, angle[is_global], seen[is_global])

        out: Tensor = self.model.final_norm(
            self.model.blocks(x, read, positions >= 0 if self.config.n_experts else None)[-1]
        )
        self.length += time
        return out

    def _ring(self, index: int) -> bool:
        return not self.config.is_global(index) and self.keys[index].shape[2] < self.capacity

    def _mask(self, is_global: bool, index: int, columns: Tensor, positions: Tensor, blocks: Tensor | None) -> Mask:
        time, start, slots = len(columns), self.length, self.keys[index].shape[2]
        if time == 1 and self.padding is None:
            window = None if is_global else self.config.window
            # One token sees all that is held, unless an unwrapped cache is longer than the window.
            if window is None or self._ring(index) or start < window:
                return Mask(None, causal=False)
        if self._ring(index):
            last = (start if time > 1 else start + 1) - 1
            slot = torch.arange(min(slots, last + 1), device=columns.device)
            held = last - torch.remainder(last - slot, slots)
            held = torch.cat([held, columns]) if time > 1 else held
        else:
            held = torch.arange(start + time, device=columns.device)
        places = held[None] if self.padding is None else held[None] - self.padding[:, None]
        key_blocks = None
        if blocks is not None:
            fresh = (held >= start)[None]
            key_blocks = torch.where(fresh, blocks[:, (held - start).clamp(min=0)], -1)
        return Mask(causal_mask(positions, places, None if is_global else self.config.window, blocks, key_blocks))

    def _read(self, index: int, attention: Attention, branch: Tensor, angle: Rotation, mask: Mask) -> Tensor:
        q, k, v = attention.project(branch, angle)
        keys, values, start, time = self.keys[index], self.values[index], self.length, k.shape[2]
        slots = keys.shape[2]
        if not self._ring(index):
            keys[:, :, start : start + time], values[:, :, start : start + time] = k, v
            return attention.read(q, keys[:, :, : start + time], values[:, :, : start + time], mask)
        if time == 1:
            keys[:, :, start % slots], values[:, :, start % slots] = k[:, :, 0], v[:, :, 0]
            held = min(start + 1, slots)
            return attention.read(q, keys[:, :, :held], values[:, :, :held], mask)
        held, kept = min(start, slots), min(time, slots)
        out = attention.read(q, torch.cat([keys[:, :, :held], k], 2), torch.cat([values[:, :, :held], v], 2), mask)
        slot = torch.arange(start + time - kept, start + time, device=k.device) % slots
        keys[:, :, slot], values[:, :, slot] = k[:, :, time - kept :], v[:, :, time - kept :]
        return out
