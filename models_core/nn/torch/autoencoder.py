"""`nn.autoencoder` in PyTorch."""

from __future__ import annotations

import torch

from models_core.nn.torch.mlp import Activation, Mlp

HIDDEN = (1000, 500, 250)


def build(pixels: int, *, width: float, code: int) -> Mlp:
    """The network; tanh after every layer but the code and the output."""
    hidden = [max(1, round(size * width)) for size in HIDDEN]
    sizes = [pixels, *hidden, code, *reversed(hidden), pixels]
    layers = len(sizes) - 1
    activations: list[Activation | None] = [torch.tanh] * layers
    activations[layers // 2 - 1] = activations[-1] = None
    return Mlp(sizes, activations)


def reconstruction_loss(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Sigmoid cross-entropy of pixels in [0, 1], (batch, pixels) to (batch,): summed over the image, in nats."""
    return torch.sum(torch.nn.functional.softplus(logits) - x * logits, dim=-1)
