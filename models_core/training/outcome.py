"""What a language model run leaves behind: samples, loss by place, tokenizer and weights, as artifacts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models_core.data.tokenizers import Tokenizer
from models_core.events import Artifact
from models_core.nn.prompts import Sampling
from models_core.nn.weights.hf_config import Description
from models_core.training import weights
from models_core.training.beginning import Beginning

WeightsFormat = Literal["stillroom", "hugging_face"]
_BETWEEN = "\n\n----\n\n"


def samples(
    engine: Any,
    tokenizer: Tokenizer,
    config_context: int | None,
    prompt: str,
    count: int,
    tokens: int,
    sampling: Sampling,
) -> Artifact:
    """`count` continuations of `prompt`, each of at most `tokens` tokens or to the end of its document."""
    ids = [tokenizer.bos, *tokenizer.encode(prompt).tolist()]
    room = len(ids) + tokens if config_context is None else config_context
    ids = ids[: room - 1]
    made = engine.sample(
        [ids] * count, max_new=min(tokens, room - len(ids)), sampling=sampling, stop_tokens=[tokenizer.eos]
    )
    texts = [tokenizer.decode(np.array([*ids, *row], np.int32)) for row in made]
    return Artifact("sample.txt", _BETWEEN.join(texts).encode(errors="replace"), "text/plain; charset=utf-8")


def by_place(sums_and_counts: np.ndarray) -> Artifact:
    """Mean loss at each place of the context."""
    means = [float(total / max(count, 1)) for total, count in sums_and_counts.T]
    return Artifact("loss_by_position.json", json.dumps(means).encode(), "application/json")


def model(
    arrays: Mapping[str, np.ndarray], beginning: Beginning, tokenizer: Tokenizer, form: WeightsFormat
) -> Iterator[Artifact]:
    """Tokenizer and weights: one file of ours, or a folder that transformers loads."""
    content = tokenizer.to_bytes()
    name = "tokenizer.model" if tokenizer.kind == "sentencepiece" else "tokenizer.json"
    if form == "stillroom":
        if content:
            yield Artifact(name, content)
        yield Artifact("model.safetensors", weights.to_bytes(arrays, beginning.config, tokenizer.hash))
        return
    with tempfile.TemporaryDirectory() as folder:
        what = Description(beginning.kind, beginning.config, beginning.rows)
        files: Sequence[Path] = weights.to_checkpoint(Path(folder), arrays, what)
        for path in files:
            yield Artifact(f"hugging_face/{path.name}", path.read_bytes())
    if content:
        yield Artifact(f"hugging_face/{name}", content)
