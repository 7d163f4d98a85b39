"""The tokenizer as a choice in a spec, readable without an array library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models_core.spec import Spec as BaseSpec
from models_core.spec import field


class Bytes(BaseSpec, title="Bytes"):
    """A token is a byte."""

    kind: Literal["bytes"] = field("bytes", title="Tokenizer", help="A token is a byte.", section="Data")


class Learnt(BaseSpec, title="Learnt from the text"):
    """Train a tokenizer on the training text first."""

    kind: Literal["bpe", "unigram"] = field(
        "bpe", title="Tokenizer", help="Byte pair encoding, or a unigram model.", section="Data"
    )
    vocabulary: int = field(
        2048, title="Vocabulary", help="Tokens to learn, bytes included.", ge=259, le=262_144, section="Data"
    )


class TokenizerFile(BaseSpec, title="Tokenizer of a run"):
    """Use a tokenizer that exists."""

    kind: Literal["file"] = field("file", title="Tokenizer", help="One that exists.", section="Data")
    format: Literal["bpe", "unigram", "sentencepiece"] = field(
        "bpe", title="Format", help="What the file holds.", section="Data"
    )
    path: str = field(title="Path", help="A file below the node's models.", max_length=400, section="Data")


# Those that are there before a run begins.
FixedTokenizer = Annotated[Bytes | TokenizerFile, Field(discriminator="kind")]
AnyTokenizer = Annotated[Bytes | Learnt | TokenizerFile, Field(discriminator="kind")]
