"""The one shape that every workload has for whoever trains on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from models_core.data.order import BatchOrder
from models_core.errors import SpecInvalid
from models_core.training.evaluation import build_evaluation

Examples = Mapping[str, np.ndarray]
Values = Callable[[Any, Any], dict[str, Array]]


@dataclass(frozen=True)
class Problem:
    """A loss over examples.

    init(key): fresh parameters. values(params, examples): numbers of each example by name, shape (batch,), "loss" among
    them. train, test: arrays by name that share their first axis; test is empty where progress is measured on the
    stream itself. shuffled: whether the order of the examples is the seed's. eval_batch: examples evaluated at once.
    note: a line for the log.
    """

    init: Callable[[Key[Array, ""]], Any]
    values: Values
    train: Examples
    test: Examples
    shuffled: bool = True
    eval_batch: int = 500
    note: str = ""

    @property
    def examples(self) -> int:
        """How many there are to train on."""
        return len(next(iter(self.train.values())))

    def order(self, seed: int, batch_size: int) -> BatchOrder:
        """Which examples each step sees; raises SpecInvalid when a batch is larger than the data."""
        if batch_size > self.examples:
            raise SpecInvalid(
                f"A batch of {batch_size} cannot be drawn from {self.examples} examples.",
                fields={"batch_size": f"There are only {self.examples} examples."},
            )
        return BatchOrder(seed, self.examples, batch_size, shuffled=self.shuffled)

    def on_device(self) -> dict[str, Array]:
        """The training examples as `mean_loss` takes them."""
        return {name: jnp.asarray(array) for name, array in self.train.items()}

    def mean_loss(self, params: Any, train: Any, rows: Any) -> Float[Array, ""]:
        """Loss of a batch: the mean over the rows chosen of `train`, a tree of arrays as `on_device` gives it."""
        return jnp.mean(self.values(params, jax.tree.map(lambda array: array[rows], train))["loss"])

    def evaluation(self, examples: Examples, prefix: str) -> Callable[[Any], dict[str, float]]:
        """`evaluate(params)`: the means of all values over `examples`, each under `prefix` + its name."""
        names = tuple(examples)

        def sums(params: Any, *arrays: Any) -> tuple[dict[str, Any], Any]:
            *parts, valid = arrays
            values = self.values(params, dict(zip(names, parts, strict=True)))
            return {f"{prefix}{key}": jnp.sum(value * valid) for key, value in values.items()}, jnp.sum(valid)

        evaluate = build_evaluation(sums, min(self.eval_batch, len(next(iter(examples.values())))))
        return lambda params: evaluate(params, *examples.values())
