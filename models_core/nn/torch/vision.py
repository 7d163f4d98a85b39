"""PyTorch twin of `nn.vision`: the SigLIP tower and the projector, the same parameters and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models_core.errors import InputInvalid
from models_core.nn.configs import VisionConfig
from models_core.nn.torch.arrays import to_numpy, to_tensor
from models_core.nn.torch.attention import EPS, RmsNorm


class VisionBlock(nn.Module):
    """One pre-norm block; every linear has a bias, its weight (out, in)."""

    def __init__(self, config: VisionConfig, **where: Any) -> None:
        super().__init__()
        width, self.heads = config.width, config.n_heads
        self.attention_norm = nn.LayerNorm(width, EPS, **where)
        self.query, self.key = nn.Linear(width, width, **where), nn.Linear(width, width, **where)
        self.value, self.out = nn.Linear(width, width, **where), nn.Linear(width, width, **where)
        self.mlp_norm = nn.LayerNorm(width, EPS, **where)
        self.up, self.down = nn.Linear(width, config.d_ff, **where), nn.Linear(config.d_ff, width, **where)

    def forward(self, x: Tensor) -> Tensor:
        """x (images, patches, width)."""
        images, count, width = x.shape
        branch = self.attention_norm(x)
        q, k, v = (
            linear(branch).view(images, count, self.heads, -1).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(seen.transpose(1, 2).reshape(images, count, width))
        out: Tensor = x + self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))
        return out


class VisionTower(nn.Module):
    """Features of every patch from pixels (images, C, H, W) in -1 .. 1."""

    def __init__(self, config: VisionConfig, **where: Any) -> None:
        super().__init__()
        self.config = config
        self.patch = nn.Linear(config.channels * config.patch_size**2, config.width, **where)
        self.positions = nn.Parameter(torch.empty(config.grid**2, config.width, **where))
        self.layers = nn.ModuleList(VisionBlock(config, **where) for _ in range(config.n_layers))
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

    def forward(self, features: Tensor) -> Tensor:
        """(images, tokens, d_model)."""
        pool, side = self.config.pool, self.config.grid // self.config.pool
        pooled = features.view(len(features), side, pool, side, pool, -1).mean(dim=(2, 4)).flatten(1, 2)
        out: Tensor = self.norm(pooled) @ self.kernel
        return out


def places(tower: VisionTower, projector: Projector) -> dict[str, tuple[nn.Parameter, bool]]:
    """Each leaf of the trees "vision" and "projector" by its dotted path, and whether it is stored transposed."""
    found: dict[str, tuple[nn.Parameter, bool]] = {"vision.positions": (tower.positions, False)}

    def linear(path: str, module: Any) -> None:
        found[path + ".kernel"], found[path + ".bias"] = (module.weight, True), (module.bias, False)

    def norm(path: str, module: Any) -> None:
        found[path + ".weight"], found[path + ".bias"] = (module.weight, False), (module.bias, False)

    linear("vision.patch", tower.patch)
    norm("vision.final_norm", tower.final_norm)
    for index, block in enumerate(tower.layers):
        at = f"vision.layers.{index}."
        for name in ("query", "key", "value", "out"):
            linear(f"{at}attention.{name}", getattr(block, name))
        for name in ("up", "down"):
            linear(f"{at}mlp.{name}", getattr(block, name))
        for name in ("attention_norm", "mlp_norm"):
            norm(at + name, getattr(block, name))
    found["projector.kernel"], found["projector.norm"] = (projector.kernel, False), (projector.norm.weight, False)
    return found


@torch.no_grad()
def load_tree(tower: VisionTower, projector: Projector, tree: Mapping[str, Any]) -> None:
    """Take the values of the trees "vision" and "projector"."""
    for path, (parameter, turned) in places(tower, projector).items():
        leaf: Any = tree
        for part in path.split("."):
            leaf = leaf[int(part)] if part.isdigit() else leaf[part]
        value = to_tensor(leaf)
        parameter.copy_(value.T if turned else value)


def to_tree(tower: VisionTower, projector: Projector, *, gradients: bool = False) -> dict[str, Any]:
    """The trees "vision" and "projector" of the parameters or their gradients."""
    tree: dict[str, Any] = {"vision": {"layers": [{} for _ in tower.layers]}, "projector": {}}
    for path, (parameter, turned) in places(tower, projector).items():
        value = parameter.detach()
        if gradients:
            value = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        here: Any = tree
        *folders, name = path.split(".")
        for part in folders:
            here = here[int(part)] if part.isdigit() else here.setdefault(part, {})
        here[name] = to_numpy(value.T if turned else value)
    return tree
