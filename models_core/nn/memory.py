"""Memory of a decoder by arithmetic: weights by precision, keys and values by context. No array library.

Ours, not the published table: the Gemma 3 report's Table 3 gives as the 5:1 models' cache at 32,768 tokens what a cache
without windows takes (1B 0.9, 4B 4.7, 12B 14.9, 27B 18.7 GB; here 0.15, 0.79, 2.48, 3.12), and a caption of 8 bits does
not explain it. GB are 1e9 bytes.
"""

from __future__ import annotations

from typing import Literal

from models_core.errors import InputInvalid
from models_core.nn.configs import DecoderConfig

Precision = Literal["fp32", "bf16", "int4", "int4-b32", "sfp8"]
# Bits a weight, and weights that share a 16-bit scale (0: none; -1: an output channel).
_BITS: dict[str, tuple[int, int]] = {
    "fp32": (32, 0),
    "bf16": (16, 0),
    "sfp8": (8, 0),
    "int4": (4, -1),
    "int4-b32": (4, 32),
}
_SCALE_BYTES = 2


def cache_bytes(
    config: DecoderConfig, context: int, *, item_bytes: int = 2, batch: int = 1, windowed: bool = True
) -> int:
    """Bytes of keys and values of `batch` sequences of `context` tokens: 2 K H bytes (n_global T + n_local min(T, W)).

    item_bytes: 2 for bfloat16. windowed=False: as if every layer were global.
    """
    wrong = {
        name: "At least 1."
        for name, value in (("context", context), ("item_bytes", item_bytes), ("batch", batch))
        if value < 1
    }
    if wrong:
        raise InputInvalid("There is no such cache.", fields=wrong)
    local = config.n_layers - config.n_global
    entries = config.n_global * context + local * (min(context, config.window) if windowed else context)
    return 2 * config.n_kv_heads * config.head_dim * item_bytes * entries * batch


def weight_bytes(config: DecoderConfig, vocabulary: int, precision: Precision) -> int:
    """Bytes of the parameters. Quantised: kernels and embedding at that width, norm weights in 16 bits.

    int4: one scale an output channel (an embedding row counts as one); int4-b32: one scale for 32 weights along the
    input.
    """
    if precision not in _BITS:
        raise InputInvalid("There is no such precision.", fields={"precision": f"One of {', '.join(_BITS)}."})
    bits, shared = _BITS[precision]
    d, size, experts = config.d_model, config.head_dim, max(config.n_experts, 1)
    query, kv = config.n_heads * size, config.n_kv_heads * size
    layer = [
        (d, query),
        (d, kv),
        (d, kv),
        (query, d),
        *[(d, config.d_ff), (d, config.d_ff), (config.d_ff, d)] * experts,
    ]
    layer += [(d, config.n_experts)] if config.n_experts else []
    kernels = [(d, vocabulary), *layer * config.n_layers]
    total = 0
    for fan_in, fan_out in kernels:
        total += fan_in * fan_out * bits // 8
        groups = 0 if shared == 0 else 1 if shared == -1 else -(-fan_in // shared)
        total += groups * fan_out * _SCALE_BYTES
    norms = config.parameter_count(vocabulary) - sum(rows * columns for rows, columns in kernels)
    return total + norms * (4 if precision == "fp32" else 2)
