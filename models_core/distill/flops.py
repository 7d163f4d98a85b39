"""Floating-point operations of the decoder, counted matrix by matrix; light, so that a study's arms can be planned.

A multiplication and its addition are two operations. The output layer and the scores of attention count, which the rule
of 2N forward and 6N for training leaves out; at small sizes they are more than half.
"""

from __future__ import annotations

from models_core.nn.configs import DecoderConfig


def forward_per_token(config: DecoderConfig, *, vocabulary: int, length: int) -> float:
    """Mean over the positions of a sequence of `length` tokens: kernels, scores and mixing, unembedding."""
    kernels = 2 * config.d_model * config.head_dim * (config.n_heads + config.n_kv_heads)
    used = min(config.experts_per_token, config.n_experts) if config.n_experts else 1
    kernels += 3 * config.d_model * config.d_ff * used + config.d_model * config.n_experts
    # Position i sees min(i + 1, window) keys; only those count, whatever a masked implementation computes.
    everything = (length + 1) / 2
    within = sum(min(i + 1, config.window) for i in range(length)) / length
    seen = sum(everything if config.is_global(layer) else within for layer in range(config.n_layers))
    attention = 4 * config.n_heads * config.head_dim * seen
    return 2 * config.n_layers * kernels + attention + 2 * config.d_model * vocabulary


def train_per_token(config: DecoderConfig, *, vocabulary: int, length: int) -> float:
    """A forward and a backward pass, which costs two forward passes."""
    return 3 * forward_per_token(config, vocabulary=vocabulary, length=length)
