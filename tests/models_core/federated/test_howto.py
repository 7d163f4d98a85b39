"""The how-to for a new algorithm, followed to the letter."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from models_core import federated
from models_core.federated.simulation import latency
from support import federation as fed

HOWTO = Path(__file__).resolve().parents[3] / "docs/howto/add-a-federated-algorithm.md"


def test_the_example_of_the_howto_is_a_whole_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = re.findall(r"```python\n(.*?)```", HOWTO.read_text(), flags=re.DOTALL)
    (tmp_path / "fedsign.py").write_text(source)
    monkeypatch.setattr(federated, "__path__", [*federated.__path__, str(tmp_path)])
    federated.algorithms.cache_clear()
    try:
        assert "fedsign" in federated.algorithms()
        options = importlib.import_module("models_core.federated.fedsign").Options(cohort=3, server_lr=0.01)
        outcome = fed.run(options, [6] * 8, latency.HalfNormal(), steps=2)
    finally:
        federated.algorithms.cache_clear()
        sys.modules.pop("models_core.federated.fedsign", None)
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a - b)), outcome.params, fed.initial())
    for leaf in jax.tree.leaves(moved):
        # Two steps of 0.01 each, forth and back or twice in one direction.
        assert np.all(np.min([abs(leaf - length) for length in (0.0, 0.01, 0.02)], axis=0) < 1e-6)
