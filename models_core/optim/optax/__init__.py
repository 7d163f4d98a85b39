"""Every optimizer of this package as a function that returns an optax transformation, by its name.

>>> from models_core.optim import optax
>>> transformation = optax.sonew(1e-3, band=1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models_core import optim

if TYPE_CHECKING:
    from optax import GradientTransformation


def __getattr__(name: str) -> Callable[..., GradientTransformation]:
    """The optimizer `name` as `name(learning_rate=None, **options)`.

    learning_rate: a step size or a schedule over the number of updates made; the option `lr` when None. options: the
    fields of the optimizer's `Options`. Raises SpecInvalid that names the field.
    """
    if name not in optim.optimizers():
        raise AttributeError(f"models_core.optim has no optimizer {name!r}; it has {', '.join(optim.optimizers())}.")

    def create(learning_rate: float | Callable[[Any], Any] | None = None, **options: Any) -> GradientTransformation:
        return optim.build(optim.optimizers()[name].parse({"kind": name, **options}), learning_rate)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = optim.optimizers()[name].__doc__
    return create


def __dir__() -> list[str]:
    return list(optim.optimizers())
