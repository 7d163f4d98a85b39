"""What an algorithm does on the device: `Rule`, the half of it that the engine calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key

from models_core.federated._server import ServerOptimizer

Params = Any


class Sums(NamedTuple):
    """The weighted sums of a step: of deltas by `weight` and by `late_weight`; fresh, stale: how many each holds.

    root: the key of the rules' own randomness, the same in
    every step. controls: the sum of the changes of the clients' control variates divided by the number of all
    clients (SCAFFOLD), else ().
    """

    change: Params
    late: Params
    fresh: Int[Array, ""]
    stale: Int[Array, ""]
    root: Key[Array, ""]
    controls: Params = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """init(params) -> state; apply(params, state, sums) -> params, state; shown(params, state): what is evaluated.

    teacher(params, next_params, state, sums): the model written into the ring of teachers at the end of a step, None
    without such a ring. late: whether the second sum is needed. anchor: deltas are taken from the model a client
    began with, or from the present one. prox_mu: of the clients' proximal term. distill_weight, temperature: of their
    distillation term, used when the rule has teachers of its own. controls: whether clients keep control variates.
    clip: the largest norm of a delta, 0 for any; a rule that sets it adds its own noise.
    """

    init: Callable[[Params], Any]
    apply: Callable[[Params, Any, Sums], tuple[Params, Any]]
    shown: Callable[[Params, Any], Params] = lambda params, state: params
    teacher: Callable[[Params, Params, Any, Sums], Params] | None = None
    late: bool = False
    anchor: Literal["begin", "present"] = "begin"
    prox_mu: float = 0.0
    distill_weight: float = 0.0
    temperature: float = 1.0
    controls: bool = False
    clip: float = 0.0


def server_rule(
    optimizer: ServerOptimizer, *, prox_mu: float = 0.0, anchor: Literal["begin", "present"] = "begin"
) -> Rule:
    """The rule of an algorithm that hands the first sum to a server optimizer."""

    def apply(params: Params, state: Any, sums: Sums) -> tuple[Params, Any]:
        return optimizer.apply(params, state, sums.change)

    return Rule(optimizer.init, apply, prox_mu=prox_mu, anchor=anchor)


def norm(tree: Params) -> Float[Array, ""]:
    """The Euclidean norm over all leaves."""
    total: Array = jax.numpy.sqrt(sum(jax.numpy.sum(leaf * leaf) for leaf in jax.tree.leaves(tree)))
    return total
