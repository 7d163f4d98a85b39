"""The environment of a run's process: built from what is allowed, so that no secret of the agent slips through."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

# Names that are passed as they are, and beginnings of names. Nothing that holds an address, a token or a password.
ALLOWED = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "SSL_CERT_FILE"})
ALLOWED_PREFIXES = ("LC_", "NVIDIA_", "NCCL_", "TPU_", "JAX_", "XLA_")
CACHE_VARIABLE = "STILLROOM_CACHE_DIR"


def scrubbed(parent: Mapping[str, str]) -> dict[str, str]:
    """What a run may know of the agent's environment, plus where the model core is."""
    kept = {name: value for name, value in parent.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)}
    kept.setdefault("PATH", os.defpath)
    return {**kept, "PYTHONPATH": str(_model_core_root()), "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}


def of_attempt(devices: Mapping[str, str], *, home: Path, cache: Path) -> dict[str, str]:
    """What one attempt adds: its devices, and folders of its own for everything that libraries like to write."""
    return {**devices, "HOME": str(home), "TMPDIR": str(home / "tmp"), CACHE_VARIABLE: str(cache)}


def _model_core_root() -> Path:
    spec = importlib.util.find_spec("models_core")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("models_core is not installed on this node")
    return Path(next(iter(spec.submodule_search_locations))).resolve().parent
