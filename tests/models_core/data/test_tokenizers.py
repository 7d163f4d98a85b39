"""Tokenizers: every text comes back, the hash tells them apart, wrong files and ids are named."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sentencepiece

from models_core.data import stdlib_prose, tokenizers
from models_core.data.tokenizers import TokenizerInvalid, TokenizerMismatch, TokensOutOfRange

STRANGE = ["", " ", "plain", "é\u4f60\U0001f600\x00\x7f", "  two  spaces\n\n\ttabs", "<bos><pad> are text <eos>"]
TEXTS = [document.text for document in stdlib_prose.documents()[:12]]


@pytest.fixture(scope="module", params=["bytes", "bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    return tokenizers.ByteTokenizer() if request.param == "bytes" else tokenizers.train(request.param, TEXTS, 400)


def test_every_text_comes_back_without_specials(tokenizer) -> None:
    for text in [*STRANGE, *TEXTS[:3]]:
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32
        assert tokenizer.decode(ids) == text
        assert not ids.size or (ids.min() > tokenizers.EOS and ids.max() < tokenizer.vocabulary)
    framed = tokenizers.encode_documents(tokenizer, ["abc"])[0]
    assert (framed[0], framed[-1]) == (tokenizer.bos, tokenizer.eos)
    assert tokenizer.decode(framed) == "abc"


def test_a_tokenizer_survives_storage_with_its_hash(tokenizer) -> None:
    stored = tokenizers.load(tokenizer.kind, tokenizer.to_bytes())
    assert stored.hash == tokenizer.hash
    assert stored.vocabulary == tokenizer.vocabulary
    np.testing.assert_array_equal(stored.encode(TEXTS[0]), tokenizer.encode(TEXTS[0]))


def test_learnt_tokens_are_fewer_and_within_the_vocabulary() -> None:
    count = {}
    for size in (300, 500):
        learnt = tokenizers.train("bpe", TEXTS, size)
        assert learnt.vocabulary == size
        count[size] = len(learnt.encode(TEXTS[0]))
    assert count[500] < count[300] < len(TEXTS[0].encode())


def test_mismatch_names_both_tokenizers() -> None:
    one, other = tokenizers.train("bpe", TEXTS, 300), tokenizers.train("bpe", TEXTS, 301)
    assert len({one.hash, other.hash, tokenizers.ByteTokenizer().hash}) == 3
    tokenizers.require_same(one, one.hash, "The checkpoint")
    with pytest.raises(TokenizerMismatch, match=f"The checkpoint was made with .*{other.hash[:12]}") as refusal:
        tokenizers.require_same(one, other.hash, "The checkpoint")
    assert list(refusal.value.fields) == ["tokenizer"]


@pytest.mark.parametrize("ids", [[0, 259], [-1, 3]])
def test_ids_without_a_row_are_refused(ids: list[int]) -> None:
    tokenizers.require_in_range(np.array([[0, 258]]), 259)
    tokenizers.require_in_range(np.zeros(0, np.int32), 1)
    with pytest.raises(TokensOutOfRange, match=r"token id (259|-1) is outside the model's 259"):
        tokenizers.require_in_range(np.array(ids), 259)


def test_what_is_no_tokenizer_is_refused() -> None:
    for kind in ("bpe", "unigram", "sentencepiece"):
        for content in (b"", b"{}", b"\xff\x00garbage"):
            with pytest.raises(TokenizerInvalid):
                tokenizers.load(kind, content)
    with pytest.raises(TokenizerInvalid, match="below the 259"):
        tokenizers.train("bpe", TEXTS, 258)
    foreign = tokenizers.train("bpe", TEXTS, 300).to_bytes().replace(b"<bos>", b"<other>")
    with pytest.raises(TokenizerInvalid, match="ids 0, 1 and 2"):
        tokenizers.load("bpe", foreign)


def test_sentencepiece_models_load() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(TEXTS).split("\n")),
        model_writer=model,
        vocab_size=400,
        minloglevel=2,
        byte_fallback=True,
    )
    loaded = tokenizers.load("sentencepiece", model.getvalue())
    assert loaded.vocabulary == 400
    assert loaded.decode(loaded.encode("An expression is a piece of syntax.")) == "An expression is a piece of syntax."
    assert (loaded.bos, loaded.eos) == (1, 2)
    assert loaded.hash == tokenizers.load("sentencepiece", model.getvalue()).hash
