"""Runs one recipe in this process: events out, artifacts and checkpoints to disk, and a clean stop on SIGTERM.

This is the only place where a recipe's events become I/O. It knows nothing of the platform that may have started it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

from models_core import catalog, checkpoints
from models_core.errors import CoreError, SpecInvalid, UnknownRecipe
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress, encode_float
from models_core.sinks import Sink
from models_core.spec import Spec, field

CACHE_DIR_VARIABLE = "STILLROOM_CACHE_DIR"


class ExitCode(IntEnum):
    """What the process tells whoever started it."""

    SUCCEEDED = 0
    FAILED = 1
    BAD_SPEC = 2
    STOPPED = 3


class _Document(Spec):
    """The JSON form of a request."""

    recipe: str = field(title="Recipe", help="The recipe's name.")
    spec: dict[str, Any] = field({}, title="Spec", help="The recipe's spec.")
    seed: int = field(0, title="Seed", help="Every random stream derives from it.", ge=0, lt=2**31)


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request to run."""

    recipe: catalog.Recipe
    spec: Spec
    seed: int

    @classmethod
    def parse(cls, payload: object) -> Request:
        """Validate `{"recipe", "spec", "seed"}`; raises SpecInvalid or UnknownRecipe with field locations."""
        document = _Document.parse(payload)
        recipe = catalog.recipe(document.recipe)
        try:
            spec = recipe.parse(document.spec)
        except SpecInvalid as error:
            fields = {f"spec.{where}".rstrip("."): text for where, text in error.fields.items()}
            raise SpecInvalid(error.message, fields=fields) from None
        return cls(recipe, spec, document.seed)

    @property
    def identity(self) -> checkpoints.Identity:
        """What ties a checkpoint to this request."""
        return checkpoints.Identity(self.recipe.name, self.recipe.version, self.recipe.hash(self.spec), self.seed)


class Stop:
    """A wish to stop, raised by SIGTERM or by Ctrl-C; later SIGTERMs change nothing, a second Ctrl-C interrupts."""

    def __init__(self) -> None:
        self.asked = False
        self.seen = False

    def listen(self) -> None:
        """Install the handlers; only in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Writer:
    """Turns a recipe's events into files and lines."""

    def __init__(self, workdir: Path, identity: checkpoints.Identity, sink: Sink) -> None:
        self._workdir = workdir
        self._identity = identity
        self._sink = sink

    def write(self, event: Event) -> None:
        match event:
            case Metric(step=step, values=values):
                numbers = {key: encode_float(float(value)) for key, value in values.items()}
                self._sink.emit("metric", step=step, time=time.time(), values=numbers)
            case Log(message=message, level=level):
                self._sink.emit("log", level=level, message=message, time=time.time())
            case Progress(step=step, total=total, note=note):
                self._sink.emit("progress", step=step, total=total, note=note)
            case Artifact():
                self._artifact(event)
            case Checkpoint(step=step):
                folder, files = checkpoints.save(self._workdir / "checkpoints", event, self._identity)
                path = folder.relative_to(self._workdir).as_posix()
                self._sink.emit("checkpoint", step=step, path=path, files=[asdict(file) for file in files])

    def _artifact(self, artifact: Artifact) -> None:
        path = _artifact_path(self._workdir / "artifacts", artifact.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        checkpoints.write_file(temporary, artifact.content)
        temporary.replace(path)
        self._sink.emit(
            "artifact",
            name=artifact.name,
            path=path.relative_to(self._workdir).as_posix(),
            media_type=artifact.media_type,
            size_bytes=len(artifact.content),
            sha256=hashlib.sha256(artifact.content).hexdigest(),
        )


def _artifact_path(root: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    clean = bool(parts) and not name.startswith("/") and not {"..", "."} & set(name.split("/"))
    if not clean or "\\" in name or "\0" in name or name.endswith("/"):
        raise CoreError(f"The artifact name {name!r} is not a relative path inside the run.", code="artifact.name")
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        raise CoreError(f"The artifact {name!r} would be written outside of the run.", code="artifact.name")
    return path


def execute(
    payload: object,
    *,
    sink: Sink,
    stop: Stop,
    workdir: Path | None = None,
    resume: Path | None = None,
    cache_dir: str | None = None,
) -> ExitCode:
    """Validate the request in `payload` and `run` it; a request that is not valid is refused."""
    try:
        request = Request.parse(payload)
    except (SpecInvalid, UnknownRecipe) as error:
        return refuse(error, sink)
    return run(request, sink=sink, stop=stop, workdir=workdir, resume=resume, cache_dir=cache_dir)


def run(
    request: Request,
    *,
    sink: Sink,
    stop: Stop,
    workdir: Path | None = None,
    resume: Path | None = None,
    cache_dir: str | None = None,
) -> ExitCode:
    """Run a request to its end and emit every event, the last of which is `end`.

    workdir: where artifacts and checkpoints go; by default runs/<recipe>-<spec hash>-<seed>.
    resume: a checkpoint folder to continue from. cache_dir: see `Context.cache_dir`.
    """
    identity = request.identity
    if workdir is None:
        workdir = Path("runs", f"{identity.recipe}-{identity.spec_hash[:8]}-{identity.seed}")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        context = Context(
            seed=request.seed,
            should_stop=lambda: _see(stop, sink),
            resume=checkpoints.load(resume, identity) if resume else None,
            cache_dir=cache_dir or os.environ.get(CACHE_DIR_VARIABLE) or None,
        )
        writer = _Writer(workdir, identity, sink)
        for event in request.recipe.run(request.spec, context):
            writer.write(event)
    except (Exception, KeyboardInterrupt) as error:
        return _end(sink, ExitCode.FAILED, _described(error))
    return _end(sink, ExitCode.STOPPED if stop.seen else ExitCode.SUCCEEDED, None)


def refuse(error: CoreError, sink: Sink) -> ExitCode:
    """Say what is wrong with a request, on stderr one line a field, and end."""
    print(error.message, file=sys.stderr)
    for where, text in error.fields.items():
        print(f"  {where or '(document)'}: {text}", file=sys.stderr)
    described = {"code": error.code, "message": error.message, "fields": error.fields, "traceback": None}
    return _end(sink, ExitCode.BAD_SPEC, described)


def _see(stop: Stop, sink: Sink) -> bool:
    """What `should_stop` answers. A reader that has gone will never take the result: stop and keep a checkpoint."""
    stop.seen = stop.seen or stop.asked or sink.broken
    return stop.seen


def _end(sink: Sink, code: ExitCode, error: Mapping[str, Any] | None) -> ExitCode:
    status = {ExitCode.SUCCEEDED: "succeeded", ExitCode.STOPPED: "stopped"}.get(code, "failed")
    sink.emit("end", status=status, error=error)
    sink.close()
    return code


def _described(error: BaseException) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}"
    fields: Mapping[str, str] = {}
    if isinstance(error, CoreError):
        code, message, fields = error.code, error.message, error.fields
    elif isinstance(error, KeyboardInterrupt):
        code, message = "run.interrupted", "The run was interrupted before it could stop by itself."
    elif isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        code, message = "run.out_of_memory", f"The run needs more memory than there is. {text}"
    else:
        code, message = "run.crashed", text
    trace = "".join(traceback.format_exception(error))
    return {"code": code, "message": message, "fields": dict(fields), "traceback": trace}
