"""config.json of Gemma and Gemma 3 checkpoints, read in the old and the new style and written in either.

Old style: rope_theta, rope_local_base_freq, rope_scaling, sliding_window_pattern. New style: rope_parameters and
layer_types. A field that a file leaves out takes the transformers library's default, as published files rely on it.
Refuses, naming the field, whatever the decoder does not compute: biases, other activations or epsilons, untied output
layers, patterns without a period, rotary scalings other than linear.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models_core.errors import CoreError, WeightsInvalid
from models_core.nn.configs import DecoderConfig, VisionConfig

Kind = Literal["gemma", "gemma3_text", "gemma3"]
Style = Literal["old", "new"]
_LIMIT = 10_000_000
_ARCHITECTURES = {
    "gemma": "GemmaForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gemma3": "Gemma3ForConditionalGeneration",
}


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """Ids around an image's soft tokens, and of the soft token itself."""

    begin: int = 255_999
    end: int = 256_000
    soft: int = 262_144


@dataclass(frozen=True, slots=True)
class Description:
    """What a config.json says. vocabulary: embedding rows, None where the file does not say."""

    kind: Kind
    config: DecoderConfig
    vocabulary: int | None = None
    vision: VisionConfig | None = None
    image_tokens: ImageTokens = ImageTokens()


class _Fields:
    """A JSON object that answers typed questions and names the field it cannot answer."""

    def __init__(self, raw: Any, at: str) -> None:
        self.at = at
        if not isinstance(raw, Mapping):
            raise invalid(at.rstrip("."), "Must be an object.")
        self.raw = raw

    def number(self, name: str, default: float) -> float:
        """A number; `default` where absent or null."""
        value = self.raw.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(self.at + name, f"Must be a number, is {value!r}.")
        return float(value)

    def whole(self, name: str, default: int) -> int:
        """A whole number of at least 0."""
        value = self.number(name, default)
        if value != int(value) or value < 0:
            raise invalid(self.at + name, f"Must be a whole number, is {value!r}.")
        return int(value)

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse any value but these; an absent field is the first."""
        value = self.raw.get(name, allowed[0])
        if value not in allowed:
            raise invalid(self.at + name, f"Only {' or '.join(map(repr, allowed))} is supported, not {value!r}.")

    def inner(self, name: str) -> _Fields:
        """The object at `name`; empty where absent or null."""
        return _Fields(self.raw.get(name) or {}, f"{self.at}{name}.")


def read(folder: Path) -> Description:
    """The description in `folder/config.json`. Raises WeightsInvalid that names the field."""
    path = folder / "config.json"
    try:
        if path.stat().st_size > _LIMIT:
            raise invalid("config.json", "Too large for a configuration.")
        return parse(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise invalid("config.json", f"Cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise invalid("config.json", f"Is not JSON: {error}.") from None


def parse(raw: Any) -> Description:
    """The description in a parsed config.json."""
    fields = _Fields(raw, "")
    kind = fields.raw.get("model_type")
    if kind == "gemma":
        return _text(fields, "gemma")
    if kind == "gemma3_text":
        return _text(fields, "gemma3_text")
    if kind == "gemma3":
        text = _text(fields.inner("text_config"), "gemma3_text")
        vision = _vision(fields.inner("vision_config"), fields.whole("mm_tokens_per_image", 256))
        fields.only("tie_word_embeddings", True, None)
        usual = ImageTokens()
        tokens = ImageTokens(
            fields.whole("boi_token_index", usual.begin),
            fields.whole("eoi_token_index", usual.end),
            fields.whole("image_token_index", usual.soft),
        )
        return Description("gemma3", text.config, text.vocabulary, vision, tokens)
    raise invalid("model_type", f"Only gemma, gemma3_text and gemma3 are supported, not {kind!r}.")


def _text(fields: _Fields, kind: Literal["gemma", "gemma3_text"]) -> Description:
    first = kind == "gemma"
    fields.only("attention_bias", False, None)
    fields.only("tie_word_embeddings", True, None)
    fields.only("use_bidirectional_attention", None, False)
    fields.only("rms_norm_eps", 1e-6)
    # Old Gemma files say "gelu" and mean the tanh approximation.
    tanh = ("gelu_pytorch_tanh", None, "gelu") if first else ("gelu_pytorch_tanh", None)
    fields.only("hidden_activation", *tanh)
    if first:
        fields.only("hidden_act", *tanh)
    layers = fields.whole("num_hidden_layers", 28 if first else 26)
    size = fields.whole("head_dim", 256)
    values: dict[str, Any] = {
        "n_layers": layers,
        "d_model": fields.whole("hidden_size", 3072 if first else 2304),
        "d_ff": fields.whole("intermediate_size", 24_576 if first else 9216),
        "n_heads": fields.whole("num_attention_heads", 16 if first else 8),
        "n_kv_heads": fields.whole("num_key_value_heads", 16 if first else 4),
        "head_dim": size,
        "context": fields.whole("max_position_embeddings", 8192 if first else 131_072),
    }
    if first:
        base, factor = _rope(fields.inner("rope_parameters"), fields, "rope_theta", 10_000.0)
        values |= {"global_every": 1, "qk_norm": False, "post_norms": False}
    else:
        rope = fields.inner("rope_parameters")
        base, factor = _rope(rope.inner("full_attention"), fields, "rope_theta", 1_000_000.0)
        local, stretched = _rope(rope.inner("sliding_attention"), _Fields({}, ""), "", 10_000.0)
        if "rope_theta" not in rope.inner("sliding_attention").raw:
            local = fields.number("rope_local_base_freq", 10_000.0)
        if stretched != 1:
            raise invalid(rope.at + "sliding_attention.factor", "Local layers are not stretched.")
        scalar = fields.number("query_pre_attn_scalar", 256)
        if scalar <= 0:
            raise invalid(fields.at + "query_pre_attn_scalar", "Must be above 0.")
        values |= {
            "rope_base_local": local,
            "window": fields.whole("sliding_window", 4096),
            "global_every": _period(fields, layers),
            "query_scale": None if scalar == size else scalar**-0.5,
            "attention_soft_cap": fields.number("attn_logit_softcapping", 0) or None,
            "logit_soft_cap": fields.number("final_logit_softcapping", 0) or None,
        }
    values |= {"rope_base_global": base, "rope_factor_global": factor}
    vocabulary = fields.whole("vocab_size", 0) or None
    try:
        return Description(kind, DecoderConfig.parse(values), vocabulary)
    except CoreError as error:
        raise WeightsInvalid(
            "config.json describes no decoder.", fields={fields.at + at: why for at, why in error.fields.items()}
        ) from None


def _rope(new: _Fields, old: _Fields, theta: str, default: float) -> tuple[float, float]:
    """Base and linear factor of one kind of layer."""
    base = new.number("rope_theta", old.number(theta, default) if theta else default)
    scaling = old.inner("rope_scaling") if old.raw.get("rope_scaling") else new
    name = scaling.raw.get("rope_type", scaling.raw.get("type", "default"))
    if name not in ("default", "linear"):
        raise invalid(scaling.at + "rope_type", f"Only default or linear is supported, not {name!r}.")
    return base, scaling.number("factor", 1.0) if name == "linear" else 1.0


def _period(fields: _Fields, layers: int) -> int:
    """Every how many layers one is global."""
    kinds = fields.raw.get("layer_types")
    if kinds is None:
        return fields.whole("sliding_window_pattern", fields.whole("_sliding_window_pattern", 6))
    known = {"full_attention", "sliding_attention"}
    if not isinstance(kinds, list) or len(kinds) != layers or not all(kind in known for kind in kinds):
        raise invalid(fields.at + "layer_types", f"Must name full_attention or sliding_attention for {layers} layers.")
    stated = fields.raw.get("sliding_window_pattern")
    period = kinds.index("full_attention") + 1 if "full_attention" in kinds else max(layers + 1, stated or 6)
    if kinds != _layer_types(layers, period):
        raise invalid(fields.at + "layer_types", "Global layers must come at one period and the first period be full.")
    return int(period)


def _layer_types(layers: int, period: int) -> list[str]:
    return ["sliding_attention" if (index + 1) % period else "full_attention" for index in range(layers)]


def _vision(fields: _Fields, tokens: int) -> VisionConfig:
    fields.only("hidden_act", "gelu_pytorch_tanh")
    fields.only("layer_norm_eps", 1e-6)
    values = {
        "image_size": fields.whole("image_size", 224),
        "patch_size": fields.whole("patch_size", 16),
        "channels": fields.whole("num_channels", 3),
        "n_layers": fields.whole("num_hidden_layers", 12),
        "width": fields.whole("hidden_size", 768),
        "n_heads": fields.whole("num_attention_heads", 12),
        "d_ff": fields.whole("intermediate_size", 3072),
        "tokens_per_image": tokens,
    }
    try:
        return VisionConfig.parse(values)
    except CoreError as error:
        raise WeightsInvalid(
            "config.json describes no vision tower.", fields={fields.at + at: why for at, why in error.fields.items()}
        ) from None


def render(what: Description, dtype: str, style: Style) -> dict[str, Any]:
    """config.json for `what` with weights of `dtype` ("float32", "bfloat16", "float16")."""
    head: dict[str, Any] = {"architectures": [_ARCHITECTURES[what.kind]], "model_type": what.kind}
    head["dtype" if style == "new" else "torch_dtype"] = dtype
    if what.vision is None:
        return head | _render_text(what, style)
    vision = what.vision
    text = Description("gemma3_text", what.config, what.vocabulary)
    return head | {
        "text_config": {"model_type": "gemma3_text"} | _render_text(text, style),
        "vision_config": {
            "model_type": "siglip_vision_model",
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "num_channels": vision.channels,
            "num_hidden_layers": vision.n_layers,
            "hidden_size": vision.width,
            "num_attention_heads": vision.n_heads,
            "intermediate_size": vision.d_ff,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "vision_use_head": False,
        },
        "mm_tokens_per_image": vision.tokens_per_image,
        "boi_token_index": what.image_tokens.begin,
        "eoi_token_index": what.image_tokens.end,
        "image_token_index": what.image_tokens.soft,
        "tie_word_embeddings": True,
    }


def _render_text(what: Description, style: Style) -> dict[str, Any]:
    config = what.config
    values: dict[str, Any] = {
        "vocab_size": what.vocabulary,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context or 131_072,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "hidden_activation": "gelu_pytorch_tanh",
    }
    full: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rope_base_global}
    if config.rope_factor_global != 1:
        full |= {"rope_type": "linear", "factor": config.rope_factor_global}
    if what.kind == "gemma":
        rope = {"rope_parameters": full} if style == "new" else {"rope_theta": config.rope_base_global}
        return values | {"hidden_act": "gelu_pytorch_tanh"} | rope
    values |= {
        "sliding_window": config.window,
        "query_pre_attn_scalar": _scalar(config),
        "attn_logit_softcapping": config.attention_soft_cap,
        "final_logit_softcapping": config.logit_soft_cap,
    }
    if style == "old":
        linear = {"rope_type": "linear", "factor": config.rope_factor_global}
        return values | {
            "rope_theta": config.rope_base_global,
            "rope_local_base_freq": config.rope_base_local,
            "rope_scaling": linear if config.rope_factor_global != 1 else None,
            "sliding_window_pattern": config.global_every,
        }
    local = {"rope_type": "default", "rope_theta": config.rope_base_local}
    return values | {
        "rope_parameters": {"full_attention": full, "sliding_attention": local},
        "layer_types": _layer_types(config.n_layers, config.global_every),
    }


def _scalar(config: DecoderConfig) -> int:
    if config.query_scale is None:
        return config.head_dim
    scalar = round(config.query_scale**-2)
    if abs(scalar * config.query_scale**2 - 1) > 1e-6:
        raise invalid("query_scale", "The published form holds only one over the root of a whole number.")
    return scalar


def check_exportable(kind: Kind, config: DecoderConfig) -> None:
    """Refuse, naming the field, a decoder that this kind of checkpoint cannot describe."""
    first = kind == "gemma"
    wanted: dict[str, Any] = {"n_experts": 0, "qk_norm": not first, "post_norms": not first}
    if first:
        wanted |= {"query_scale": None, "attention_soft_cap": None, "logit_soft_cap": None, "rope_factor_global": 1.0}
        wanted |= {"global_every": 1}
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise invalid(f"config.{name}", f"A checkpoint of kind {kind} needs {value!r}.")


def invalid(at: str, reason: str) -> WeightsInvalid:
    """The error for a field of a configuration."""
    return WeightsInvalid(f"The configuration cannot be used. {at}: {reason}", fields={at: reason})
