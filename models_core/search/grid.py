"""Grid search: the same few values of each number in all combinations, in a fixed random order.

A budget below the size of the grid tries a random part of it; a larger one begins again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.search._options import StrategyOptions, kind_field
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.search.space import Space


class Options(StrategyOptions, title="Grid search"):
    """All combinations of a few values."""

    kind: Literal["grid"] = kind_field("grid", "All combinations of a few values.")
    points: int = field(
        3, title="Values", help="Of each number, from its lowest to its highest.", ge=2, le=1000, section="Search"
    )


def build(options: Options, space: Space, seed: int) -> tuple[Any, Any]:
    """Sampler and pruner, see `search.build`."""
    from optuna.pruners import NopPruner
    from optuna.samplers import GridSampler

    values = {name: span.values(options.points) for name, span in space.tuned().items()}
    # The order is the grid's, not the trial's: one seed for all trials.
    return GridSampler(values, seed=0), NopPruner()
