"""Federated algorithms: one file each, found by its name. A file holds `Options` (light) and `plan`.

`plan` decides on the host who trains when, from which model, and with what weight; `simulation.engine` carries it out.
Importing this package loads no array library.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from models_core.federated._options import AlgorithmOptions

if TYPE_CHECKING:
    from models_core.federated.simulation.schedule import Fleet, Schedule


@cache
def algorithms() -> Mapping[str, type[AlgorithmOptions]]:
    """The options of every algorithm by name, in alphabetical order."""
    found = pkgutil.iter_modules(__path__)
    names = sorted(info.name for info in found if not info.ispkg and not info.name.startswith("_"))
    return MappingProxyType({name: importlib.import_module(f"{__name__}.{name}").Options for name in names})


def plan(options: AlgorithmOptions, fleet: Fleet, *, steps: int) -> Schedule:
    """Who reports to each of `steps` server steps; a pure function of its arguments."""
    module = importlib.import_module(f"{__name__}.{options.kind}")
    schedule: Schedule = module.plan(options, fleet, steps=steps)
    return schedule


if TYPE_CHECKING:
    AnyAlgorithm = AlgorithmOptions
else:
    # One form control for all: the union of what the files of this folder declare.
    AnyAlgorithm = Annotated[Union[tuple(algorithms().values())], Field(discriminator="kind")]  # noqa: UP007
