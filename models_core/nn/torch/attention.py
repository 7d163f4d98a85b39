"""PyTorch twin of `nn.attention`: the same projections, rotary positions, masks and scores.

Projections of queries, keys and values are one kernel, (out, in) as torch.nn.Linear stores it. Without a soft cap the
scores are PyTorch's fused attention, which agrees with the written-out form to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models_core.nn import rotary
from models_core.nn.configs import DecoderConfig
from models_core.nn.torch.linear import linear

EPS = 1e-6
# Position of a column that holds nothing.
_EMPTY = -(2**30)
# Texts longer than this many windows are worth cutting into pieces in local layers.
BANDED_FROM = 2
Rotation = tuple[Tensor, Tensor]


class RmsNorm(nn.Module):
    """Root-mean-square normalisation with the factor 1 + weight, in float32, cast back after the multiplication."""

    def __init__(self, size: int, **where: torch.device | torch.dtype | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size, **where))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """x (..., size)."""
        return F.rms_norm(x.float(), (x.shape[-1],), 1 + self.weight.float(), EPS).to(x.dtype)


@dataclass(frozen=True, slots=True)
class Mask:
    """What queries may see: a table (B or 1, T, S); None for plain causality, or for everything.

    pieces: the table is (B or 1, pieces, W, 2 W): queries in pieces of the window see their piece and the one before.
    """

    table: Tensor | None
    causal: bool = True
    pieces: bool = False

    def fused(self) -> dict[str, Tensor | bool | None]:
        """Arguments of PyTorch's fused attention."""
        if self.table is None:
            return {"is_causal": self.causal}
        return {"attn_mask": self.table[:, None]}


class Attention(nn.Module):
    """Grouped-query self-attention of one layer; the cache, if any, is the caller's (`read`)."""

    def __init__(self, config: DecoderConfig, **where: torch.device | torch.dtype | None) -> None:
        super().__init__()
        self.config = config
        size, d = config.head_dim, config.d_model
        rows = (config.n_heads + 2 * config.n_kv_heads) * size
        self.qkv = nn.Parameter(torch.empty(rows, d, **where))  # type: ignore[arg-type]
        self.out = nn.Parameter(torch.empty(d, config.n_heads * size, **where))  # type: ignore[arg-type]
        self.query_norm = RmsNorm(size, **where) if config.qk_norm else None
        self.key_norm = RmsNorm(size, **where) if config.qk_norm else None
        self.scale = size**-0.5 if config.query_scale is None else config.query_scale

    def project(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, N, T, H), keys and values (B, K, T, H), normalised and rotated; the scale is left to `read`."""
        config, (batch, time, _) = self.config, x.shape
        heads = linear(x, self.qkv).view(batch, time, -1, config.head_dim)
        q, k, v = torch.split(heads, [config.n_heads, config.n_kv_heads, config.n_kv_heads], dim=2)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        return rotate(q, rotation).transpose(1, 2), rotate(k, rotation).transpose(1, 2), v.transpose(1, 2)

    def read(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
        """What the queries read from keys and values (B, K, S, H), projected to (B, T, D)."""
        if mask.pieces:
            return self._read_pieces(q, k, v, mask)
        grouped = self.config.n_heads != self.config.n_kv_heads
        if self.config.attention_soft_cap is None:
            seen = F.scaled_dot_product_attention(
                q,
                k,
                v,
                scale=self.scale,
                enable_gqa=grouped,
                **mask.fused(),  # type: ignore[arg-type]
            )
        else:
            seen = self._written_out(q, k, v, mask)
        return linear(seen.transpose(1, 2).flatten(2), self.out)

    def _read_pieces(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
        """`read` of T queries and keys, with scores of T x 2 W instead of T x T."""
        assert mask.table is not None
        (batch, heads, time, size), (pieces, window) = q.shape, mask.table.shape[1:3]
        short = pieces * window - time
        cut = F.pad(q, (0, 0, 0, short)).view(batch, heads, pieces, window, size).transpose(1, 2).flatten(0, 1)

        def pairs(x: Tensor) -> Tensor:
            """Each piece behind the one before."""
            x = F.pad(x, (0, 0, window, short)).unfold(2, 2 * window, window)
            return x.permute(0, 2, 1, 4, 3).flatten(0, 1)

        table = mask.table.expand(batch, -1, -1, -1).flatten(0, 1)
        grouped = heads != k.shape[1]
        keys, values = pairs(k), pairs(v)
        seen = F.scaled_dot_product_attention(
            cut, keys, values, attn_mask=table[:, None], scale=self.scale, enable_gqa=grouped
        )
        joined = seen.view(batch, pieces, heads, window, size).transpose(2, 3).reshape(batch, pieces * window, -1)
        return linear(joined[:, :time], self.out)

    def _written_out(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
        bound = self.config.attention_soft_cap
        assert bound is not None
        groups = self.config.n_heads // self.config.n_kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        scores = torch.tanh((q * self.scale) @ k.transpose(2, 3) / bound).float() * bound
        table = mask.table
        if table is None and mask.causal:
            table = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()[None]
        if table is not None:
            scores = scores.masked_fill(~table[:, None], torch.finfo(torch.float32).min)
        return scores.softmax(-1).to(v.dtype) @ v


def rotations(config: DecoderConfig, positions: Tensor) -> dict[bool, Rotation]:
    """Tables for `rotate` (B or 1, T, 1, H) of global (True) and local (False) layers: (cos, cos) and (-sin, sin)."""
    return {
        True: _angles(config.head_dim, config.rope_base_global, config.rope_factor_global, positions),
        False: _angles(config.head_dim, config.rope_base_local, 1.0, positions),
    }


def _angles(head_dim: int, base: float, factor: float, positions: Tensor) -> Rotation:
    table = torch.from_numpy(rotary.frequencies(head_dim, base, factor)).to(positions.device)
    angles = positions.float()[:, :, None, None] * table
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotary position embedding of (B, T, heads, H) on half-split pairs."""
    cos, sin = rotation
    exact = x.float()
    first, second = exact.chunk(2, dim=-1)
    return torch.addcmul(exact * cos, torch.cat([second, first], dim=-1), sin).to(x.dtype)


def causal_mask(
    queries: Tensor, keys: Tensor, window: int | None, query_blocks: Tensor | None, key_blocks: Tensor | None
) -> Tensor:
    """Table (B or 1, T, S) of what a query position sees; the rules are those of `nn.attention.causal_mask`."""
    i, j = queries[:, :, None], keys[:, None, :]
    seen = j <= i
    if query_blocks is not None and key_blocks is not None:
        seen = seen | ((query_blocks[:, :, None] == key_blocks[:, None, :]) & (query_blocks[:, :, None] >= 0))
    if window is not None:
        seen = seen & (j > i - window)
    return seen & ((j >= 0) | (j == i))


def masks(
    config: DecoderConfig,
    positions: Tensor | None,
    time: int,
    blocks: Tensor | None,
    device: torch.device,
    segments: Tensor | None = None,
) -> dict[bool, Mask]:
    """Masks of global (True) and local (False) layers of a text that attends to itself, inside its segments."""
    plain = positions is None and blocks is None and segments is None
    places = torch.arange(time, device=device)[None] if positions is None else positions
    if plain and config.window >= time:
        return {True: Mask(None), False: Mask(None)}

    def table(window: int | None) -> Mask:
        seen = causal_mask(places, places, window, blocks, blocks)
        return Mask(seen if segments is None else seen & (segments[:, :, None] == segments[:, None, :]))

    if config.n_global == config.n_layers:
        local = Mask(None)
    elif blocks is None and config.attention_soft_cap is None and time > BANDED_FROM * config.window:
        local = Mask(_pieces(config.window, places, segments), pieces=True)
    else:
        local = table(config.window)
    return {True: Mask(None) if plain else table(None), False: local}


def _pieces(window: int, positions: Tensor, segments: Tensor | None) -> Tensor:
    """What the queries of each piece of `window` columns see of their own piece and the one before."""
    time = positions.shape[1]
    short = -time % window

    def cut(x: Tensor, empty: int) -> tuple[Tensor, Tensor]:
        x = F.pad(x, (window, short), value=empty)
        both = x.unfold(1, 2 * window, window)
        return both[:, :, window:], both

    queries, keys = cut(positions, _EMPTY)
    seen = causal_mask(queries.flatten(0, 1), keys.flatten(0, 1), window, None, None).view(*queries.shape, -1)
    if segments is None:
        return seen
    queries, keys = cut(segments, -1)
    return seen & (queries[:, :, :, None] == keys[:, :, None, :])
