"""SONew in PyTorch with what torch.compile makes of it: the same steps, with and without a compiler."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from models_core.optim import torch as twins
from models_core.optim.torch import sonew

COMPILER = shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(autouse=True)
def worth_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sonew, "_WORTH_COMPILING", 1)


@pytest.mark.parametrize("graft", ["adam", "none"])
@pytest.mark.parametrize("band", [1, 4])
def test_the_functions_that_are_compiled_take_the_same_steps(
    band: int, graft: str, stream: Any, follow: Any, compare: Any
) -> None:
    # Not compiled here, which would take its time. The first steps have edges to cut.
    start, gradients = np.full(40, 0.5), stream(40, steps=12)
    options = {"lr": 0.01, "band": band, "eps": 1e-6, "gamma": 1e-3, "graft": graft}
    whole: list[bool] = []

    def spread(*arguments: Any) -> torch.Tensor:
        u = sonew.spread(*arguments)
        whole.append(bool(torch.isfinite(u).all()))
        return u

    def uncompiled(parameters: Any) -> torch.optim.Optimizer:
        made = twins.SONew(parameters, **options)
        made._whole = sonew.Compiled(sonew.whole_averages, sonew.conditioned, spread)
        return made

    ours = follow(uncompiled, start, gradients)
    compare(ours, iter(follow(lambda p: twins.SONew(p, **options), start, gradients)))
    assert not whole[0]
    assert whole[-1]


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="torch.compile needs a C++ compiler (g++ or clang++)")
def test_compiled_code_takes_the_same_steps(stream: Any, follow: Any, compare: Any, recwarn: Any) -> None:
    start, gradients = np.full(40, 0.5), stream(40, steps=12)
    compiled = follow(lambda p: twins.SONew(p, lr=0.01, eps=1e-6, gamma=1e-3, compiled=True), start, gradients)
    assert not [warning for warning in recwarn if "without torch.compile" in str(warning.message)]
    compare(compiled, iter(follow(lambda p: twins.SONew(p, lr=0.01, eps=1e-6, gamma=1e-3), start, gradients)))


@pytest.mark.parametrize("broken", ["average", "condition"])
def test_sonew_goes_on_where_nothing_can_be_compiled(broken: str, stream: Any, follow: Any, compare: Any) -> None:
    start, gradients = np.full(12, 0.5), stream(12)
    works = sonew.Compiled(sonew.whole_averages, sonew.conditioned, sonew.spread)

    def without_compiler(*arguments: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    def failing(parameters: Any) -> torch.optim.Optimizer:
        made = twins.SONew(parameters, lr=0.01)
        made._whole = works._replace(**{broken: without_compiler})
        return made

    with pytest.warns(UserWarning, match="no C"):
        ours = follow(failing, start, gradients)
    compare(ours, iter(follow(lambda p: twins.SONew(p, lr=0.01), start, gradients)))
