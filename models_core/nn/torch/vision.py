"""PyTorch twin of `nn.vision`: the SigLIP tower and the projector, the same parameters and numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models_core.errors import InputInvalid
from models_core.nn.configs import VisionConfig
from models_core.nn.torch.attention import EPS, RmsNorm
from models_core.nn.torch.tower import Places, TowerBlock, linear_places, norm_places


class VisionTower(nn.Module):
    """Features of every patch from pixels (images, C, H, W) in -1 .. 1."""

    def __init__(self, config: VisionConfig, **where: Any) -> None:
        super().__init__()
        self.config = config
        self.patch = nn.Linear(config.channels * config.patch_size**2, config.width, **where)
        self.positions = nn.Parameter(torch.empty(config.grid**2, config.width, **where))
        self.layers = nn.ModuleList(
            TowerBlock(config.width, config.n_heads, config.d_ff, **where) for _ in range(config.n_layers)
        )
        self.final_norm = nn.LayerNorm(config.width, EPS, **where)
        if self.positions.device.type != "meta":
            nn.init.normal_(self.positions, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, patches, width)."""
        config = self.config
        wanted = (config.channels, config.image_size, config.image_size)
        if tuple(pixels.shape[1:]) != wanted:
            reason = f"Must be (images, {wanted}), are {tuple(pixels.shape)}."
            raise InputInvalid("The images have the wrong size.", fields={"pixels": reason})
        grid, size = config.grid, config.patch_size
        cut = pixels.reshape(len(pixels), config.channels, grid, size, grid, size).permute(0, 2, 4, 1, 3, 5)
        x = self.patch(cut.reshape(len(pixels), grid * grid, -1).to(self.positions.dtype)) + self.positions
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.final_norm(x)
        return normed


class Projector(nn.Module):
    """Pooled patches, normalised and turned to the decoder's width."""

    def __init__(self, config: VisionConfig, d_model: int, **where: Any) -> None:
        super().__init__()
        self.config = config
        self.norm = RmsNorm(config.width, **where)
        self.kernel = nn.Parameter(torch.empty(config.width, d_model, **where))
        if self.kernel.device.type != "meta":
            nn.init.normal_(self.kernel, std=config.width**-0.5)

    def forward(self, features: Tensor, config: VisionConfig | None = None) -> Tensor:
        """(images, tokens, d_model). config: with another number of tokens an image, for frames."""
        config = self.config if config is None else config
        pool, side = config.pool, config.grid // config.pool
        pooled = features.view(len(features), side, pool, side, pool, -1).mean(dim=(2, 4)).flatten(1, 2)
        out: Tensor = self.norm(pooled) @ self.kernel
        return out


def places(tower: VisionTower, projector: Projector) -> Places:
    """Each leaf of the trees "vision" and "projector"."""
    found: Places = {"vision.positions": (tower.positions, False)}
    found |= linear_places("vision.patch", tower.patch) | norm_places("vision.final_norm", tower.final_norm)
    for index, block in enumerate(tower.layers):
        assert isinstance(block, TowerBlock)
        found |= block.places(f"vision.layers.{index}.")
    return found | {"projector.kernel": (projector.kernel, False), "projector.norm": (projector.norm.weight, False)}
