"""The device a run is on, and where its compiled code is kept."""

from __future__ import annotations

import jax

from models_core.training.heap import keep_freed_memory


def prepare(cache_dir: str | None) -> str:
    """Point jax's persistent compilation cache to `cache_dir`, if there is one, start the backend and describe it."""
    keep_freed_memory()
    if cache_dir:
        jax.config.update("jax_compilation_cache_dir", cache_dir)  # type: ignore[no-untyped-call]
        # Small models compile in tenths of a second a function; the default keeps only what took a whole one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # type: ignore[no-untyped-call]
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # type: ignore[no-untyped-call]
    devices = jax.devices()
    return f"Runs on {len(devices)} x {devices[0].device_kind} ({devices[0].platform}), jax {jax.__version__}."
