"""SCAFFOLD: control variates take the drift of the clients out of their steps.

Source: Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning", ICML 2020 (arXiv
1910.06378), algorithm 1 with option II.

    client:  y -= lr (g(y) - c_i + c) ;  c_i' = c_i - c + (w - y) / (steps lr)
    server:  w += server_lr sum(weight_i (y_i - w)) ;  c += sum(c_i' - c_i) / N ,  N all clients, not the cohort

c and all c_i start at 0, so that c stays the mean of all c_i.
Deviates: weights follow `weighting` ("equal" is the paper's and the default here).
Reduces to: FedAvg with equal weights in the first round, in which all controls are 0.
Cost: a number a parameter for *every client of the fleet* on the device, and twice the traffic.

>>> Options().weighting
'equal'
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from models_core.federated import _rounds
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule, Sums
    from models_core.federated.simulation.schedule import Fleet, Schedule


class Options(_rounds.RoundOptions, title="SCAFFOLD"):
    """Federated averaging with control variates."""

    kind: Literal["scaffold"] = field("scaffold", title="Algorithm", help="Control variates.", section="Algorithm")
    weighting: Literal["examples", "equal"] = field(
        "equal", title="Weights", help="By examples, or all equal.", section="Algorithm", advanced=True
    )


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds in which late reports are thrown away."""
    return _rounds.plan_rounds(options, fleet, steps=steps, until_s=until_s)


def build(options: Options) -> Rule:
    """The state is c; the engine keeps every c_i and hands over the sum of their changes divided by N."""
    import jax
    import jax.numpy as jnp

    from models_core.federated.simulation.rule import Rule

    def apply(params: Any, control: Any, sums: Sums) -> tuple[Any, Any]:
        moved = jax.tree.map(lambda w, d: w + options.server_lr * d, params, sums.change)
        return moved, jax.tree.map(jnp.add, control, sums.controls)

    return Rule(lambda params: jax.tree.map(jnp.zeros_like, params), apply, controls=True)
