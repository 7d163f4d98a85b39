"""Which optimizers a PyTorch run can have: the classes of `models_core.optim.torch`, by name."""

from __future__ import annotations

from models_core.optim import torch as twins
from models_core.optim.torch._twin import Twin

_TWINS: dict[str, type[Twin]] = {
    found.kind(): found
    for found in vars(twins).values()
    if isinstance(found, type) and issubclass(found, Twin) and found is not Twin
}
AVAILABLE = tuple(sorted(_TWINS))


def twin(kind: str) -> type[Twin] | None:
    """The class for the optimizer `kind`, None where PyTorch has none."""
    return _TWINS.get(kind)
