"""Weights of a decoder as one safetensors file that says which sizes and which tokenizer they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_core.data._dataset import DataInvalid, local_folder
from models_core.errors import CheckpointInvalid, SpecInvalid
from models_core.nn.configs import DecoderConfig

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


def below_models(path: str, field: str) -> Path:
    """The file `path` below the node's folder of models; raises DataInvalid when it leaves it or is not there."""
    root = local_folder("models").resolve()
    target = (root / path).resolve()
    if not target.is_relative_to(root) or not target.is_file():
        raise DataInvalid(f"There is no file {path} below the node's models.", fields={field: "Does not exist."})
    return target
