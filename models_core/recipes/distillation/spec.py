"""The form of a distillation: what is learnt, by whom, for how long."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.benches.on_text import LARGER, SMALLER
from models_core.data.corpora import AnyCorpus
from models_core.data.tokenizer_choice import Bytes, FixedTokenizer
from models_core.distill.options import (
    Constant,
    Dense,
    Features,
    ForwardKL,
    FromText,
    HardLabels,
    Mapped,
    Objective,
    OnPolicy,
    Sequences,
    Sparse,
    Targets,
    WeightSchedule,
)
from models_core.nn.configs import DecoderConfig
from models_core.nn.start import AnyStart, Fresh
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse


class Spec(BaseSpec):
    """A teacher, a student, and how one learns from the other."""

    framework: fields.Framework = fields.framework_field()
    distillation: Objective = field(
        ForwardKL(), title="Distillation", help="What the student learns from.", section="Task"
    )
    schedule: WeightSchedule = field(
        Constant(), title="Schedule", help="The teacher's weight over the steps.", section="Task", advanced=True
    )
    targets: Targets = field(
        Dense(), title="Targets", help="How much of the teacher's distribution is used.", section="Task"
    )
    sequences: Sequences = field(
        FromText(), title="Sequences", help="Whose text the student is trained on.", section="Task"
    )
    features: Features | None = field(
        None, title="Feature matching", help="Follow the teacher's inner states, too.", section="Task", advanced=True
    )
    student_tokenizer: Literal["bytes", "ascii"] = field(
        "bytes",
        title="Student's tokenizer",
        help="The teacher's own; or ascii, with one id for all bytes above 127, so that ids do not agree.",
        section="Task",
        advanced=True,
    )
    length: int = fields.length_field()
    data: AnyCorpus = fields.data_field()
    train_bytes: int = fields.train_bytes_field()
    tokenizer: FixedTokenizer = fields.tokenizer_field()
    teacher: DecoderConfig = field(LARGER, title="Teacher", help="The larger model.", section="Model")
    student: DecoderConfig = field(SMALLER, title="Student", help="The smaller model.", section="Model")
    teacher_padding: int = fields.padding_field("Teacher")
    student_padding: int = fields.padding_field("Student")
    quantise: Literal["none", "int4_channel", "int4_block", "float8"] = field(
        "none",
        title="Quantise",
        help="Round the student's matrices in training and use: int4 by column, in blocks of 32, or 8-bit floats.",
        section="Model",
        advanced=True,
    )
    student_start: Literal["fresh", "teacher"] = field(
        "fresh",
        title="Student begins",
        help="From fresh weights, or as a copy of a teacher of its own size: to fine-tune it rounded.",
        section="Model",
        advanced=True,
    )
    teacher_start: AnyStart = fields.teacher_start_field()
    optimizer: AnyOptimizer = field(Adam(lr=0.01), title="Optimizer", help="For both models.", section="Optimizer")
    warmup_steps: int = fields.warmup_field(20, "Steps over which each model's learning rate rises.")
    teacher_steps: int = fields.steps_field(120, "Teacher steps", "Updates of the teacher.")
    student_steps: int = fields.steps_field(120, "Student steps", "Updates of the student.")
    batch_size: int = fields.batch_field(16, "Sequences in one update.", "sequences", 4096)
    micro_batch: int = field(
        0,
        title="Micro-batch",
        help="Sequences at once; 0: all. Less memory, the same update.",
        unit="sequences",
        ge=0,
        section="Budget",
        advanced=True,
    )
    loss_chunk: int = field(
        0,
        title="Loss chunk",
        help="Tokens whose logits exist at once; 0: all.",
        unit="tokens",
        ge=0,
        section="Budget",
        advanced=True,
    )
    eval_every: int = fields.eval_every_field(40, "Steps between evaluations on held-out files.")
    checkpoint_every: int = fields.checkpoint_every_field(200)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fields.check_warmup(self)
        fields.check_rows(self)
        fields.check_optimizer(self)
        if self.student.n_experts and self.micro_batch and self.batch_size % self.micro_batch:
            refuse("micro_batch", "Must divide the batch: routers are judged by whole micro-batches.")
        if not isinstance(self.sequences, FromText) and self.sequences.prompt >= self.length:
            refuse("sequences.prompt", f"Must be below the {self.length} tokens of a sequence.")
        return self

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        sparse, soft = isinstance(self.targets, Sparse), not isinstance(self.distillation, HardLabels)
        if sparse and not isinstance(self.distillation, ForwardKL):
            refuse("targets", "Sparse targets are compared by forward KL.")
        if isinstance(self.targets, Sparse) and self.targets.cached and not isinstance(self.sequences, FromText):
            refuse("targets.cached", "Sequences that are written while training cannot have been cached.")
        if isinstance(self.sequences, OnPolicy) and not soft:
            refuse("sequences", "A student's own text teaches nothing without the teacher's judgement.")
        if self.features is not None:
            if sparse or not soft:
                refuse("features", "Needs the live teacher of a dense objective.")
            last = self.teacher.n_layers if isinstance(self.teacher_start, Fresh) else math.inf
            if any(s > self.student.n_layers or t > last for s, t in self.features.layers):
                refuse("features.layers", "Names a layer that there is not.")
        if self.quantise != "none" and not isinstance(self.sequences, FromText):
            refuse("quantise", "Sequences that are written while training need the student as it is.")
        if self.student_tokenizer != "bytes":
            if not isinstance(self.tokenizer, Bytes):
                refuse("student_tokenizer", "Only the teacher whose tokens are bytes has a student with others.")
            if soft and not isinstance(self.distillation, Mapped):
                refuse(
                    "student_tokenizer",
                    "The teacher's ids mean other things: only sorted probabilities compare across tokenizers.",
                )
            if not isinstance(self.sequences, FromText):
                refuse("sequences", "Written sequences need one tokenizer for both models.")
        return self

    @model_validator(mode="after")
    def _begins(self) -> Self:
        if self.student_start == "teacher":
            if not self.needs_teacher:
                refuse("student_start", "No teacher is trained in this run.")
            trained = isinstance(self.teacher_start, Fresh)
            if (trained and self.student != self.teacher) or self.student_tokenizer != "bytes":
                refuse("student_start", "The student must have the teacher's sizes and tokenizer.")
            if self.student_padding != self.teacher_padding:
                refuse("student_padding", "The student must have the teacher's rows.")
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is trained in the run."""
        if isinstance(self.targets, Sparse) and self.targets.cached:
            return False
        return not isinstance(self.distillation, HardLabels) or self.sequences.kind == "teacher"
