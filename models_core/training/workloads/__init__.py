"""What optimizers are compared on: one file each, found by its name.

A file holds `Options` (light, a part of a recipe's spec) and `build(options)`, the `Problem`. Importing this package
loads no array library; `build` does. `training.torch.workloads` has a file of the same name for PyTorch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from models_core.training.workloads._options import WorkloadOptions

if TYPE_CHECKING:
    from models_core.training.workloads._problem import Problem


@cache
def workloads() -> Mapping[str, type[WorkloadOptions]]:
    """The options of every workload by name, in alphabetical order."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    return MappingProxyType({name: importlib.import_module(f"{__name__}.{name}").Options for name in names})


@cache
def torch_workloads() -> tuple[str, ...]:
    """Names of the workloads that a PyTorch run can have, found without loading PyTorch."""
    found = find_spec("models_core.training.torch.workloads")
    names = pkgutil.iter_modules(found.submodule_search_locations if found else None)
    return tuple(sorted(info.name for info in names if not info.name.startswith("_")))


def build(options: WorkloadOptions) -> Problem:
    """Read the data and make the problem; raises DataInvalid where a file is missing or is not the recorded one."""
    module: Any = importlib.import_module(f"{__name__}.{options.task}")
    problem: Problem = module.build(options)
    return problem


if TYPE_CHECKING:
    AnyWorkload = WorkloadOptions
else:
    # One form control for all: the union of what the files of this folder declare.
    AnyWorkload = Annotated[Union[tuple(workloads().values())], Field(discriminator="task")]  # noqa: UP007
