"""`models_core.optim._probes` in PyTorch: the same signs."""

from __future__ import annotations

import torch

from models_core.optim._probes import BITS, MASK, words


def signs(seed: int, step: int, place: int, like: torch.Tensor) -> torch.Tensor:
    """1 or -1 for every entry of `like`, in its dtype and on its device."""
    count = like.numel()
    numbers = torch.arange(-(-count // BITS), device=like.device)
    made = words(seed, step, place, numbers, lambda x: x & MASK)
    bits = (made[:, None] >> torch.arange(BITS, device=like.device)) & 1
    drawn: torch.Tensor = (1 - 2 * bits.flatten()[:count]).to(like.dtype).view(like.shape)
    return drawn
