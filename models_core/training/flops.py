"""Floating-point operations of the decoder, counted from its sizes; readable without an array library.

A multiplication and an addition are two operations. Counted are the matrix products (projections, attention scores and
values, feed-forward, router, output layer); norms, activations, rotary positions and softmax are below a few percent
and left out, as is usual. Attention is counted over the whole square of the sequence, because that is what is computed:
masks save nothing here. The embedding is a look-up and costs none; the tied output layer does.
"""

from __future__ import annotations

from models_core.nn.configs import DecoderConfig


def forward_per_token(config: DecoderConfig, vocabulary: int, length: int) -> int:
    """Operations of one token's share of a forward pass over `length` tokens."""
    heads, head = config.n_heads, config.head_dim
    projections = 2 * config.d_model * head * (2 * heads + 2 * config.n_kv_heads)
    attention = 2 * 2 * heads * head * length
    feed_forward = 2 * 3 * config.d_model * config.d_ff * (config.experts_per_token if config.n_experts else 1)
    router = 2 * config.d_model * config.n_experts
    return config.n_layers * (projections + attention + feed_forward + router) + 2 * config.d_model * vocabulary


def training_per_token(config: DecoderConfig, vocabulary: int, length: int) -> int:
    """Three times the forward pass: the backward pass has two products for each of its one."""
    return 3 * forward_per_token(config, vocabulary, length)
