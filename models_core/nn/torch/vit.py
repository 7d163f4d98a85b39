"""`nn.vit` in PyTorch. Parameters have the names and layouts of the original: "blocks.0.qkv.kernel" (in, out), .."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

from models_core.nn.vit import EPS


def _drawn(*shape: int) -> torch.nn.Parameter:
    """Normal with standard deviation 0.02, truncated at two of them."""
    parameter = torch.nn.Parameter(torch.empty(*shape))
    torch.nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
    return parameter


class Dense(torch.nn.Module):
    """x kernel + bias; kernel (in, out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel, self.bias = _drawn(inputs, outputs), torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.kernel + self.bias


class LayerNorm(torch.nn.Module):
    """Zero mean and unit variance over the last axis, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.bias = torch.nn.Parameter(torch.ones(width)), torch.nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = F.layer_norm(x.float(), self.scale.shape, self.scale.float(), self.bias.float(), EPS)
        return normed.to(x.dtype)


class Block(torch.nn.Module):
    """One pre-norm block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = LayerNorm(width), LayerNorm(width)
        self.qkv, self.out = Dense(width, 3 * width), Dense(width, width)
        self.up, self.down = Dense(width, 4 * width), Dense(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, time, 3, self.heads, width // self.heads)
        seen = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        x = x + self.out(seen.transpose(1, 2).reshape(batch, time, width))
        out: torch.Tensor = x + self.down(F.gelu(self.up(self.mlp_norm(x))))
        return out


class VisionTransformer(torch.nn.Module):
    """The network; arguments as `nn.vit.init`, and the heads of `nn.vit.apply`."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        classes: int = 10,
        patch: int = 7,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        height, breadth, channels = shape
        if height % patch or breadth % patch:
            raise ValueError(f"an image of {height}x{breadth} pixels cannot be cut into patches of {patch}")
        self.patch = patch
        self.patches = Dense(patch * patch * channels, width)
        self.class_token = _drawn(1, width)
        self.positions = _drawn((height // patch) * (breadth // patch) + 1, width)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.final_norm, self.head = LayerNorm(width), Dense(width, classes)
        torch.nn.init.zeros_(self.head.kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class logits (batch, classes) of images (batch, height, width, channels)."""
        batch, height, breadth, channels = x.shape
        rows, columns, patch = height // self.patch, breadth // self.patch, self.patch
        cut = x.view(batch, rows, patch, columns, patch, channels).transpose(2, 3)
        tokens = self.patches(cut.reshape(batch, rows * columns, -1))
        hidden = torch.cat([self.class_token.expand(batch, 1, -1), tokens], dim=1) + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        logits: torch.Tensor = self.head(self.final_norm(hidden[:, 0]))
        return logits
