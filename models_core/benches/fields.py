"""Form fields that recipes share, in the words of each, and what must hold between them. Light."""

from __future__ import annotations

from typing import Any, Literal

from models_core.data.corpora import StdlibSource
from models_core.data.tokenizer_choice import Bytes
from models_core.nn.start import Fresh
from models_core.spec import field, refuse
from models_core.training.options import torch_optimizers
from models_core.training.workloads import torch_workloads

Framework = Literal["jax", "torch"]


def framework_field() -> Any:
    """The field `framework`."""
    return field("jax", title="Framework", help="What computes.", section="Task")


def length_field() -> Any:
    """The field `length`."""
    return field(64, title="Sequence length", help="Tokens of context.", unit="tokens", ge=8, le=8192, section="Task")


def data_field() -> Any:
    """The field `data`."""
    return field(StdlibSource(), title="Text", help="What is learnt.", section="Task")


def tokenizer_field() -> Any:
    """The field `tokenizer`."""
    return field(
        Bytes(), title="Tokenizer", help="How text becomes tokens, for both models.", section="Task", advanced=True
    )


def teacher_start_field() -> Any:
    """The field `teacher_start`."""
    return field(
        Fresh(),
        title="Teacher begins",
        help="From fresh weights, and is trained first; or it is there already, sizes included, and only judges.",
        section="Model",
    )


def train_bytes_field() -> Any:
    """The field `train_bytes`."""
    return field(
        1_000_000,
        title="Training text",
        help="How much of it to learn from.",
        unit="bytes",
        ge=10_000,
        le=10**10,
        format="bytes",
        section="Task",
        advanced=True,
    )


def padding_field(whose: str) -> Any:
    """The field `teacher_padding` or `student_padding`."""
    return field(
        0,
        title=f"{whose}'s padding",
        help="Embedding rows that no token uses.",
        unit="rows",
        ge=0,
        le=65536,
        section="Model",
        advanced=True,
    )


def warmup_field(default: int, help: str) -> Any:
    """The field `warmup_steps`."""
    return field(default, title="Warm-up", help=help, unit="steps", ge=0, section="Optimizer")


def steps_field(default: int, title: str, help: str) -> Any:
    """A number of updates: `teacher_steps`, `student_steps` or `steps`."""
    return field(default, title=title, help=help, unit="steps", ge=1, le=1_000_000, section="Budget")


def batch_field(default: int, help: str, unit: str, le: int) -> Any:
    """The field `batch_size`."""
    return field(default, title="Batch size", help=help, unit=unit, ge=1, le=le, section="Budget")


def eval_every_field(default: int, help: str) -> Any:
    """The field `eval_every`."""
    return field(default, title="Evaluate every", help=help, unit="steps", ge=1, section="Budget")


def checkpoint_every_field(default: int) -> Any:
    """The field `checkpoint_every`."""
    return field(
        default,
        title="Checkpoint every",
        help="0: only when stopped.",
        unit="steps",
        ge=0,
        section="Budget",
        advanced=True,
    )


def check_optimizer(spec: Any) -> None:
    """Refuse an optimizer that the framework has not."""
    if spec.framework == "torch" and spec.optimizer.kind not in torch_optimizers():
        refuse("optimizer.kind", f"With PyTorch: {', '.join(torch_optimizers())}.")


def check_workload(spec: Any) -> None:
    """Refuse a workload that the framework has not."""
    if spec.framework == "torch" and spec.workload.task not in torch_workloads():
        refuse("workload.task", f"With PyTorch: {', '.join(torch_workloads())}.")


def check_warmup(spec: Any) -> None:
    """Refuse a warm-up that lasts as long as either training."""
    if spec.warmup_steps >= min(spec.teacher_steps, spec.student_steps):
        refuse("warmup_steps", "Must be below the steps of the teacher and of the student.")


def check_rows(spec: Any) -> None:
    """Refuse a batch with more sequences than the text has."""
    rows = spec.train_bytes // spec.length
    if spec.batch_size > rows:
        refuse("batch_size", f"The training text gives only about {rows} sequences of this length.")
