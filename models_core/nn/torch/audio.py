"""PyTorch twin of `nn.audio`: the tower for sound with its projector, the same parameters and numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models_core.errors import InputInvalid
from models_core.nn.audio import sines
from models_core.nn.configs import AudioConfig
from models_core.nn.torch.attention import EPS, RmsNorm
from models_core.nn.torch.tower import Places, TowerBlock, linear_places, norm_places


class AudioTower(nn.Module):
    """Soft tokens from log-mel frames."""

    def __init__(self, config: AudioConfig, d_model: int, **where: Any) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.first = nn.Linear(3 * config.mel_bins, width, **where)
        self.second = nn.Linear(3 * width, width, **where)
        self.layers = nn.ModuleList(
            TowerBlock(width, config.n_heads, config.d_ff, **where) for _ in range(config.n_layers)
        )
        self.final_norm = nn.LayerNorm(width, EPS, **where)
        self.norm = RmsNorm(width, **where)
        self.kernel = nn.Parameter(torch.empty(width, d_model, **where))
        if self.kernel.device.type != "meta":
            nn.init.normal_(self.kernel, std=width**-0.5)

    def forward(self, mels: Tensor, lengths: Tensor) -> Tensor:
        """(clips, tokens, d_model); the arguments are those of `nn.audio.apply`."""
        if mels.shape[2] != self.config.mel_bins:
            reason = f"Must be (clips, frames, {self.config.mel_bins}), are {tuple(mels.shape)}."
            raise InputInvalid("The spectrograms have the wrong size.", fields={"mels": reason})
        x = mels.to(self.kernel.dtype)
        for linear in (self.first, self.second):
            x = F.gelu(linear(_patches(_kept(x, lengths))), approximate="tanh")
            lengths = (lengths + 1) // 2
        x = x + torch.from_numpy(sines(x.shape[1], self.config.width)).to(x)
        valid = _within(x.shape[1], lengths)
        for layer in self.layers:
            x = layer(x, valid)
        x = _kept(self.final_norm(x), lengths)
        out: Tensor = self.norm(_pool(x, valid, self.config.pool)) @ self.kernel
        return out

    def places(self) -> Places:
        """Each leaf of the tree "audio"."""
        found = linear_places("audio.first", self.first) | linear_places("audio.second", self.second)
        found |= norm_places("audio.final_norm", self.final_norm)
        for index, block in enumerate(self.layers):
            assert isinstance(block, TowerBlock)
            found |= block.places(f"audio.layers.{index}.")
        return found | {
            "audio.projector.kernel": (self.kernel, False),
            "audio.projector.norm": (self.norm.weight, False),
        }


def _within(size: int, lengths: Tensor) -> Tensor:
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def _kept(x: Tensor, lengths: Tensor) -> Tensor:
    return x.masked_fill(~_within(x.shape[1], lengths)[:, :, None], 0)


def _patches(x: Tensor) -> Tensor:
    half = (x.shape[1] + 1) // 2
    padded = F.pad(x, (0, 0, 1, 2 * half - x.shape[1] + 1))
    return torch.cat([padded[:, start : start + 2 * half : 2] for start in range(3)], dim=-1)


def _pool(x: Tensor, valid: Tensor, pool: int) -> Tensor:
    clips, steps, width = x.shape
    rest = -steps % pool
    sums = F.pad(x, (0, 0, 0, rest)).reshape(clips, -1, pool, width).sum(2)
    counts = F.pad(valid, (0, rest)).reshape(clips, -1, pool).sum(2).clamp(min=1)
    return sums / counts[:, :, None].to(x.dtype)
