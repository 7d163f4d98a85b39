"""Which tensor of a checkpoint is which leaf of a parameter tree, with its shape.

Names as of the published files ("layout 1"); `canonical` turns the two other layouts in circulation into it.
Trap: `post_attention_layernorm` is the norm before the MLP in Gemma 1 and the norm after the attention in Gemma 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models_core.errors import WeightsInvalid
from models_core.nn.configs import DecoderConfig, VisionConfig
from models_core.nn.weights.hf_config import Description

TIED = "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One tensor. path: place in the tree, layers by number. shape: in the file; None for the number of rows."""

    name: str
    path: tuple[str | int, ...]
    shape: tuple[int | None, ...]
    form: Literal["same", "transposed", "patch"] = "same"

    def to_tree(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The file's tensor as the tree holds it: kernels are (in, out)."""
        if self.form == "same":
            return tensor
        return tensor.reshape(tensor.shape[0], -1).T

    def to_file(self, leaf: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `to_tree`, contiguous."""
        turned = leaf if self.form == "same" else leaf.T
        if self.form == "patch":
            turned = turned.reshape([size or 0 for size in self.shape])
        return np.ascontiguousarray(turned)


def leaves(what: Description) -> list[Leaf]:
    """Every tensor of a checkpoint, in the order of its layers."""
    if what.vision is None:
        return list(_text(what.config, "model.", ()))
    d = what.config.d_model
    projector = "multi_modal_projector.mm_"
    return [
        *_text(what.config, "language_model.model.", ("text",)),
        *_vision(what.vision, "vision_tower.vision_model.", ("vision",)),
        Leaf(projector + "input_projection_weight", ("projector", "kernel"), (what.vision.width, d)),
        Leaf(projector + "soft_emb_norm.weight", ("projector", "norm"), (what.vision.width,)),
    ]


def _text(config: DecoderConfig, prefix: str, root: tuple[str | int, ...]) -> Iterator[Leaf]:
    d, d_ff, size = config.d_model, config.d_ff, config.head_dim
    query, kv = config.n_heads * size, config.n_kv_heads * size
    kernels = {
        "self_attn.q_proj": ("attention", "query", query, d),
        "self_attn.k_proj": ("attention", "key", kv, d),
        "self_attn.v_proj": ("attention", "value", kv, d),
        "self_attn.o_proj": ("attention", "out", d, query),
        "mlp.gate_proj": ("mlp", "gate", d_ff, d),
        "mlp.up_proj": ("mlp", "up", d_ff, d),
        "mlp.down_proj": ("mlp", "down", d, d_ff),
    }
    norms = {"input_layernorm": "pre_attention_norm", "post_attention_layernorm": "pre_mlp_norm"}
    if config.post_norms:
        norms |= {
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "pre_mlp_norm",
            "post_feedforward_layernorm": "post_mlp_norm",
        }
    yield Leaf(prefix + "embed_tokens.weight", (*root, "embedding"), (None, d))
    for index in range(config.n_layers):
        at = f"{prefix}layers.{index}."
        path: tuple[str | int, ...] = (*root, "layers", index)
        for name, (part, leaf, rows, columns) in kernels.items():
            yield Leaf(f"{at}{name}.weight", (*path, part, leaf), (rows, columns), "transposed")
        for name, leaf in norms.items():
            yield Leaf(f"{at}{name}.weight", (*path, leaf), (d,))
        if config.qk_norm:
            yield Leaf(f"{at}self_attn.q_norm.weight", (*path, "attention", "query_norm"), (size,))
            yield Leaf(f"{at}self_attn.k_norm.weight", (*path, "attention", "key_norm"), (size,))
    yield Leaf(prefix + "norm.weight", (*root, "final_norm"), (d,))


def _vision(config: VisionConfig, prefix: str, root: tuple[str | int, ...]) -> Iterator[Leaf]:
    width, d_ff, patch = config.width, config.d_ff, config.patch_size
    linears = {
        "self_attn.q_proj": ("attention", "query", width, width),
        "self_attn.k_proj": ("attention", "key", width, width),
        "self_attn.v_proj": ("attention", "value", width, width),
        "self_attn.out_proj": ("attention", "out", width, width),
        "mlp.fc1": ("mlp", "up", d_ff, width),
        "mlp.fc2": ("mlp", "down", width, d_ff),
    }
    at = prefix + "embeddings."
    yield Leaf(
        f"{at}patch_embedding.weight", (*root, "patch", "kernel"), (width, config.channels, patch, patch), "patch"
    )
    yield Leaf(f"{at}patch_embedding.bias", (*root, "patch", "bias"), (width,))
    yield Leaf(f"{at}position_embedding.weight", (*root, "positions"), (config.grid**2, width))
    for index in range(config.n_layers):
        at = f"{prefix}encoder.layers.{index}."
        path: tuple[str | int, ...] = (*root, "layers", index)
        for name, (part, leaf, rows, columns) in linears.items():
            yield Leaf(f"{at}{name}.weight", (*path, part, leaf, "kernel"), (rows, columns), "transposed")
            yield Leaf(f"{at}{name}.bias", (*path, part, leaf, "bias"), (rows,))
        for name, norm in (("layer_norm1", "attention_norm"), ("layer_norm2", "mlp_norm")):
            for part in ("weight", "bias"):
                yield Leaf(f"{at}{name}.{part}", (*path, norm, part), (width,))
    for part in ("weight", "bias"):
        yield Leaf(f"{prefix}post_layernorm.{part}", (*root, "final_norm", part), (width,))


def canonical(names: Iterable[str], what: Description) -> dict[str, str]:
    """Each name's form in layout 1.

    Layout 2 (in memory since transformers 4.52): model.language_model.*, model.vision_tower.*. Layout 3 (written by
    transformers 5): no vision_model level.
    """
    turned: dict[str, str] = {}
    for name in names:
        new = name if what.vision is None else _multimodal(name)
        if new in turned.values():
            raise WeightsInvalid(f"{name} is there twice, in two layouts.", fields={name: "There twice."})
        turned[name] = new
    return turned


def _multimodal(name: str) -> str:
    for part in ("vision_tower.", "multi_modal_projector."):
        if name.startswith("model." + part):
            name = name.removeprefix("model.")
    if name.startswith("model.language_model."):
        name = "language_model.model." + name.removeprefix("model.language_model.")
    if name == "language_model." + TIED:
        name = TIED
    if name.startswith("vision_tower.") and not name.startswith("vision_tower.vision_model."):
        name = "vision_tower.vision_model." + name.removeprefix("vision_tower.")
    return name
