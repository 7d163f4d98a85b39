"""Tree-structured Parzen estimator: draws where good trials are denser than bad ones.

Source: Bergstra, Bardenet, Bengio and Kegl, "Algorithms for hyper-parameter optimization", NeurIPS 2011, section 4;
Optuna's. Reduces to: random search for the first `startup` trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.search._options import StrategyOptions, kind_field
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.search.space import Space


class Options(StrategyOptions, title="Parzen estimator (TPE)"):
    """Draws where good trials are dense."""

    kind: Literal["tpe"] = kind_field("tpe", "Draws where good trials are dense.")
    startup: int = field(
        5, title="Random trials", help="Drawn before the first guided one.", unit="trials", ge=1, le=1000,
        section="Search",
    )  # fmt: skip


def build(options: Options, space: Space, seed: int) -> tuple[Any, Any]:
    """Sampler and pruner, see `search.build`."""
    from optuna.pruners import NopPruner
    from optuna.samplers import TPESampler

    return TPESampler(n_startup_trials=options.startup, seed=seed), NopPruner()
