"""The race's two networks for PyTorch, with parameters from the task's file; imported by pfl's and Flower's side."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


class Network(nn.Module):
    """MLP 784-64-10, or two stages of 5x5 convolution, ReLU and pooling (8 and 16 channels) with 64 hidden units."""

    def __init__(self, kind: str, task: Any) -> None:
        super().__init__()
        if kind == "mlp":
            self.body = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
        else:
            self.body = nn.Sequential(
                nn.Unflatten(1, (1, 28, 28)),
                nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(16 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
            )  # fmt: skip
        layers = [layer for layer in self.body if hasattr(layer, "weight")]
        for place, layer in enumerate(layers):
            kernel, bias = task[f"{kind}_kernel{place}"], task[f"{kind}_bias{place}"]
            if kernel.ndim == 4:
                kernel = kernel.transpose(3, 2, 0, 1)
            elif kernel.shape[0] == 16 * 49:
                # The file's rows are height, width, channel; PyTorch flattens channels first.
                kernel = kernel.reshape(7, 7, 16, -1).transpose(2, 0, 1, 3).reshape(16 * 49, -1).T
            else:
                kernel = kernel.T
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
                layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    # pfl asks a model for these two.
    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self(x), y)

    @torch.no_grad()
    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
        return {"loss": float(self.loss(x, y))}

    @torch.no_grad()
    def judged(self, task: Any) -> tuple[float, float]:
        """Accuracy and loss on the test images."""
        logits, y = self(torch.from_numpy(task["test_x"])), torch.from_numpy(task["test_y"]).long()
        return float((logits.argmax(1) == y).float().mean()), float(nn.functional.cross_entropy(logits, y))
