"""What may be logged: numbers of any library, nested dictionaries, configurations; what may not is named."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from stillroom_client.values import BadValue, plain, scalars, step_number


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        np.float32(1.5),
        np.array([1.5]),
        np.array(1.5, np.float16),
        jnp.asarray(1.5),
        torch.tensor(1.5, requires_grad=True),
        torch.tensor([1.5], dtype=torch.bfloat16),
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}",
)
def test_scalars_of_every_library(value: Any) -> None:
    assert scalars({"x": value}) == {"x": 1.5}


def test_nested_keys_and_what_is_not_finite() -> None:
    found = scalars({"a": {"b": {"c": 1}}, "n": math.nan, "i": -math.inf, "none": None, "t": True})
    assert list(found) == ["a/b/c", "n", "i", "t"]
    assert math.isnan(found["n"])
    assert (found["a/b/c"], found["i"], found["t"]) == (1.0, -math.inf, 1.0)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"loss": "low"}, "loss"),
        ({"deep": {"loss": [1, 2]}}, "deep/loss"),
        ({"v": np.zeros(3)}, "v"),
        ({"": 1}, "''"),
        ({"a" * 257: 1}, "aaa"),
        ({"a\n": 1}, "a"),
        ({"big": 10**400}, "big"),
        ({"a/b": 1, "a": {"b": 2}}, "a/b"),
        ([1], "list"),
    ],
    ids=str,
)
def test_what_cannot_be_logged_is_named(data: Any, place: str) -> None:
    with pytest.raises(BadValue, match=place):
        scalars(data)


def test_a_dictionary_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(BadValue, match="deep"):
        scalars(endless)


@pytest.mark.parametrize(("step", "number"), [(3, 3), (3.0, 3), (np.int64(3), 3), (-1, -1), (torch.tensor(3), 3)])
def test_steps(step: Any, number: int) -> None:
    assert step_number(step) == number


@pytest.mark.parametrize("step", [1.5, math.nan, "3", 2**63, None])
def test_steps_that_are_none(step: Any) -> None:
    with pytest.raises(BadValue, match="step"):
        step_number(step)


@dataclasses.dataclass
class Config:
    lr: float
    path: Path


def test_configurations_become_json() -> None:
    assert plain(Config(0.1, Path("a"))) == {"lr": 0.1, "path": "a"}
    assert plain(argparse.Namespace(n=1, f=math.inf)) == {"n": 1, "f": "Infinity"}
    assert plain({"a": np.arange(2), "b": (1, {2}), "c": np.float32(0.5), 3: None}) == {
        "a": [0, 1],
        "b": [1, [2]],
        "c": 0.5,
        "3": None,
    }
    with pytest.raises(BadValue, match="config"):
        plain([1])


def test_a_configuration_holds_nothing_that_the_platform_would_refuse() -> None:
    given = {"big": 2**70, "small": -(2**63), "text": "a\0b\ud800", "k\0": {"\ud800": [float("inf"), 2**63]}}
    expected = {"big": str(2**70), "small": -(2**63), "text": "ab?", "k": {"?": ["Infinity", str(2**63)]}}
    assert plain(given) == expected
