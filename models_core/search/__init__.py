"""Hyper-parameter search: strategies, one file each, found by its name; all through Optuna.

A file holds `Options` (light) and `build(options, space, seed)`, an Optuna sampler and pruner. Importing this package
loads no library; `search.ledger` does the asking and telling.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from models_core.search._options import StrategyOptions

if TYPE_CHECKING:
    from models_core.search.space import Space

# Modules of this folder that are no strategies.
_OTHERS = frozenset({"ledger", "space"})


@cache
def strategies() -> Mapping[str, type[StrategyOptions]]:
    """The options of every strategy by name, in alphabetical order."""
    found = (info.name for info in pkgutil.iter_modules(__path__))
    names = sorted(name for name in found if not name.startswith("_") and name not in _OTHERS)
    return MappingProxyType({name: importlib.import_module(f"{__name__}.{name}").Options for name in names})


def build(options: StrategyOptions, space: Space, seed: int) -> tuple[Any, Any]:
    """An Optuna sampler and pruner for the next trial. seed: below 2**32."""
    module: Any = importlib.import_module(f"{__name__}.{options.kind}")
    sampler, pruner = module.build(options, space, seed)
    return sampler, pruner


if TYPE_CHECKING:
    AnyStrategy = StrategyOptions
else:
    AnyStrategy = Annotated[Union[tuple(strategies().values())], Field(discriminator="kind")]  # noqa: UP007
