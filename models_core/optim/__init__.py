"""Optimizers: one file each, found by its name. A file holds `Options` (light) and `build`, an optax transformation.

`models_core.optim.optax` offers them as functions (`optax.sonew(1e-3, band=4)`), `models_core.optim.torch` as
`torch.optim.Optimizer` classes (`torch.SONew(model.parameters(), lr=1e-3)`).

Importing this package loads no array library; `build` does.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from models_core.optim._options import OptimizerOptions

if TYPE_CHECKING:
    import optax


@cache
def optimizers() -> Mapping[str, type[OptimizerOptions]]:
    """The options of every optimizer by name, in alphabetical order."""
    # Packages are not optimizers: they offer the same ones to PyTorch and, by name, to optax programs.
    found = (info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg)
    names = sorted(name for name in found if not name.startswith("_"))
    return MappingProxyType({name: importlib.import_module(f"{__name__}.{name}").Options for name in names})


def build(
    options: OptimizerOptions, learning_rate: float | Callable[[Any], Any] | None = None
) -> optax.GradientTransformation:
    """The gradient transformation that `options` describe.

    learning_rate: a step size or a schedule over the number of updates made; `options.lr` when None.
    """
    module = importlib.import_module(f"{__name__}.{options.kind}")
    transformation: optax.GradientTransformation = module.build(
        options, options.lr if learning_rate is None else learning_rate
    )
    return transformation


def state_bytes(options: OptimizerOptions, params: Any) -> int:
    """Memory of the state that `options` ask for with these parameters (a tree of arrays or of shapes), in bytes.

    Nothing is allocated for it.
    """
    import math

    import jax

    state = jax.eval_shape(build(options).init, params)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


if TYPE_CHECKING:
    AnyOptimizer = OptimizerOptions
else:
    # One form control for all: the union of what the files of this folder declare.
    AnyOptimizer = Annotated[Union[tuple(optimizers().values())], Field(discriminator="kind")]  # noqa: UP007
