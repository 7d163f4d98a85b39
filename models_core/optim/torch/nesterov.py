"""Nesterov's accelerated gradient in PyTorch: see `models_core.optim.nesterov` for the rule and its source."""

from __future__ import annotations

from models_core.optim.nesterov import Options
from models_core.optim.torch.sgd import SGD


class Nesterov(SGD):
    """Momentum that looks ahead."""

    options_type = Options
