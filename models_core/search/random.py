"""Random search: every trial is drawn anew, whatever the others found.

Source: Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012. The draws depend on seed and
trial number alone: every optimizer that is tuned with the same seed and space gets the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.search._options import StrategyOptions, kind_field

if TYPE_CHECKING:
    from models_core.search.space import Space


class Options(StrategyOptions, title="Random search"):
    """Independent draws; the same for every optimizer."""

    kind: Literal["random"] = kind_field("random", "Independent draws; the same for every optimizer.")


def build(options: Options, space: Space, seed: int) -> tuple[Any, Any]:
    """Sampler and pruner, see `search.build`."""
    from optuna.pruners import NopPruner
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed), NopPruner()
