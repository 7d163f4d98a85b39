"""Pretrained checkpoints as PyTorch modules, and back. Formats and errors are those of `nn.weights.gemma`."""

from __future__ import annotations

from pathlib import Path

import torch

from models_core.nn.torch.arrays import to_tensor
from models_core.nn.torch.decoder import Decoder
from models_core.nn.torch.multimodal import Multimodal
from models_core.nn.weights import gemma
from models_core.nn.weights.gemma import Checkpoint, DType
from models_core.nn.weights.hf_config import Description, Style


def load(
    folder: Path | str, *, dtype: DType | None = None, device: torch.device | str | None = None
) -> tuple[Description, Decoder | Multimodal]:
    """Read a checkpoint's folder: what it is, and its module (a Multimodal if it has a vision tower)."""
    found = gemma.load(folder, dtype=dtype)
    what = found.what
    assert what.vocabulary is not None
    text = found.params if what.vision is None else found.params["text"]
    kind = to_tensor(text["final_norm"]).dtype
    if what.vision is None:
        return what, Decoder(what.config, what.vocabulary, device=device, dtype=kind).load_tree(text)
    model = Multimodal(
        what.config, what.vision, what.vocabulary, soft_token=what.image_tokens.soft, device=device, dtype=kind
    )
    return what, model.load_tree(found.params)


def save(
    folder: Path | str,
    what: Description,
    model: Decoder | Multimodal,
    *,
    dtype: DType | None = None,
    style: Style = "new",
    shard_bytes: int = 5_000_000_000,
) -> list[Path]:
    """Write a module as a checkpoint; returns its files."""
    held = Checkpoint(what, model.tree())
    return gemma.save(folder, held, dtype=dtype, style=style, shard_bytes=shard_bytes)
