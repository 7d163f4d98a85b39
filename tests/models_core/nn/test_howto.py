"""The how-to's programs run as they are printed, on a small checkpoint in the place of the one they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from models_core.nn import pretrained

PAGE = Path(__file__).parents[3] / "docs/howto/use-a-gemma-checkpoint.md"
VOCABULARY = 120


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shape = {"hidden_size": 24, "intermediate_size": 40, "head_dim": 8, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1, "sliding_window": 5, "max_position_embeddings": 64}
    config = transformers.Gemma3TextConfig(vocab_size=VOCABULARY, **shape, **heads)
    transformers.Gemma3ForCausalLM(config).save_pretrained(tmp_path / "gemma-3-270m")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(number: int) -> dict[str, Any]:
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(programs[number], str(PAGE), "exec"), names)
    return names


def test_both_frameworks_read_write_and_continue(folder: Path) -> None:
    jax_names, torch_names = run(0), run(1)
    logits = np.asarray(jax_names["logits"])
    assert logits.shape == (1, 4, VOCABULARY)
    np.testing.assert_allclose(torch_names["logits"].detach().numpy(), logits, atol=1e-5 * np.abs(logits).max())
    for texts in (jax_names["texts"], torch_names["texts"]):
        assert len(texts) == 2
        assert all(1 <= len(text) <= 8 and max(text) < VOCABULARY for text in texts)
    assert pretrained.load(folder / "exported").what == jax_names["found"].what


def test_the_figures_are_those_of_the_page() -> None:
    names = run(2)
    assert f"{names['cache'] / 1e9:.2f} GB" in PAGE.read_text()
    assert f"{names['without_windows'] / 1e9:.2f} GB" in PAGE.read_text()
    assert names["weights"]["int4"] < names["weights"]["sfp8"] < names["weights"]["bf16"]
