"""AdamW in PyTorch: see `models_core.optim.adamw` for the rule and its source."""

from __future__ import annotations

from models_core.optim.adamw import Options
from models_core.optim.torch.adam import Adam


class AdamW(Adam):
    """Adam with weight decay."""

    options_type = Options
