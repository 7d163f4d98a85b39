"""Tokenizers: bytes, BPE and unigram trained on a text, and SentencePiece models. Each has a hash of its content.

Ids 0, 1 and 2 of those made here are padding, beginning and end of a document; a text never encodes to them. Byte-level
throughout, so that every text comes back unchanged; a loaded SentencePiece model is as its makers made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32

from models_core.errors import CoreError

PAD, BOS, EOS = 0, 1, 2
_FIRST_BYTE = 3
_SPECIALS = ("<pad>", "<bos>", "<eos>")
# The smallest trained vocabulary: specials and one token a byte.
LEAST_VOCABULARY = _FIRST_BYTE + 256
Kind = Literal["bytes", "bpe", "unigram", "sentencepiece"]


class TokenizerInvalid(CoreError):
    """A tokenizer cannot be read, or not be trained on the text given."""

    code = "tokenizer.invalid"


class TokenizerMismatch(CoreError):
    """A checkpoint or a model was made with another tokenizer."""

    code = "tokenizer.mismatch"


class TokensOutOfRange(CoreError):
    """Token ids that the model has no embedding row for."""

    code = "tokens.out_of_range"


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back. vocabulary: ids are below it. hash: sha256 of kind and content, 64 hex digits."""

    kind: Kind
    vocabulary: int
    hash: str
    bos: int
    eos: int

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """The ids of `text`, without specials."""

    def decode(self, ids: Int[np.ndarray, " tokens"]) -> str:
        """The text of ids; specials are left out, broken UTF-8 is replaced."""

    def to_bytes(self) -> bytes:
        """What `load` turns back into this tokenizer."""


class ByteTokenizer:
    """Each byte of UTF-8 is a token: id = byte + 3."""

    kind: Kind = "bytes"
    vocabulary = LEAST_VOCABULARY
    bos, eos = BOS, EOS

    def __init__(self) -> None:
        self.hash = _hash(self.kind, b"")

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """The ids of `text`; lone surrogates are encoded as they are."""
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32) + np.int32(_FIRST_BYTE)

    def decode(self, ids: Int[np.ndarray, " tokens"]) -> str:
        """The text of ids below 259."""
        kept = ids[(ids >= _FIRST_BYTE) & (ids < self.vocabulary)] - _FIRST_BYTE
        return kept.astype(np.uint8).tobytes().decode(errors="replace")

    def to_bytes(self) -> bytes:
        """Nothing: there is only one."""
        return b""


class TrainedTokenizer:
    """BPE or unigram over bytes, held by the library `tokenizers`; its content is that library's JSON."""

    bos, eos = BOS, EOS

    def __init__(self, kind: Kind, content: bytes) -> None:
        from tokenizers import Tokenizer as Library

        try:
            self._library: Any = Library.from_str(content.decode())
        except Exception as error:
            # The library raises bare Exception for whatever it cannot parse.
            raise TokenizerInvalid(f"The tokenizer cannot be read: {error}") from None
        # The JSON may carry settings of batches; ids must depend on the text alone.
        self._library.no_padding()
        self._library.no_truncation()
        # Specials are ids for the packing, not strings to look for in a text.
        self._library.encode_special_tokens = True
        if [self._library.token_to_id(token) for token in _SPECIALS] != [PAD, BOS, EOS]:
            raise TokenizerInvalid(f"The tokenizer does not have {', '.join(_SPECIALS)} as its ids 0, 1 and 2.")
        self.kind, self._content = kind, content
        self.vocabulary = int(self._library.get_vocab_size())
        self.hash = _hash(kind, content)

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """The ids of `text`; a special's name in the text is text."""
        return np.array(self._library.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Int[np.ndarray, " tokens"]) -> str:
        """The text of ids below the vocabulary."""
        kept = ids[(ids > EOS) & (ids < self.vocabulary)]
        return str(self._library.decode(kept.tolist(), skip_special_tokens=False))

    def to_bytes(self) -> bytes:
        """The library's JSON."""
        return self._content


class SentencePieceTokenizer:
    """A SentencePiece model, read by the library `sentencepiece`; its specials are its own."""

    kind: Kind = "sentencepiece"

    def __init__(self, content: bytes) -> None:
        import sentencepiece

        try:
            self._library: Any = sentencepiece.SentencePieceProcessor(model_proto=content)
            self.vocabulary = int(self._library.get_piece_size())
        except (RuntimeError, ValueError, TypeError) as error:
            raise TokenizerInvalid(f"The SentencePiece model cannot be read: {error}") from None
        if self.vocabulary == 0:
            raise TokenizerInvalid("The SentencePiece model has no pieces.")
        if min(self._library.bos_id(), self._library.eos_id()) < 0:
            raise TokenizerInvalid("The SentencePiece model has no beginning or no end of a sentence.")
        self.bos, self.eos = int(self._library.bos_id()), int(self._library.eos_id())
        self._content = content
        self.hash = _hash(self.kind, content)

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """The ids of `text`."""
        return np.array(self._library.encode(text, out_type=int), np.int32)

    def decode(self, ids: Int[np.ndarray, " tokens"]) -> str:
        """The text of ids below the vocabulary."""
        kept = ids[(ids >= 0) & (ids < self.vocabulary)]
        return str(self._library.decode(kept.tolist()))

    def to_bytes(self) -> bytes:
        """The model file."""
        return self._content


def train(kind: Literal["bpe", "unigram"], texts: Iterable[str], vocabulary: int) -> TrainedTokenizer:
    """Learn at most `vocabulary` tokens (at least 259) from `texts`; raises TokenizerInvalid.

    Source: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", ACL 2016 (BPE);
    Kudo, "Subword regularization", ACL 2018 (unigram). A text too small for so many tokens gives fewer.
    """
    if vocabulary < LEAST_VOCABULARY:
        raise TokenizerInvalid(
            f"A vocabulary of {vocabulary} is below the {LEAST_VOCABULARY} that bytes and specials need."
        )
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    shared: dict[str, Any] = {
        "vocab_size": vocabulary,
        "special_tokens": list(_SPECIALS),
        "initial_alphabet": alphabet,
        "show_progress": False,
    }
    library: Any = Library(models.BPE() if kind == "bpe" else models.Unigram())
    trainer: Any = trainers.BpeTrainer(**shared) if kind == "bpe" else trainers.UnigramTrainer(**shared)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    try:
        library.train_from_iterator(texts, trainer)
    except Exception as error:
        # The library raises bare Exception, for example when the text is empty.
        raise TokenizerInvalid(f"No {kind} tokenizer could be learnt from this text: {error}") from None
    return TrainedTokenizer(kind, library.to_str().encode())


def load(kind: Kind, content: bytes) -> Tokenizer:
    """The inverse of `to_bytes`; raises TokenizerInvalid."""
    match kind:
        case "bytes":
            return ByteTokenizer()
        case "sentencepiece":
            return SentencePieceTokenizer(content)
        case _:
            return TrainedTokenizer(kind, content)


def require_same(tokenizer: Tokenizer, expected_hash: str, what: str) -> None:
    """Raise TokenizerMismatch unless `tokenizer` is the one that `what` (a checkpoint, a model) was made with."""
    if tokenizer.hash != expected_hash:
        raise TokenizerMismatch(
            f"{what} was made with the tokenizer {expected_hash[:12]}; the one given is {tokenizer.hash[:12]} "
            f"({tokenizer.kind}, {tokenizer.vocabulary} tokens).",
            fields={"tokenizer": f"Is not the tokenizer of {what}."},
        )


def require_in_range(ids: Int[np.ndarray, ...], rows: int, field: str = "tokenizer") -> None:
    """Raise TokensOutOfRange if an id has no row in an embedding of `rows`; jax would silently clamp it."""
    if ids.size and (ids.min() < 0 or ids.max() >= rows):
        worst = int(ids.min()) if ids.min() < 0 else int(ids.max())
        raise TokensOutOfRange(
            f"The token id {worst} is outside the model's {rows} embedding rows.",
            fields={field: f"Gives the id {worst}; the model has rows 0 to {rows - 1}."},
        )


def encode_documents(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
    """Each text as BOS, its ids, EOS."""
    ends = np.array([tokenizer.bos], np.int32), np.array([tokenizer.eos], np.int32)
    return [np.concatenate([ends[0], tokenizer.encode(text), ends[1]]) for text in texts]


def _hash(kind: Kind, content: bytes) -> str:
    return hashlib.sha256(kind.encode() + b"\n" + content).hexdigest()
