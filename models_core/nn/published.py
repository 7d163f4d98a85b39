"""The published Gemma and Gemma 3 sizes by name, readable without an array library.

Source: Gemma 3 technical report (arXiv 2503.19786), Table 1 and section 2; Gemma (arXiv 2403.08295), Table 1; the
configurations distributed with the checkpoints. The counts of `published` are exact (a test holds them to Table 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from models_core.errors import InputInvalid
from models_core.nn.configs import DecoderConfig, VisionConfig

# Gemma 1: every layer sees everything, one rotary base, no norm after a branch nor on queries and keys.
_GEMMA_1 = {"global_every": 1, "rope_base_global": 10_000.0, "qk_norm": False, "post_norms": False, "context": 8192}
# Gemma 3 from 4B on was extended from 32k to 128k by stretching the global layers' positions.
_LONG = {"window": 1024, "rope_factor_global": 8.0, "context": 131_072}
_SHORT = {"window": 512, "context": 32_768}


def _size(n_layers: int, d_model: int, d_ff: int, n_heads: int, n_kv_heads: int, **more: object) -> DecoderConfig:
    fields = {"n_layers": n_layers, "d_model": d_model, "d_ff": d_ff, "n_heads": n_heads, "n_kv_heads": n_kv_heads}
    return DecoderConfig.model_validate(fields | {"head_dim": 256} | more)


GEMMA_2B = _size(18, 2048, 16_384, 8, 1, **_GEMMA_1)
GEMMA_7B = _size(28, 3072, 24_576, 16, 16, **_GEMMA_1)
GEMMA3_270M = _size(18, 640, 2048, 4, 1, **_SHORT)
GEMMA3_1B = _size(26, 1152, 6912, 4, 1, **_SHORT)
GEMMA3_4B = _size(34, 2560, 10_240, 8, 4, **_LONG)
GEMMA3_12B = _size(48, 3840, 15_360, 16, 8, **_LONG)
# Queries of the 27B are scaled by the width a head, 5376 / 32, not by the head's size.
GEMMA3_27B = _size(62, 5376, 21_504, 32, 16, **(_LONG | {"head_dim": 128, "query_scale": 168**-0.5}))
SIGLIP_SO400M = VisionConfig()


@dataclass(frozen=True, slots=True)
class Published:
    """One published model. vocabulary: the embedding rows of its checkpoint. vision: the tower, or None for text."""

    config: DecoderConfig
    vocabulary: int
    vision: VisionConfig | None = None

    @property
    def embedding_count(self) -> int:
        """Numbers in the embedding, projector included, as the report's Table 1 counts."""
        projector = self.vision.projector_count(self.config.d_model) if self.vision else 0
        return self.vocabulary * self.config.d_model + projector

    @property
    def body_count(self) -> int:
        """Numbers in the decoder without its embedding."""
        return self.config.parameter_count(0)


PUBLISHED = {
    "gemma-2b": Published(GEMMA_2B, 256_128),
    "gemma-7b": Published(GEMMA_7B, 256_128),
    "gemma3-270m": Published(GEMMA3_270M, 262_144),
    "gemma3-1b": Published(GEMMA3_1B, 262_144),
    "gemma3-4b": Published(GEMMA3_4B, 262_208, SIGLIP_SO400M),
    "gemma3-12b": Published(GEMMA3_12B, 262_208, SIGLIP_SO400M),
    "gemma3-27b": Published(GEMMA3_27B, 262_208, SIGLIP_SO400M),
}


def published(name: str) -> Published:
    """The published model called `name`, "gemma3-4b" for instance. Raises InputInvalid for another name."""
    try:
        return PUBLISHED[name]
    except KeyError:
        raise InputInvalid(
            f"There is no published model {name!r}.", fields={"name": f"One of {', '.join(PUBLISHED)}."}
        ) from None
