"""PyTorch twin of `nn.moe`: the same routing, capacity and losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models_core.nn.configs import DecoderConfig
from models_core.nn.moe import BALANCE_WEIGHT, Z_WEIGHT


@dataclass(frozen=True, slots=True)
class Routing:
    """What the routers did; the fields are those of `nn.moe.Routing`."""

    balance: Tensor
    z: Tensor
    load: Tensor
    dropped: Tensor

    def loss(self, balance_weight: float = BALANCE_WEIGHT, z_weight: float = Z_WEIGHT) -> Tensor:
        """Both auxiliary losses, weighted, summed over layers."""
        return self.balance.sum() * balance_weight + self.z.sum() * z_weight

    def load_entropy(self) -> Tensor:
        """Entropy of the load over log E."""
        terms: Tensor = torch.special.entr(self.load)
        return terms.sum(-1) / math.log(max(self.load.shape[-1], 2))


def stacked(layers: list[Routing]) -> Routing | None:
    """One report of all layers; None without experts."""
    if not layers:
        return None
    return Routing(*(torch.stack([getattr(one, name) for one in layers]) for name in Routing.__slots__))


class Experts(nn.Module):
    """k of E feed-forward networks for each token; router (D, E), gate and up (E, D, F), down (E, F, D)."""

    def __init__(self, config: DecoderConfig, **where: Any) -> None:
        super().__init__()
        self.config = config
        experts, d, d_ff = config.n_experts, config.d_model, config.d_ff
        self.router = nn.Parameter(torch.empty(d, experts, **where))
        self.gate = nn.Parameter(torch.empty(experts, d, d_ff, **where))
        self.up = nn.Parameter(torch.empty(experts, d, d_ff, **where))
        self.down = nn.Parameter(torch.empty(experts, d_ff, d, **where))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Routing]:
        """x (B, T, D), valid (B or 1, T); see `nn.moe.apply`."""
        config, (batch, time, d) = self.config, x.shape
        rows = x.reshape(batch * time, d)
        counted = (
            torch.ones(len(rows), dtype=torch.bool, device=x.device)
            if valid is None
            else valid.expand(batch, time).reshape(-1)
        )
        with torch.autocast(x.device.type, enabled=False):
            logits = rows.float() @ self.router.float()
        best, chosen = logits.topk(config.experts_per_token, dim=-1)
        share = best.softmax(-1)
        kept = self._kept(chosen, counted)
        share = torch.where(kept, share, 0.0).to(rows.dtype)
        out = torch.zeros_like(rows)
        for expert in range(config.n_experts):
            token, choice = torch.nonzero((chosen == expert) & kept, as_tuple=True)
            if len(token):
                made = self._expert(expert, rows[token]) * share[token, choice, None]
                out = out.index_add(0, token, made.to(out.dtype))
        return out.view(batch, time, d), self._report(logits, chosen, kept, counted)

    def _expert(self, expert: int, rows: Tensor) -> Tensor:
        gated = F.gelu(rows @ self.gate[expert], approximate="tanh") * (rows @ self.up[expert])
        return gated @ self.down[expert]

    def _kept(self, chosen: Tensor, valid: Tensor) -> Tensor:
        """Choices whose expert has room: first choices before second ones, earlier tokens before later ones."""
        config, (tokens, choices) = self.config, chosen.shape
        if config.expert_capacity is None:
            return torch.ones_like(chosen, dtype=torch.bool)
        fair = config.experts_per_token * tokens / config.n_experts
        capacity = min(math.ceil(config.expert_capacity * fair), tokens)
        flat, repeated = chosen.T.reshape(-1), valid.repeat(choices)
        counts = F.one_hot(flat, config.n_experts) * repeated[:, None]
        place = ((counts.cumsum(0) - 1) * counts).sum(1)
        return ((place < capacity) & repeated).view(choices, tokens).T

    def _report(self, logits: Tensor, chosen: Tensor, kept: Tensor, valid: Tensor) -> Routing:
        experts, choices = logits.shape[1], chosen.shape[1]
        weight = valid.float() / valid.float().sum().clamp(min=1)
        load = weight @ F.one_hot(chosen, experts).sum(1).float() / choices
        probability = weight @ logits.softmax(-1)
        z = weight @ logits.logsumexp(-1).square()
        dropped = weight @ (1 - kept.float()).mean(1)
        return Routing(experts * (load * probability).sum(), z, load, dropped)
