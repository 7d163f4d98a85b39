"""SALT: a small teacher for the first steps of a larger student.

Trains a small decoder, then a larger one: for a share of its steps towards the small one's distribution, afterwards on
the text alone; optimizer and learning-rate schedule run through. SALT_DS also chooses the sequences of the first stage:
hard for an early checkpoint of the small model, yet learnable. A share of 0 is the baseline, of 1 distillation
throughout (RKD). A small model that is there already may teach, which then scores as it is. In JAX or PyTorch. A
reconstruction from the abstract and public accounts of Rawat et al., 2024 (arXiv 2410.18779): weight, temperature and
score are settings to sweep, not the paper's verified values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.benches.measures import STUDENT_METRICS, TEACHER_METRICS, TEXT_METRICS
from models_core.benches.on_text import LARGER, SAMPLE_TOKENS, SMALLER, VALIDATION_BYTES, OnText
from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.data.corpora import AnyCorpus
from models_core.data.tokenizer_choice import FixedTokenizer
from models_core.distill.options import ForwardKL, LinearWeight, StepWeight
from models_core.events import Artifact, Context, Event, Log
from models_core.nn.configs import DecoderConfig
from models_core.nn.start import AnyStart
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "3"
FAMILY = "distillation"


class Selection(BaseSpec):
    """SALT_DS: the first stage sees sequences that are hard for the scorer, yet learnable."""

    k: int = field(
        10,
        title="Top-k",
        help="A position counts when its token is among so many of the scorer's.",
        ge=1,
        section="Task",
    )
    min_kept: int = field(
        8, title="Least positions", help="Sequences with fewer that count are out.", unit="tokens", ge=1, section="Task"
    )
    scorer_share: float = field(
        0.5, title="Scorer", help="Share of the teacher's steps after which it scores.", gt=0, le=1, section="Task"
    )


class Spec(BaseSpec):
    """A small teacher, a larger student, and when the one leaves the other."""

    framework: fields.Framework = fields.framework_field()
    kd_share: float = field(
        0.17,
        title="First stage",
        help="Share of the student's steps with the teacher; 0: baseline.",
        ge=0,
        le=1,
        section="Task",
    )
    decay: Literal["step", "linear"] = field(
        "step", title="Decay", help="How the teacher's weight falls to 0 by the end of the stage.", section="Task"
    )
    soft_weight: float = field(
        0.667,
        title="Weight of the teacher",
        help="In the first stage; the rest is the text's loss.",
        ge=0,
        le=1,
        section="Task",
    )
    temperature: float = field(
        0.25,
        title="Temperature",
        help="Below 1 sharpens.",
        ge=0.05,
        le=20,
        section="Task",
    )
    tempers: Literal["teacher", "both"] = field(
        "teacher",
        title="Temperature of",
        help="The teacher alone: its sharpened words are the labels; or both, as in ordinary distillation.",
        section="Task",
        advanced=True,
    )
    t_squared: bool = field(
        False,
        title="Times temperature squared",
        help="Where both have it; below 1 it would all but switch the teacher off.",
        section="Task",
        advanced=True,
    )
    selection: Selection | None = field(
        None, title="Selection", help="Choose the sequences of the first stage (SALT_DS).", section="Task"
    )
    length: int = fields.length_field()
    data: AnyCorpus = fields.data_field()
    train_bytes: int = fields.train_bytes_field()
    tokenizer: FixedTokenizer = fields.tokenizer_field()
    teacher: DecoderConfig = field(SMALLER, title="Teacher", help="The small model.", section="Model")
    student: DecoderConfig = field(LARGER, title="Student", help="The larger model.", section="Model")
    teacher_start: AnyStart = fields.teacher_start_field()
    optimizer: AnyOptimizer = field(Adam(lr=0.01), title="Optimizer", help="For both models.", section="Optimizer")
    warmup_steps: int = fields.warmup_field(20, "Steps over which each model's learning rate rises.")
    teacher_steps: int = fields.steps_field(150, "Teacher steps", "Updates of the teacher.")
    student_steps: int = fields.steps_field(200, "Student steps", "Updates of the student.")
    batch_size: int = fields.batch_field(16, "Sequences in one update.", "sequences", 4096)
    eval_every: int = fields.eval_every_field(20, "Steps between evaluations on held-out files.")
    checkpoint_every: int = fields.checkpoint_every_field(200)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fields.check_warmup(self)
        fields.check_rows(self)
        fields.check_optimizer(self)
        if self.selection and self.selection.min_kept > self.length:
            refuse("selection.min_kept", f"A sequence has only {self.length} positions.")
        if self.t_squared and self.tempers == "teacher":
            refuse("t_squared", "The student has no temperature whose effect it would undo.")
        return self

    @property
    def n_kd(self) -> int:
        """Updates of the first stage."""
        return round(self.kd_share * self.student_steps)


EXAMPLES = (
    Example("The teacher for the first 17 % of the steps", Spec(), cost_s=28),
    Example("SALT_DS: hard but learnable sequences first", Spec(selection=Selection()), cost_s=30),
    Example("The baseline", Spec(kd_share=0.0), cost_s=27),
)

TEMPLATES = (
    StudyTemplate(
        "salt",
        "SALT, its variants and its controls",
        "Plain training, the teacher throughout, SALT with a step and with a line, SALT_DS; and three controls: the "
        "baseline ended at 70 % of the steps with its own schedule, the baseline with the operations that SALT spends, "
        "and the selected sequences without a teacher. Read it over steps and over train/flops.",
        arms={
            "baseline": {"kd_share": 0.0},
            "RKD": {"kd_share": 1.0},
            "SALT step": {},
            "SALT linear": {"decay": "linear"},
            "SALT_DS": {"selection": {}},
            "baseline, 70 % of the steps": {"kd_share": 0.0, "student_steps": 140},
            # Stage one costs a forward pass of the teacher a token: about 1.7 % of this student's training at 17 %.
            "baseline, same FLOPs": {"kd_share": 0.0, "student_steps": 203},
            "selected, no teacher": {"selection": {}, "soft_weight": 0.0},
        },
        seeds=(0, 1, 2),
        baseline="baseline",
        x="train/flops",
    ),
    StudyTemplate(
        "salt_length",
        "How long the teacher should stay",
        "First stages of 0 to 100 % of the student's steps.",
        arms={f"{percent} %": {"kd_share": percent / 100} for percent in (0, 5, 10, 17, 30, 100)},
        seeds=(0, 1, 2),
        baseline="0 %",
    ),
)

METRICS = (
    *TEXT_METRICS,
    *TEACHER_METRICS,
    MetricInfo("eval/nll_easy", "nats/token", "min", "On the third of tokens that are easiest for the teacher."),
    MetricInfo("eval/nll_medium", "nats/token", "min", "On the middle third."),
    MetricInfo("eval/nll_hard", "nats/token", "min", "On the third that is hardest for the teacher."),
    MetricInfo("train/hard_loss", "nats/token", "min", "Student's loss on the training text."),
    MetricInfo("train/flops", "FLOP", None, "Student's training, the teacher's forward passes and the scoring."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train the teacher, choose sequences, train the student in two stages; see the module's docstring."""
    import numpy as np

    from models_core import benches
    from models_core.data.order import BatchOrder
    from models_core.distill import flops, salt
    from models_core.distill.plan import Assignment
    from models_core.training import phases
    from models_core.training.pacing import Pacing

    bench, device = benches.bench(spec.framework, ctx.seed, ctx.cache_dir)
    yield Log(device)
    given = OnText(bench, spec, seed=ctx.seed, validation_bytes=VALIDATION_BYTES)
    text, vocabulary = given.text, given.vocabulary
    teachers, teacher_steps = given.beginning, given.teacher_steps
    pacing = Pacing(teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)
    counts = [teachers.config.parameter_count(teachers.rows), spec.student.parameter_count(vocabulary)]
    yield Log(
        f"Teacher {counts[0]:,} parameters, student {counts[1]:,}; the first stage has {spec.n_kd} of "
        f"{spec.student_steps} steps; text {text.fingerprint[:12]}."
    )

    scorer: dict[str, Any] = {}
    scorer_at = max(1, round(spec.selection.scorer_share * spec.teacher_steps)) if spec.selection else -1

    def remember(state: Any, updates: int) -> None:
        if updates == scorer_at:
            scorer.update(bench.arrays(state.params, "scorer."))

    if ctx.resume is not None:
        scorer.update({name: array for name, array in ctx.resume.arrays.items() if name.startswith("scorer.")})
    teacher = yield from given.learnt_teacher(ctx, pacing, watch=remember, kept=lambda: scorer)
    if teacher is None:
        return
    selected = None if ctx.resume is None else ctx.resume.arrays.get("selected")
    # The checkpoints of the student's phase hold what was selected, and no scorer.
    if spec.selection and spec.n_kd and selected is None:
        early = teacher
        if teacher_steps:
            held = {name.removeprefix("scorer."): array for name, array in scorer.items()}
            early = bench.loaded(teachers.config, teachers.rows, held)
        losses, kept = bench.judge_rows(early, teachers.config, text.train, k=spec.selection.k)
        found = salt.scores(losses, kept, min_kept=spec.selection.min_kept)
        selected = salt.select(found, count=spec.n_kd * spec.batch_size, least=spec.batch_size)
    scoring = 0.0
    if selected is not None:
        cost = flops.forward_per_token(teachers.config, vocabulary=vocabulary, length=spec.length)
        scoring = cost * len(text.train) * spec.length
        yield Log(f"The first stage sees {len(selected):,} of {len(text.train):,} sequences.")
    first_order = None if selected is None else BatchOrder(ctx.seed, len(selected), spec.batch_size)

    def rows(index: int) -> np.ndarray:
        if selected is not None and first_order is not None and index < spec.n_kd:
            chosen: np.ndarray = text.train[selected[first_order.at(index)]]
            return chosen
        return given.rows(index)

    schedules_of: dict[str, StepWeight | LinearWeight] = {
        "step": StepWeight(until=spec.kd_share),
        "linear": LinearWeight(until=spec.kd_share),
    }
    both = spec.tempers == "both"
    divergence = ForwardKL(
        temperature=spec.temperature if both else 1.0, t_squared=spec.t_squared, soft_weight=spec.soft_weight
    )
    lessons, state = bench.lessons(
        Assignment(
            divergence=divergence,
            student=spec.student,
            teacher=teachers.config,
            teacher_model=teacher,
            teacher_temperature=1.0 if both else spec.temperature,
            own_rows=vocabulary,
            optimizer=spec.optimizer,
            warmup_steps=spec.warmup_steps,
            steps=spec.student_steps,
            schedule=schedules_of[spec.decay],
            rows=rows,
            vocabulary=vocabulary,
            seed=ctx.seed,
        )
    )
    # Which tokens are hard is the finished teacher's judgement, once; it is not asked again after the first stage.
    third = salt.terciles(bench.judge_rows(teacher, teachers.config, text.validation, k=1)[0])
    evaluate = bench.evaluation(spec.student, text.validation, third)
    kept_arrays = bench.arrays(teacher, "teacher.") | ({} if selected is None else {"selected": np.asarray(selected)})

    def counted(updates: int) -> dict[str, float]:
        values: dict[str, float] = lessons.counted(updates)
        return values | {"train/flops": values["train/flops"] + scoring}

    finished = yield from phases.train(
        phases.Phase(
            name="student",
            offset=teacher_steps,
            steps=spec.student_steps,
            advance=lessons.advance,
            metrics=STUDENT_METRICS,
            evaluate=lambda params: evaluate(bench.student(params)),
            tokens_per_step=spec.batch_size * spec.length,
            kept=lambda: kept_arrays,
            counted=counted,
            keeping=bench.keeping,
        ),
        ctx,
        pacing,
        state,
    )
    if finished is None:
        return
    student = bench.student(finished.params)
    yield from given.written("sample.txt", student, spec.student, SAMPLE_TOKENS)
    yield from given.written("teacher_sample.txt", teacher, teachers.config, SAMPLE_TOKENS)
    yield Artifact("student.safetensors", bench.exported(student))
