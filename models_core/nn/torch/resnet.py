"""`nn.resnet` in PyTorch. Parameters have the names and layouts of the original: "stages.0.0.first.kernel", HWIO."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F  # noqa: N812

from models_core.nn.resnet import GROUPS

EPS = 1e-5


class NormedConvolution(torch.nn.Module):
    """Cross-correlation with size // 2 zeros around the image, then group normalisation; planes (batch, channels, ..).

    The kernel is normal with variance 2 / (size^2 channels), as `nn.convolution.init_kernel` draws it.
    """

    def __init__(self, size: int, channels: int, outputs: int) -> None:
        super().__init__()
        deviation = (2 / (size * size * channels)) ** 0.5
        self.kernel = torch.nn.Parameter(torch.randn(size, size, channels, outputs) * deviation)
        self.scale = torch.nn.Parameter(torch.ones(outputs))
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        kernel = self.kernel.permute(3, 2, 0, 1)
        convolved = F.conv2d(x, kernel, stride=stride, padding=self.kernel.shape[0] // 2)
        normed = F.group_norm(convolved.float(), GROUPS, self.scale.float(), self.bias.float(), EPS)
        return normed.to(x.dtype)


class Block(torch.nn.Module):
    """Two convolutions and what goes past them."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.first = NormedConvolution(3, channels, outputs)
        self.second = NormedConvolution(3, outputs, outputs)
        self.shortcut = NormedConvolution(1, channels, outputs) if channels != outputs else None

    def forward(self, x: torch.Tensor, stride: int) -> torch.Tensor:
        branch = self.second(torch.relu(self.first(x, stride)))
        return torch.relu(branch + (x if self.shortcut is None else self.shortcut(x, stride)))


class Head(torch.nn.Module):
    """x kernel + bias; kernel (in, out) normal with variance 1 / in."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.kernel = torch.nn.Parameter(torch.randn(inputs, classes) * inputs**-0.5)
        self.bias = torch.nn.Parameter(torch.zeros(classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.kernel + self.bias


class ResNet(torch.nn.Module):
    """The network; arguments as `nn.resnet.init`."""

    def __init__(
        self, channels: int = 3, *, classes: int = 10, width: int = 64, blocks: Sequence[int] = (2, 2, 2, 2)
    ) -> None:
        super().__init__()
        if width % GROUPS:
            raise ValueError(f"a width of {width} cannot be cut into {GROUPS} groups")
        self.stem = NormedConvolution(3, channels, width)
        self.stages = torch.nn.ModuleList()
        depth = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            self.stages.append(
                torch.nn.ModuleList(Block(outputs if place else depth, outputs) for place in range(count))
            )
            depth = outputs if count else depth
        self.head = Head(depth, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class logits (batch, classes) of images (batch, height, width, channels)."""
        planes = torch.relu(self.stem(x.permute(0, 3, 1, 2)))
        for index, stage in enumerate(self.stages):
            assert isinstance(stage, torch.nn.ModuleList)
            for place, block in enumerate(stage):
                planes = block(planes, 2 if index and not place else 1)
        logits: torch.Tensor = self.head(planes.mean(dim=(2, 3)))
        return logits
