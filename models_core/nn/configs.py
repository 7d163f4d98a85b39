"""Sizes of the decoder, readable without an array library. The vocabulary is no part: it is the embedding's rows."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from models_core.spec import Spec, field, refuse


class DecoderConfig(Spec, title="Decoder"):
    """Architecture of `nn.decoder`; the defaults of the fields that are folded away are those of Gemma 3."""

    n_layers: int = field(title="Layers", help="Transformer blocks.", ge=1, le=128, section="Model")
    d_model: int = field(title="Width", help="Size of the residual stream.", ge=1, le=16384, section="Model")
    n_heads: int = field(title="Query heads", help="Attention heads.", ge=1, le=256, section="Model")
    n_kv_heads: int = field(
        title="Key/value heads",
        help="Must divide the query heads; 1 is multi-query attention.",
        ge=1,
        le=256,
        section="Model",
    )
    head_dim: int = field(
        title="Head size", help="Size of one head; even.", ge=2, le=1024, multiple_of=2, section="Model"
    )
    d_ff: int = field(
        title="Feed-forward width", help="Width of gate and up projection, each.", ge=1, le=131072, section="Model"
    )
    window: int = field(
        64,
        title="Window",
        help="Keys a local layer sees, the query's own included.",
        unit="tokens",
        ge=1,
        section="Model",
    )
    global_every: int = field(
        6,
        title="Global every",
        help="Every n-th layer attends to all earlier tokens, the others to their window; 1: all layers.",
        unit="layers",
        ge=1,
        section="Model",
    )
    rope_base_local: float = field(
        10_000.0, title="Rotary base, local", help="Of layers with a window.", gt=1, section="Model", advanced=True
    )
    rope_base_global: float = field(
        1_000_000.0,
        title="Rotary base, global",
        help="Of layers without a window.",
        gt=1,
        section="Model",
        advanced=True,
    )
    rope_factor_global: float = field(
        1.0,
        title="Rotary factor, global",
        help="Divides positions in global layers.",
        ge=1,
        section="Model",
        advanced=True,
    )
    qk_norm: bool = field(
        True, title="Query-key norm", help="Normalise queries and keys per head.", section="Model", advanced=True
    )
    post_norms: bool = field(
        True, title="Post-norms", help="Normalise each branch's output as well.", section="Model", advanced=True
    )
    query_scale: float | None = field(
        None,
        title="Query scale",
        help="Factor on attention scores; empty: one over the root of the head size.",
        gt=0,
        section="Model",
        advanced=True,
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            refuse("n_kv_heads", f"Must divide the {self.n_heads} query heads.")
        return self

    def is_global(self, layer: int) -> bool:
        """Whether layer `layer`, counted from 0, sees all earlier tokens. A remainder at the end stays local."""
        return (layer + 1) % self.global_every == 0

    def parameter_count(self, vocabulary: int) -> int:
        """Numbers in a model with `vocabulary` embedding rows; the output layer is tied to them."""
        attention = 2 * self.d_model * self.head_dim * (self.n_heads + self.n_kv_heads)
        norms = (4 if self.post_norms else 2) * self.d_model + (2 * self.head_dim if self.qk_norm else 0)
        layer = attention + 3 * self.d_model * self.d_ff + norms
        return vocabulary * self.d_model + self.n_layers * layer + self.d_model


# For tests: every feature, head_dim * n_heads != d_model, a remainder after the pattern, a window shorter than the
# text.
NANO = DecoderConfig(n_layers=7, d_model=64, n_heads=4, n_kv_heads=2, head_dim=32, d_ff=128, window=12)
# For experiments: about four million numbers without its vocabulary.
MICRO = DecoderConfig(
    n_layers=4, d_model=256, n_heads=4, n_kv_heads=1, head_dim=64, d_ff=1024, window=64, global_every=4
)
