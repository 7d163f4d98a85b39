"""Federated algorithms: one file each, found by its name. A file holds `Options` (light), `plan` and `build`.

`plan` decides on the host who trains when, from which model, and with what weight; `build` says what the server does
with the sums; `simulation.engine` carries both out. Importing this package loads no array library.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from models_core.federated._options import AlgorithmOptions

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule
    from models_core.federated.simulation.schedule import Fleet, Schedule


@cache
def algorithms() -> Mapping[str, type[AlgorithmOptions]]:
    """The options of every algorithm by name, in alphabetical order."""
    found = pkgutil.iter_modules(__path__)
    names = sorted(info.name for info in found if not info.ispkg and not info.name.startswith("_"))
    return MappingProxyType({name: importlib.import_module(f"{__name__}.{name}").Options for name in names})


def plan(options: AlgorithmOptions, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Who reports to each of `steps` server steps, or to as many as end by `until_s`; a pure function.

    Raises SpecInvalid when not one step ends in time or no client can be reached.
    """
    module = importlib.import_module(f"{__name__}.{options.kind}")
    schedule: Schedule = module.plan(options, fleet, steps=steps, until_s=until_s)
    return schedule


def build(options: AlgorithmOptions) -> Rule:
    """What the server does with the reports."""
    module = importlib.import_module(f"{__name__}.{options.kind}")
    rule: Rule = module.build(options)
    return rule


if TYPE_CHECKING:
    AnyAlgorithm = AlgorithmOptions
else:
    # One form control for all: the union of what the files of this folder declare.
    AnyAlgorithm = Annotated[Union[tuple(algorithms().values())], Field(discriminator="kind")]  # noqa: UP007
