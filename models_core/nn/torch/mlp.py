"""`nn.mlp` in PyTorch. Parameters have the names and layouts of the original: "0.kernel" (in, out), "0.bias", .."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

Activation = Callable[[torch.Tensor], torch.Tensor]


class Dense(torch.nn.Module):
    """x kernel + bias; kernel (in, out) uniform within sqrt(6 / (in + out)), bias 0."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel = torch.nn.Parameter(torch.empty(inputs, outputs))
        self.bias = torch.nn.Parameter(torch.zeros(outputs))
        torch.nn.init.xavier_uniform_(self.kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.kernel + self.bias


class Mlp(torch.nn.ModuleList):
    """Layers of `sizes` (input, hidden layers, output); activations: one for every layer, or None."""

    def __init__(self, sizes: Sequence[int], activations: Sequence[Activation | None] | None = None) -> None:
        super().__init__(Dense(*pair) for pair in pairwise(sizes))
        hidden: list[Activation | None] = [torch.relu] * (len(sizes) - 2)
        self.activations = list(activations) if activations is not None else [*hidden, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) to (batch, outputs)."""
        for layer, activation in zip(self, self.activations, strict=True):
            x = layer(x)
            x = activation(x) if activation else x
        return x
