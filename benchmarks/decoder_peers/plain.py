"""A Gemma 3 decoder as one would write it in plain PyTorch, with the tensor names of a checkpoint: a contender."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Shape(NamedTuple):
    """Sizes of a decoder; every: one layer in so many is global."""

    layers: int
    width: int
    d_ff: int
    heads: int
    kv: int
    head: int
    window: int
    every: int


class Norm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x: Any) -> Any:
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        return (y * (1 + self.weight.float())).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, heads, kv, head = shape.width, shape.heads, shape.kv, shape.head
        self.q_proj = nn.Linear(width, heads * head, bias=False)
        self.k_proj = nn.Linear(width, kv * head, bias=False)
        self.v_proj = nn.Linear(width, kv * head, bias=False)
        self.o_proj = nn.Linear(heads * head, width, bias=False)
        self.q_norm, self.k_norm = Norm(head), Norm(head)

    def forward(self, x: Any, turn: Any, mask: Any, held: Any = None, at: int = 0) -> Any:
        heads, kv, head = self.shape.heads, self.shape.kv, self.shape.head
        batch, time, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(batch, time, heads, head)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(batch, time, kv, head)).transpose(1, 2)
        v = self.v_proj(x).view(batch, time, kv, head).transpose(1, 2)
        cos, sin = turn
        q, k = (y * cos + torch.cat((-y[..., head // 2 :], y[..., : head // 2]), -1) * sin for y in (q, k))
        if held is not None:
            held[0][:, :, at : at + time], held[1][:, :, at : at + time] = k, v
            k, v = held[0][:, :, : at + time], held[1][:, :, : at + time]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, time, -1))


class Mlp(nn.Module):
    def __init__(self, width: int, d_ff: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, d_ff, bias=False)
        self.up_proj = nn.Linear(width, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, width, bias=False)

    def forward(self, x: Any) -> Any:
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.self_attn, self.mlp = Attention(shape), Mlp(width, shape.d_ff)
        self.input_layernorm, self.post_attention_layernorm = Norm(width), Norm(width)
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = Norm(width), Norm(width)

    def forward(self, x: Any, *more: Any) -> Any:
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), *more))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Model(nn.Module):
    """tokens (batch, time) to logits; `held` is a pair of key and value tensors a layer, filled from column `at` on."""

    def __init__(self, shape: Shape, vocabulary: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.shape, self.dtype = shape, dtype
        width = shape.width
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(width)

    def forward(self, tokens: Any, held: Any = None, at: int = 0) -> Any:
        width, head, window, every = self.shape.width, self.shape.head, self.shape.window, self.shape.every
        time, dtype = tokens.shape[1], self.dtype
        i = torch.arange(at, at + time)
        turns, masks = {}, {}
        for wide, base in ((True, 1e6), (False, 1e4)):
            angle = i[:, None].float() * base ** (-torch.arange(0, head, 2).float() / head)
            angle = torch.cat((angle, angle), -1)
            turns[wide] = angle.cos().to(dtype), angle.sin().to(dtype)
            j = torch.arange(at + time)
            seen = j <= i[:, None]
            masks[wide] = seen if wide else seen & (j > i[:, None] - window)
        x = self.embed_tokens(tokens) * torch.tensor(width**0.5, dtype=dtype)
        for index, layer in enumerate(self.layers):
            wide = (index + 1) % every == 0
            x = layer(x, turns[wide], masks[wide], None if held is None else held[index], at)
        return F.linear(self.norm(x), self.embed_tokens.weight)
