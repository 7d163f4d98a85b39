"""The how-to's programs run as they are printed, and learn."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from models_core.errors import SpecInvalid
from models_core.optim import optax as by_name

PAGE = Path(__file__).parents[3] / "docs/howto/use-sonew.md"
# Its first program is a snippet; the others differentiate the loss.
OTHERS = PAGE.with_name("optimizers.md")


def programs(page: Path = PAGE) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_programs_that_differentiate_the_loss_learn() -> None:
    _, in_jax, in_torch = programs(OTHERS)
    names: dict[str, Any] = {}
    exec(compile(in_jax, str(OTHERS), "exec"), names)
    params = names["params"]
    rest = jnp.mean((names["inputs"] @ params["kernel"] + params["bias"][None, :]) ** 2)
    # It starts at a mean square of 1.6 squared.
    assert float(rest) < 2.5
    torch.manual_seed(0)
    names = {}
    exec(compile(in_torch, str(OTHERS), "exec"), names)
    assert float(names["loss"].detach()) < float(torch.mean(names["y"] ** 2))


def test_the_pytorch_program_learns() -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(programs()[0], str(PAGE), "exec"), names)
    untrained = float(torch.mean(names["y"] ** 2))
    assert float(names["loss"]) < untrained


def test_the_optax_program_learns() -> None:
    names: dict[str, Any] = {}
    exec(compile(programs()[1], str(PAGE), "exec"), names)
    # It starts at a mean square of 1.6 squared.
    rest = jnp.mean((names["inputs"] @ names["params"]["kernel"] + names["params"]["bias"][None, :]) ** 2)
    assert float(rest) < 2.5


def test_optax_functions_check_their_options_and_know_their_names() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        by_name.sonew(1e-3, band=99)
    assert list(refusal.value.fields) == ["band"]
    with pytest.raises(AttributeError, match="sonew"):
        _ = by_name.no_such_optimizer
    assert "sonew" in dir(by_name)


def official_step(w: np.ndarray, g: np.ndarray, state: list[np.ndarray], t: int, lr: float, wd: float) -> np.ndarray:
    """One step in the conventions of the authors' PyTorch code, as a dense matrix would do it."""
    m, v, e = state
    m[:] = 0.9 * m + 0.1 * g
    v[:] = 0.999 * v + 0.001 * g * g
    e[:] = 0.999 * e + 0.001 * g[:-1] * g[1:]
    weight = 1 - 0.999**t
    a, b = v / weight + 1e-3, e / weight
    lower, variance = np.eye(len(g)), a.copy()
    for j in range(len(g) - 1):
        left = a[j] - b[j] ** 2 / a[j + 1]
        if left > 0:
            variance[j] = left
            lower[j + 1, j] = -b[j] / a[j + 1]
    momentum = m / (1 - 0.9**t)
    u = lower @ np.diag(1 / variance) @ lower.T @ momentum
    u *= np.linalg.norm(momentum / (np.sqrt(v) + 1e-8)) / np.linalg.norm(u)
    return w - lr * (u + wd * w)


@pytest.mark.usefixtures("float64")
def test_the_options_given_for_the_authors_code_reproduce_its_rule() -> None:
    options = {"order": "row_major", "beta2": 0.999, "gamma": 0.0, "graft": "official", "eps": 1e-3}
    transformation = by_name.sonew(0.01, weight_decay=0.1, **options)
    generator = np.random.default_rng(0)
    params = jnp.asarray(generator.normal(size=(4, 3)))
    expected, memory = np.asarray(params).reshape(-1), [np.zeros(12), np.zeros(12), np.zeros(11)]
    state = transformation.init(params)
    update = jax.jit(transformation.update)
    for t in range(1, 8):
        g = generator.normal(size=(4, 3))
        updates, state = update(jnp.asarray(g), state, params)
        params = optax.apply_updates(params, updates)
        expected = official_step(expected, g.reshape(-1), memory, t, 0.01, 0.1)
        np.testing.assert_allclose(np.asarray(params).reshape(-1), expected, rtol=1e-9)


def test_the_pytorch_classes_need_no_jax() -> None:
    program = "import sys, models_core.optim.torch; print(sorted({'jax', 'optax', 'django'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PAGE.parents[2])
    assert done.stdout.strip() == "[]", done.stderr
