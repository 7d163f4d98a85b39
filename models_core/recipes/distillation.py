"""Distillation of a small decoder from a larger one.

Trains a byte-level decoder (the teacher) on the Python standard library's source, then a smaller one (the student) on
the same text, either towards the teacher's distribution (forward KL) or on the text alone (the baseline, which needs no
teacher and skips its phase). Steps count through both phases; `train/tokens` counts the student's tokens alone and so
compares the two.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models_core.catalog import Example, MetricInfo
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.nn.configs import DecoderConfig
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

if TYPE_CHECKING:
    from models_core.data.order import BatchOrder
    from models_core.data.stdlib_text import Text
    from models_core.training.pacing import Pacing
    from models_core.training.step import LossFn

VERSION = "1"
FAMILY = "distillation"
VALIDATION_BYTES = 40_000
SAMPLE_PROMPT = "def "
SAMPLE_TOKENS = 200
TEACHER_METRICS = {"loss": "teacher/loss", "nll": "teacher/eval_nll", "grad_norm": "optim/grad_norm"}
STUDENT_METRICS = {
    "loss": "train/loss",
    "hard_loss": "train/hard_loss",
    "forward_kl": "distill/forward_kl",
    "tokens": "train/tokens",
    "nll": "eval/nll",
    "grad_norm": "optim/grad_norm",
}

TEACHER = DecoderConfig(
    n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=24, d_ff=192, window=24, global_every=2
)
STUDENT = DecoderConfig(
    n_layers=2, d_model=32, n_heads=2, n_kv_heads=1, head_dim=24, d_ff=96, window=24, global_every=2
)


class ForwardKL(BaseSpec, title="Forward KL"):
    """Learn the teacher's distribution, mixed with the text itself."""

    mode: Literal["forward_kl"] = field(
        "forward_kl", title="Mode", help="Towards the teacher's distribution.", section="Task"
    )
    temperature: float = field(
        1.0, title="Temperature", help="Softens both distributions; below 1 sharpens.", ge=0.05, le=20, section="Task"
    )
    t_squared: bool = field(
        True,
        title="Times temperature squared",
        help="Keep the gradient's size when the temperature changes.",
        section="Task",
        advanced=True,
    )
    soft_weight: float = field(
        0.9, title="Weight of the teacher", help="The rest is the loss on the text.", gt=0, le=1, section="Task"
    )


class HardLabels(BaseSpec, title="Hard labels"):
    """Learn from the text alone: the baseline."""

    mode: Literal["hard"] = field("hard", title="Mode", help="From the text alone, without a teacher.", section="Task")


class Spec(BaseSpec):
    """A teacher, a student, and how one learns from the other."""

    distillation: Annotated[ForwardKL | HardLabels, Field(discriminator="mode")] = field(
        ForwardKL(), title="Distillation", help="What the student learns from.", section="Task"
    )
    length: int = field(
        64, title="Sequence length", help="Tokens of context.", unit="tokens", ge=8, le=8192, section="Task"
    )
    train_bytes: int = field(
        1_000_000,
        title="Training text",
        help="How much source text to learn from.",
        unit="bytes",
        ge=10_000,
        le=20_000_000,
        format="bytes",
        section="Task",
        advanced=True,
    )
    teacher: DecoderConfig = field(TEACHER, title="Teacher", help="The larger model.", section="Model")
    student: DecoderConfig = field(STUDENT, title="Student", help="The smaller model.", section="Model")
    optimizer: AnyOptimizer = field(Adam(lr=0.01), title="Optimizer", help="For both models.", section="Optimizer")
    warmup_steps: int = field(
        20,
        title="Warm-up",
        help="Steps over which each model's learning rate rises.",
        unit="steps",
        ge=0,
        section="Optimizer",
    )
    teacher_steps: int = field(
        120, title="Teacher steps", help="Updates of the teacher.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    student_steps: int = field(
        120, title="Student steps", help="Updates of the student.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    batch_size: int = field(
        16, title="Batch size", help="Sequences in one update.", unit="sequences", ge=1, le=4096, section="Budget"
    )
    eval_every: int = field(
        40,
        title="Evaluate every",
        help="Steps between evaluations on held-out files.",
        unit="steps",
        ge=1,
        section="Budget",
    )
    checkpoint_every: int = field(
        200, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= min(self.teacher_steps, self.student_steps):
            refuse("warmup_steps", "Must be below the steps of the teacher and of the student.")
        rows = self.train_bytes // self.length
        if self.batch_size > rows:
            refuse("batch_size", f"The training text gives only about {rows} sequences of this length.")
        return self


EXAMPLES = (
    Example("Forward KL into a student of half the width", Spec(), cost_s=24),
    Example("The same student on the text alone", Spec(distillation=HardLabels()), cost_s=12),
)

METRICS = (
    MetricInfo("eval/nll", "nats/token", "min", "Student's loss on held-out files, a token is a byte.", primary=True),
    MetricInfo("train/loss", "nats/token", "min", "What the student minimises."),
    MetricInfo("train/hard_loss", "nats/token", "min", "Student's loss on the training text."),
    MetricInfo("distill/forward_kl", "nats/token", "min", "KL(teacher || student) at temperature 1."),
    MetricInfo("train/tokens", "tokens", None, "Tokens the student has learnt from."),
    MetricInfo("teacher/loss", "nats/token", "min", "Teacher's loss on the training text."),
    MetricInfo("teacher/eval_nll", "nats/token", "min", "Teacher's loss on held-out files."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient of the model in training."),
    MetricInfo("perf/tokens_per_s", "tokens/s", "max", "Training tokens a second, evaluation left out."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train the teacher, distil, evaluate; see the module's docstring."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core.data import stdlib_text
    from models_core.data.order import BatchOrder
    from models_core.distill import losses
    from models_core.nn import decoder
    from models_core.nn.sampling import sample
    from models_core.training import backend, snapshot
    from models_core.training.pacing import Pacing

    yield Log(backend.prepare(ctx.cache_dir))
    text = stdlib_text.load(length=spec.length, train_bytes=spec.train_bytes, validation_bytes=VALIDATION_BYTES)
    objective = spec.distillation
    teacher_steps = spec.teacher_steps if isinstance(objective, ForwardKL) else 0
    counts = [config.parameter_count(stdlib_text.VOCABULARY) for config in (spec.teacher, spec.student)]
    yield Log(
        f"Teacher {counts[0]:,} parameters, student {counts[1]:,}; {len(text.train):,} sequences of {spec.length} "
        f"bytes from text {text.fingerprint[:12]}."
    )
    root = jax.random.key(ctx.seed)
    shared = _Shared(
        spec=spec,
        ctx=ctx,
        text=text,
        order=BatchOrder(ctx.seed, len(text.train), spec.batch_size),
        pacing=Pacing(teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every),
    )
    teacher_params = decoder.init(jax.random.fold_in(root, 0), spec.teacher, stdlib_text.VOCABULARY)

    if teacher_steps and not (ctx.resume and ctx.resume.state["phase"] == "student"):

        def teacher_loss(params: Any, rows: Any, frozen: Any) -> tuple[Any, dict[str, Any]]:
            logits, targets = decoder.apply(params, spec.teacher, rows[:, :-1]), rows[:, 1:]
            return losses.cross_entropy(logits, targets, jnp.ones(targets.shape)), {}

        phase = _Phase("teacher", spec.teacher, offset=0, steps=teacher_steps, metrics=TEACHER_METRICS)
        trained = yield from _train(shared, phase, teacher_loss, teacher_params, frozen=None)
        if trained is None:
            return
        teacher_params = trained
    elif teacher_steps and ctx.resume:
        teacher_params = snapshot.from_arrays(ctx.resume.arrays, teacher_params, "teacher.")

    def student_loss(params: Any, rows: Any, teacher: Any) -> tuple[Any, dict[str, Any]]:
        logits, targets = decoder.apply(params, spec.student, rows[:, :-1]), rows[:, 1:]
        valid = jnp.ones(targets.shape)
        hard = losses.cross_entropy(logits, targets, valid)
        if isinstance(objective, HardLabels):
            return hard, {"hard_loss": hard}
        wanted = decoder.apply(teacher, spec.teacher, rows[:, :-1])
        soft = losses.forward_kl(
            wanted, logits, valid, temperature=objective.temperature, t_squared=objective.t_squared
        )
        plain = soft if objective.temperature == 1 else losses.forward_kl(wanted, logits, valid)
        mixed = losses.mixed(hard, soft, soft_weight=objective.soft_weight)
        return mixed, {"hard_loss": hard, "forward_kl": plain}

    phase = _Phase("student", spec.student, offset=teacher_steps, steps=spec.student_steps, metrics=STUDENT_METRICS)
    student_params = decoder.init(jax.random.fold_in(root, 1), spec.student, stdlib_text.VOCABULARY)
    trained = yield from _train(
        shared, phase, student_loss, student_params, frozen=teacher_params if teacher_steps else None
    )
    if trained is None:
        return

    prompt = stdlib_text.encode(SAMPLE_PROMPT.encode())[:-1]
    written = sample(
        trained, spec.student, jnp.asarray(prompt), SAMPLE_TOKENS, jax.random.fold_in(root, 2), jnp.float32(0.8)
    )
    yield Artifact("sample.txt", stdlib_text.decode(np.asarray(written)).encode(), "text/plain; charset=utf-8")
    yield Artifact("student.safetensors", snapshot.to_safetensors(trained))


@dataclass(frozen=True)
class _Shared:
    """What both phases use."""

    spec: Spec
    ctx: Context
    text: Text
    order: BatchOrder
    pacing: Pacing


@dataclass(frozen=True)
class _Phase:
    """One model's training; its steps are numbered from `offset` + 1. metrics: public key of each number."""

    name: str
    config: DecoderConfig
    offset: int
    steps: int
    metrics: Mapping[str, str]


def _train(shared: _Shared, phase: _Phase, loss_fn: LossFn, params: Any, *, frozen: Any) -> Generator[Event, None, Any]:
    """Train one model from `params`; returns its parameters, or None after a stop.

    frozen: the teacher's parameters, None without one; given to the loss and kept in checkpoints.
    """
    import jax
    import jax.numpy as jnp

    from models_core import optim
    from models_core.distill import losses
    from models_core.nn import decoder
    from models_core.training import schedules, snapshot
    from models_core.training.evaluation import build_evaluation
    from models_core.training.step import check_finite, compile_step, start
    from models_core.training.stopwatch import Stopwatch

    spec, ctx, pacing, watch = shared.spec, shared.ctx, shared.pacing, Stopwatch()
    schedule = schedules.warmup_then_decay(
        spec.optimizer.lr, steps=phase.steps, warmup_steps=spec.warmup_steps, decay="cosine"
    )
    optimizer = optim.build(spec.optimizer, schedule)
    state = start(params, optimizer)
    first = phase.offset
    if ctx.resume and ctx.resume.state["phase"] == phase.name:
        state = snapshot.from_arrays(ctx.resume.arrays, state, "state.")
        first = ctx.resume.step

    def nll_sums(params: Any, rows: Any, valid: Any) -> tuple[dict[str, Any], Any]:
        nll = losses.token_losses(decoder.apply(params, phase.config, rows[:, :-1]), rows[:, 1:])
        return {phase.metrics["nll"]: jnp.sum(nll * valid[:, None])}, jnp.sum(valid) * nll.shape[1]

    def checkpoint(step: int) -> Checkpoint:
        check_finite(state, f"The {phase.name}")
        return Checkpoint(
            step, snapshot.to_arrays(state, "state.") | snapshot.to_arrays(frozen, "teacher."), {"phase": phase.name}
        )

    evaluate = build_evaluation(nll_sums, batch_size=64)
    first_batch = jnp.asarray(shared.text.train[shared.order.at(0)])
    train = compile_step(loss_fn, optimizer, state, first_batch, frozen)
    last, last_report = phase.offset + phase.steps, first
    tokens_per_step = spec.batch_size * spec.length
    yield Progress(first, pacing.steps, f"training the {phase.name}")
    for step in range(first + 1, last + 1):
        if ctx.should_stop():
            yield checkpoint(step - 1)
            return None
        watch.start()
        # Both phases, and runs without a teacher, see the same batches in the same order.
        state, numbers = train(state, jnp.asarray(shared.text.train[shared.order.at(step - phase.offset - 1)]), frozen)
        reports, evaluates = pacing.reports(step), pacing.evaluates(step) or step == last
        if not (reports or evaluates or pacing.saves(step)):
            continue
        jax.block_until_ready(state)  # type: ignore[no-untyped-call]
        watch.stop()
        check_finite(state, f"The {phase.name}")
        if reports:
            values = {phase.metrics[key]: float(value) for key, value in numbers.items() if key in phase.metrics}
            values["perf/tokens_per_s"] = tokens_per_step * (step - last_report) / watch.lap_s()
            if "tokens" in phase.metrics:
                values[phase.metrics["tokens"]] = tokens_per_step * (step - phase.offset)
            last_report = step
            yield Metric(step, values)
        if evaluates:
            yield Metric(step, evaluate(state.params, shared.text.validation))
        if pacing.tells_progress(step):
            yield Progress(step, pacing.steps, f"training the {phase.name}")
        if pacing.saves(step):
            yield checkpoint(step)
    return state.params
