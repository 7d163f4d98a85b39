"""`training.backend` for PyTorch."""

from __future__ import annotations

import torch


def prepare(cache_dir: str | None) -> str:
    """Describe the device; nothing is compiled, so nothing is kept in `cache_dir`."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return f"Runs on {device}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads."
