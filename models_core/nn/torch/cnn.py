"""`nn.cnn` in PyTorch. Images and kernels keep the layouts of the original: (batch, height, width, channels), HWIO."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models_core.nn.torch.mlp import Mlp

KERNEL = 5


class Convolution(torch.nn.Module):
    """Cross-correlation with size // 2 zeros around the image, stride 1, plus a bias a channel."""

    def __init__(self, size: int, channels: int, outputs: int) -> None:
        super().__init__()
        deviation = (2 / (size * size * channels)) ** 0.5
        self.kernel = torch.nn.Parameter(torch.randn(size, size, channels, outputs) * deviation)
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.kernel.permute(3, 2, 0, 1)
        out = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel, self.bias, padding=self.kernel.shape[0] // 2)
        return out.permute(0, 2, 3, 1)


class Cnn(torch.nn.Module):
    """The network; arguments as `nn.cnn.init`."""

    def __init__(
        self, shape: tuple[int, int, int], *, classes: int = 10, channels: Sequence[int] = (32, 64), hidden: int = 512
    ) -> None:
        super().__init__()
        height, width, depth = shape
        self.convolutions = torch.nn.ModuleList()
        for outputs in channels:
            height, width = height // 2, width // 2
            if min(height, width) < 1:
                raise ValueError(f"an image of {shape[0]}x{shape[1]} pixels is too small for {len(channels)} stages")
            self.convolutions.append(Convolution(KERNEL, depth, outputs))
            depth = outputs
        self.dense = Mlp([height * width * depth, hidden, classes])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class logits (batch, classes) of images (batch, height, width, channels)."""
        for stage in self.convolutions:
            x = torch.relu(stage(x))
            x = torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        logits: torch.Tensor = self.dense(x.reshape(x.shape[0], -1))
        return logits
