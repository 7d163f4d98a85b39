"""Asynchronous successive halving: random draws, of which the worse ones are given up early.

Source: Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020, algorithm 2; Optuna's pruner.
Rung r is at report number first * factor^r; a trial goes on from a rung when it is among the best 1/factor of all that
came to it so far. Reduces to: random search when `first` is above the number of reports.
Deviates: trials run one after the other, and one that was given up is never taken up again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.search._options import StrategyOptions, kind_field
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.search.space import Space


class Options(StrategyOptions, title="Successive halving (ASHA)"):
    """Random draws, the worse given up early."""

    kind: Literal["asha"] = kind_field("asha", "Random draws, the worse given up early.")
    first: int = field(
        2, title="First rung", help="Evaluations before a trial may be given up.", ge=1, le=10_000, section="Search"
    )
    factor: int = field(3, title="Factor", help="One in this many goes on from a rung.", ge=2, le=10, section="Search")

    @property
    def gives_up(self) -> bool:
        return True


def build(options: Options, space: Space, seed: int) -> tuple[Any, Any]:
    """Sampler and pruner, see `search.build`."""
    from optuna.pruners import SuccessiveHalvingPruner
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed), SuccessiveHalvingPruner(
        min_resource=options.first, reduction_factor=options.factor
    )
