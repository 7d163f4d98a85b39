"""What a decoder's training begins with: fresh sizes, weights of an earlier run, or a pretrained checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_core.data import tokenizers
from models_core.data.tokenizer_choice import AnyTokenizer, Bytes, Learnt, TokenizerFile
from models_core.data.tokenizers import Tokenizer, TokenizerMismatch
from models_core.errors import SpecInvalid
from models_core.events import Checkpoint
from models_core.nn.configs import DecoderConfig
from models_core.nn.start import AnyStart, FromCheckpoint, FromWeights
from models_core.nn.weights.hf_config import Kind
from models_core.training import weights

# Files of a checkpoint's folder that hold its tokenizer.
_TOKENIZERS = ("tokenizer.model", "tokenizer.json")
_LARGEST_TOKENIZER_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Beginning:
    """arrays: by their names in `nn.decoder`, None for fresh ones. rows: of the embedding. kind: of a checkpoint."""

    config: DecoderConfig
    rows: int
    arrays: dict[str, np.ndarray] | None = None
    kind: Kind = "gemma3_text"


def choose_tokenizer(choice: AnyTokenizer, resume: Checkpoint | None, texts: list[str]) -> Tokenizer:
    """The tokenizer chosen; that of the checkpoint when the run goes on, since learning again might differ."""
    if resume:
        held = tokenizers.load(resume.state["kind"], resume.arrays["tokenizer"].tobytes())
        tokenizers.require_same(held, resume.state["tokenizer"], "The checkpoint")
        return held
    match choice:
        case Bytes():
            return tokenizers.ByteTokenizer()
        case Learnt(kind=kind, vocabulary=vocabulary):
            return tokenizers.train(kind, texts, vocabulary)
        case TokenizerFile(format=form, path=path):
            return tokenizers.load(form, weights.below_models(path, "tokenizer.path").read_bytes())


def begin(
    start: AnyStart,
    chosen: DecoderConfig | None,
    fallback: DecoderConfig,
    tokenizer: Tokenizer,
    *,
    field: str = "start",
) -> Beginning:
    """The weights that `start` asks for, checked against the tokenizer before any step.

    chosen: sizes that the spec insists on, None where it leaves them open; fallback: those of fresh weights then.
    field: of the spec, which errors name.
    Raises SpecInvalid, TokenizerMismatch, and what `training.weights` raises.
    """
    config = fallback if chosen is None else chosen
    if isinstance(start, FromWeights):
        given = weights.from_file(weights.below_models(start.path, f"{field}.path"))
        tokenizers.require_same(tokenizer, given.tokenizer, start.path)
        return Beginning(given.config if chosen is None else config, given.rows, given.arrays)
    if isinstance(start, FromCheckpoint):
        folder = weights.below_models(start.path, f"{field}.path", folder=True)
        arrays, what = weights.from_checkpoint(folder)
        if chosen is not None and chosen != what.config:
            raise SpecInvalid(
                f"The sizes chosen are not those of {start.path}.",
                fields={"model": "Leave it as it is, or choose the checkpoint's sizes."},
            )
        rows = int(arrays["embedding"].shape[0])
        _require_tokenizer(tokenizer, folder, rows)
        return Beginning(what.config, rows, arrays, what.kind)
    return Beginning(config, tokenizer.vocabulary)


def _require_tokenizer(tokenizer: Tokenizer, folder: Path, rows: int) -> None:
    """Refuse a tokenizer with more tokens than rows, or another one than the folder holds, if it holds any."""
    if tokenizer.vocabulary > rows:
        raise TokenizerMismatch(
            f"The tokenizer has {tokenizer.vocabulary} tokens, {folder.name} has {rows} embedding rows.",
            fields={"tokenizer": f"Has more tokens than the {rows} rows of the checkpoint."},
        )
    beside = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    held = [path for path in beside if path.stat().st_size <= _LARGEST_TOKENIZER_BYTES]
    if held and not any(path.read_bytes() == tokenizer.to_bytes() for path in held):
        names = " or ".join(path.name for path in held)
        raise TokenizerMismatch(
            f"{folder.name} comes with a tokenizer ({names}); the one given is another ({tokenizer.kind}).",
            fields={"tokenizer": f"Is not the {names} of the checkpoint."},
        )
