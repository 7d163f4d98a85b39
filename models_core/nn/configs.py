"""Sizes of the decoder and of the towers before it, readable without an array library.

The vocabulary is no part of a decoder's config: it is the embedding's rows. The published sizes are in `published`.
"""

from __future__ import annotations

from math import isqrt
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
        le=2**31 - 1,
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
    attention_soft_cap: float | None = field(
        None,
        title="Attention soft cap",
        help="Bounds attention scores by c tanh(score / c); empty: no bound.",
        gt=0,
        section="Model",
        advanced=True,
    )
    logit_soft_cap: float | None = field(
        None,
        title="Logit soft cap",
        help="Bounds logits by c tanh(logit / c); empty: no bound.",
        gt=0,
        section="Model",
        advanced=True,
    )
    context: int | None = field(
        None,
        title="Context",
        help="Longest sequence; longer ones are refused. Empty: no limit.",
        unit="tokens",
        ge=1,
        section="Model",
        advanced=True,
    )
    n_experts: int = field(
        0,
        title="Experts",
        help="Feed-forward networks in each block, of which a token uses some; 0: one dense network.",
        ge=0,
        le=512,
        section="Model",
        advanced=True,
    )
    experts_per_token: int = field(
        2, title="Experts a token", help="Experts that each token uses.", ge=1, le=64, section="Model", advanced=True
    )
    expert_capacity: float | None = field(
        None,
        title="Expert capacity",
        help="Tokens an expert takes, in multiples of an even share; later ones are dropped. Empty: none is dropped.",
        gt=0,
        section="Model",
        advanced=True,
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            refuse("n_kv_heads", f"Must divide the {self.n_heads} query heads.")
        if self.n_experts and self.experts_per_token > self.n_experts:
            refuse("experts_per_token", f"There are only {self.n_experts} experts.")
        return self

    def is_global(self, layer: int) -> bool:
        """Whether layer `layer`, counted from 0, sees all earlier tokens. A remainder at the end stays local."""
        return (layer + 1) % self.global_every == 0

    @property
    def dropless(self) -> Self:
        """The same model whose experts have room for every token: as it is used, where a capacity is for training.

        Under a capacity what becomes of a token depends on what else is in its batch.
        """
        return self if self.expert_capacity is None else self.model_copy(update={"expert_capacity": None})

    @property
    def n_global(self) -> int:
        """Number of layers that see all earlier tokens."""
        return self.n_layers // self.global_every

    def parameter_count(self, vocabulary: int) -> int:
        """Numbers in a model with `vocabulary` embedding rows; the output layer is tied to them."""
        attention = 2 * self.d_model * self.head_dim * (self.n_heads + self.n_kv_heads)
        norms = (4 if self.post_norms else 2) * self.d_model + (2 * self.head_dim if self.qk_norm else 0)
        experts = max(self.n_experts, 1)
        feed_forward = 3 * self.d_model * self.d_ff * experts + self.d_model * self.n_experts
        layer = attention + feed_forward + norms
        return vocabulary * self.d_model + self.n_layers * layer + self.d_model


class VisionConfig(Spec, title="Vision tower"):
    """Architecture of `nn.vision`; the defaults are those of Gemma 3 (SigLIP So400m/14 at 896 pixels)."""

    image_size: int = field(896, title="Image side", help="Images are square.", unit="pixels", ge=1, section="Vision")
    patch_size: int = field(
        14, title="Patch side", help="Divides the image side.", unit="pixels", ge=1, section="Vision"
    )
    channels: int = field(3, title="Channels", help="Colours of a pixel.", ge=1, le=16, section="Vision")
    n_layers: int = field(27, title="Layers", help="Transformer blocks.", ge=1, le=128, section="Vision")
    width: int = field(1152, title="Width", help="Size of the residual stream.", ge=1, le=16384, section="Vision")
    n_heads: int = field(16, title="Heads", help="Must divide the width.", ge=1, le=256, section="Vision")
    d_ff: int = field(4304, title="Feed-forward width", help="Hidden units.", ge=1, le=131072, section="Vision")
    tokens_per_image: int = field(
        256,
        title="Tokens an image",
        help="A square number whose side divides the grid of patches.",
        ge=1,
        section="Vision",
    )

    @model_validator(mode="after")
    def _grid_divides(self) -> Self:
        if self.image_size % self.patch_size:
            refuse("patch_size", f"Must divide the image side {self.image_size}.")
        if self.width % self.n_heads:
            refuse("n_heads", f"Must divide the width {self.width}.")
        side = isqrt(self.tokens_per_image)
        if side * side != self.tokens_per_image or self.grid % side:
            refuse("tokens_per_image", f"Must be the square of a divisor of the {self.grid} patches on a side.")
        return self

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def pool(self) -> int:
        """Patches along a side that are averaged into one token."""
        return self.grid // isqrt(self.tokens_per_image)

    def parameter_count(self) -> int:
        """Numbers in the tower, without the projector."""
        patch = self.channels * self.patch_size**2 * self.width + self.width
        block = 4 * (self.width**2 + self.width) + 2 * self.width * self.d_ff + self.d_ff + self.width + 4 * self.width
        return patch + self.grid**2 * self.width + self.n_layers * block + 2 * self.width

    def projector_count(self, d_model: int) -> int:
        """Numbers between the tower and a decoder of width `d_model`."""
        return self.width * d_model + self.width


class AudioConfig(Spec, title="Audio tower"):
    """Architecture of `nn.audio`; sizes are choices of this library, the published encoders' are not disclosed."""

    mel_bins: int = field(80, title="Mel bins", help="Bands of the spectrogram.", ge=1, le=512, section="Audio")
    n_layers: int = field(4, title="Layers", help="Transformer blocks.", ge=1, le=128, section="Audio")
    width: int = field(
        256, title="Width", help="Size of the residual stream; even.", ge=2, le=16384, multiple_of=2, section="Audio"
    )
    n_heads: int = field(4, title="Heads", help="Must divide the width.", ge=1, le=256, section="Audio")
    d_ff: int = field(1024, title="Feed-forward width", help="Hidden units.", ge=1, le=131072, section="Audio")
    pool: int = field(
        4,
        title="Pool",
        help="Steps of 40 ms that are averaged into one token.",
        ge=1,
        le=64,
        section="Audio",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.n_heads:
            refuse("n_heads", f"Must divide the width {self.width}.")
        return self

    def tokens(self, frames: int) -> int:
        """Soft tokens of a clip of `frames` spectrogram frames: two halvings, then the pool; a rest counts."""
        steps = -(-frames // 4)
        return -(-steps // self.pool)


class InterleavedConfig(Spec, title="Interleaved decoder"):
    """A decoder with the towers of what it reads between the text; see `nn.interleaved`."""

    decoder: DecoderConfig = field(title="Decoder", help="Of text and soft tokens.", section="Model")
    vision: VisionConfig | None = field(
        None, title="Vision tower", help="Of images and frames; empty: none.", section="Vision"
    )
    audio: AudioConfig | None = field(None, title="Audio tower", help="Of clips; empty: none.", section="Audio")
    tokens_per_frame: int = field(
        64,
        title="Tokens a frame",
        help="Of a video; a square number whose side divides the grid of patches, fewer than those of an image.",
        ge=1,
        section="Vision",
    )

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        if self.vision is not None:
            side = isqrt(self.tokens_per_frame)
            if side * side != self.tokens_per_frame or self.vision.grid % side:
                reason = f"Must be the square of a divisor of the {self.vision.grid} patches on a side."
                refuse("tokens_per_frame", reason)
        return self

    @property
    def frame(self) -> VisionConfig:
        """The tower's config with a frame's number of tokens; only where there is a tower."""
        assert self.vision is not None
        return self.vision.model_copy(update={"tokens_per_image": self.tokens_per_frame})


# For tests: every feature, head_dim * n_heads != d_model, a remainder after the pattern, a window shorter than the
# text.
NANO = DecoderConfig(n_layers=7, d_model=64, n_heads=4, n_kv_heads=2, head_dim=32, d_ff=128, window=12)
# For experiments: about four million numbers without its vocabulary.
MICRO = DecoderConfig(
    n_layers=4, d_model=256, n_heads=4, n_kv_heads=1, head_dim=64, d_ff=1024, window=64, global_every=4
)
# For experiments that need depth: about twenty-two million numbers without its vocabulary.
MINI = DecoderConfig(n_layers=12, d_model=384, n_heads=4, n_kv_heads=1, head_dim=128, d_ff=1536, window=128)
