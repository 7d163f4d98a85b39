"""`training.backend` for PyTorch."""

from __future__ import annotations

import torch

from models_core.training.heap import keep_freed_memory


def prepare(cache_dir: str | None) -> str:
    """Describe the device; nothing is compiled, so nothing is kept in `cache_dir`."""
    keep_freed_memory()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return f"Runs on {device}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads."
