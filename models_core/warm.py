"""A spare interpreter: array libraries imported, no backend started, waiting for one request on standard input.

Hides the seconds that importing takes. What a backend reads when it starts (CUDA_VISIBLE_DEVICES, XLA_FLAGS, thread
limits) arrives with the request and is applied before any array is made.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from models_core import catalog
from models_core.errors import SpecInvalid
from models_core.runner import ExitCode, Stop, execute, refuse
from models_core.sinks import Sink
from models_core.spec import Spec, field

_MODULES = (
    "jax",
    "jax.numpy",
    "optax",
    "safetensors.numpy",
    "models_core.checkpoints",
    "models_core.training.step",
)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class _Order(Spec):
    """The one line on standard input."""

    request: dict[str, Any] = field(title="Request", help="What `run` reads from SPEC.json.")
    workdir: str | None = field(None, title="Folder", help="Where artifacts and checkpoints go.")
    resume: str | None = field(None, title="Checkpoint", help="A checkpoint folder to continue from.")
    env: dict[str, str] = field({}, title="Environment", help="Variables to set before the backend starts.")


def serve(stdin: BinaryIO, sink: Sink, stop: Stop, *, cache_dir: str | None = None) -> ExitCode:
    """Announce `ready`, wait for one order, and run it; end of input without an order is a quiet success."""
    for name in _MODULES:
        importlib.import_module(name)
    catalog.recipes()
    sink.emit("ready", pid=os.getpid(), time=time.time())
    line = stdin.readline()
    if not line.strip():
        sink.close()
        return ExitCode.SUCCEEDED
    # Only now: while it waits, a spare interpreter has nothing to save and simply dies of a SIGTERM.
    stop.listen()
    try:
        order = _Order.parse(json.loads(line))
    except SpecInvalid as error:
        return refuse(error, sink)
    except ValueError as error:
        return refuse(SpecInvalid(f"The order is not JSON: {error}"), sink)
    apply_environment(order.env)
    return execute(
        order.request,
        sink=sink,
        stop=stop,
        workdir=Path(order.workdir) if order.workdir else None,
        resume=Path(order.resume) if order.resume else None,
        cache_dir=cache_dir,
    )


def apply_environment(env: Mapping[str, str]) -> None:
    """Set variables, also for what was read when the libraries were imported: jax's own settings and BLAS threads."""
    import jax
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    os.environ.update(env)
    for name, text in env.items():
        option = name.lower()
        if name.startswith("JAX_") and option in jax.config.values:
            jax.config.update(option, _as_type_of(jax.config.values[option], text))  # type: ignore[no-untyped-call]
    limits = [int(env[name]) for name in _THREAD_VARIABLES if env.get(name, "").isdigit()]
    if limits:
        threadpool_limits(min(limits))


def _as_type_of(present: object, text: str) -> object:
    if isinstance(present, bool):
        return text.lower() in ("1", "true", "yes", "on")
    if isinstance(present, int | float):
        return type(present)(text)
    return text
