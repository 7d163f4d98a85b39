"""What a student is to learn, and which of its batches a teacher judges: the same for JAX and PyTorch, no arrays of
either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models_core.distill.flops import forward_per_token, train_per_token
from models_core.distill.options import (
    Divergence,
    Features,
    FromText,
    HardLabels,
    OnPolicy,
    Sparse,
    TeacherWritten,
)
from models_core.distill.schedules import AnySchedule, weight_at
from models_core.nn.configs import DecoderConfig
from models_core.optim._options import OptimizerOptions

Rows = Callable[[int], np.ndarray]
AnySequences = FromText | OnPolicy | TeacherWritten
Format = Literal["int4_channel", "int4_block", "float8"]
FORMATS: tuple[Format, ...] = ("int4_channel", "int4_block", "float8")


@dataclass(frozen=True)
class Assignment:
    """A student's whole training, in the words of a spec.

    student, teacher: their sizes. teacher_model: parameters or module, None to leave it out. own_rows: of the student's
    embedding. rows(index): tokens [batch, length + 1] of update `index`, counted from 0. vocabulary: ids that exist.
    targets(rows, index): sparse targets, where `sparse` says how they were drawn. translate: the student's tokens for
    the teacher's. micro_batch, chunk: sequences and tokens at once, 0 for all. same_tokens: whether both share ids.
    quantise: the format to whose values the student's matrices are rounded. teacher_temperature: of the teacher alone.
    start: the model that the student begins as; None: fresh weights.
    """

    divergence: Divergence | HardLabels
    student: DecoderConfig
    teacher: DecoderConfig
    teacher_model: Any
    own_rows: int
    optimizer: OptimizerOptions
    warmup_steps: int
    steps: int
    schedule: AnySchedule
    rows: Rows
    vocabulary: int
    seed: int
    sequences: AnySequences | None = None
    sparse: Sparse | None = None
    targets: Callable[[np.ndarray, int], Any] | None = None
    features: Features | None = None
    translate: Callable[[np.ndarray], np.ndarray] | None = None
    same_tokens: bool = True
    micro_batch: int = 0
    chunk: int = 0
    quantise: Format | None = None
    teacher_temperature: float = 1.0
    start: Any = None


class Plan:
    """weights: the teacher's, of every step. own: which batches the student writes. asks_teacher: which are judged."""

    def __init__(
        self,
        divergence: Divergence | HardLabels,
        student: DecoderConfig,
        teacher: DecoderConfig,
        *,
        schedule: AnySchedule,
        steps: int,
        batch: tuple[int, ...],
        vocabulary: int,
        seed: int,
        has_teacher: bool,
        sequences: AnySequences,
    ) -> None:
        soft = not isinstance(divergence, HardLabels)
        peak = divergence.soft_weight if not isinstance(divergence, HardLabels) else 0.0
        self.weights = np.array([weight_at(schedule, step, steps, peak) for step in range(steps)])
        share = sequences.share if isinstance(sequences, OnPolicy) else 0.0
        own = [soft and share > 0 and self.weights[step] > 0 and is_own(seed, step, share) for step in range(steps)]
        self.own = np.array(own, bool)
        # On its own text the student has no true labels: the teacher's judgement is everything.
        self.weights[self.own] = 1.0
        self.asks_teacher = self.weights > 0
        self._counts_own = isinstance(sequences, OnPolicy)
        size, length = batch[0], batch[1] - 1
        sizes = {"vocabulary": vocabulary, "length": length}
        costs = np.full(steps, train_per_token(student, **sizes))
        # Sparse targets from a cache cost nothing here; drawn ones cost the teacher's forward pass.
        costs += self.asks_teacher * has_teacher * forward_per_token(teacher, **sizes)
        costs += self.own * forward_per_token(student, **sizes)
        if isinstance(sequences, TeacherWritten):
            costs += forward_per_token(teacher, **sizes)
        self._tokens = size * length
        self._flops = np.cumsum(costs * self._tokens)

    def counted(self, updates: int) -> dict[str, float]:
        """What a report after `updates` updates says of the work so far."""
        values = {
            "train/tokens": float(self._tokens * updates),
            "train/flops": float(self._flops[updates - 1]),
            "distill/weight": float(self.weights[updates - 1]),
            "distill/taught_batches": float(self.asks_teacher[:updates].sum()),
        }
        if self._counts_own:
            values["distill/own_batches"] = float(self.own[:updates].sum())
        return values


def is_own(seed: int, step: int, share: float) -> bool:
    """Whether batch `step` is written by the student: with probability `share`, a function of (seed, step)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, step]))
    return bool(generator.random() < share)
