"""Weights of a decoder as one safetensors file that says which sizes and which tokenizer they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models_core.data._dataset import DataInvalid, local_folder
from models_core.errors import CheckpointInvalid, SpecInvalid, WeightsInvalid
from models_core.nn.configs import DecoderConfig
from models_core.nn.weights import gemma
from models_core.nn.weights.hf_config import Description

# One key: the library writes several in an order that changes from run to run.
_KEY = "stillroom"


@dataclass(frozen=True, slots=True)
class Weights:
    """tokenizer: its hash."""

    arrays: dict[str, np.ndarray]
    config: DecoderConfig
    tokenizer: str

    @property
    def rows(self) -> int:
        """Embedding rows, taken from the tensor."""
        return int(self.arrays["embedding"].shape[0])


def to_bytes(arrays: Mapping[str, np.ndarray], config: DecoderConfig, tokenizer_hash: str) -> bytes:
    """The file."""
    from safetensors.numpy import save

    about = {"config": config.model_dump(mode="json"), "tokenizer": tokenizer_hash}
    return save(dict(arrays), metadata={_KEY: json.dumps(about, sort_keys=True)})


def from_file(path: Path) -> Weights:
    """Read a file of `to_bytes`; raises CheckpointInvalid for any other."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = DecoderConfig.parse(about["config"])
        weights = Weights(arrays, config, str(about["tokenizer"]))
        if weights.rows < 1:
            raise ValueError("no embedding rows")
        return weights
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError, SpecInvalid) as error:
        raise CheckpointInvalid(
            f"{path.name} does not hold weights of a decoder trained here: {error}",
            fields={"start.path": "Not weights."},
        ) from None


def from_checkpoint(folder: Path) -> tuple[dict[str, np.ndarray], Description]:
    """Weights of a pretrained text checkpoint in float32, by their names in `nn.decoder`, and what it is.

    Raises WeightsInvalid as `nn.weights.gemma.load` does, and for one with images.
    """
    found = gemma.load(folder, dtype="float32")
    if found.what.vision is not None:
        raise WeightsInvalid(
            "The checkpoint has a vision tower; text alone is trained here.",
            fields={"model_type": "Must be gemma or gemma3_text."},
        )
    return dict(_leaves(found.params, "")), found.what


def to_checkpoint(folder: Path, arrays: Mapping[str, np.ndarray], what: Description) -> list[Path]:
    """Write weights by their names in `nn.decoder` as a checkpoint that transformers loads; returns its files."""
    tree: dict[str, Any] = {}
    for name, leaf in arrays.items():
        *path, last = name.split(".")
        here = tree
        for part in path:
            here = here.setdefault(part, {})
        here[last] = leaf
    tree["layers"] = [tree["layers"][str(index)] for index in range(len(tree["layers"]))]
    return gemma.save(folder, gemma.Checkpoint(what, tree))


def below_models(path: str, field: str, *, folder: bool = False) -> Path:
    """The file (or folder) `path` below the node's models; raises DataInvalid when it leaves it or is not there."""
    root = local_folder("models").resolve()
    target = (root / path).resolve()
    there = target.is_dir() if folder else target.is_file()
    if not target.is_relative_to(root) or not there:
        what = "folder" if folder else "file"
        raise DataInvalid(f"There is no {what} {path} below the node's models.", fields={field: "Does not exist."})
    return target


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, np.ndarray):
        yield prefix.removesuffix("."), tree
        return
    for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from _leaves(part, f"{prefix}{key}.")
