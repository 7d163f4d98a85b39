"""Bias and variance of learning from a teacher.

Many students of one kind learn from separate texts of one known source, a synthetic Markov chain of order 2: from its
symbols, from its true probabilities, or from those of a small model that was trained on it before. Since the truth is
known, bias and variance over the texts are exact, context by context, and are reported by tenths of the contexts from
those on which the small model is nearly right to those on which it errs most. The claim under test (Rawat et al., 2024,
arXiv 2410.18779): soft labels trade variance for the teacher's bias, which helps early and on what the teacher knows,
and hurts late and on what it does not; a teacher that leaves takes both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import model_validator

from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.distill.options import Constant, StepWeight, WeightSchedule
from models_core.events import Artifact, Context, Event, Log
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "1"
FAMILY = "distillation"
TENTHS = range(1, 11)


class Spec(BaseSpec):
    """What the students are told about each next symbol, and by how large a teacher."""

    labels: Literal["symbols", "truth", "teacher"] = field(
        "teacher",
        title="Labels",
        help="The symbol that came, the true probabilities, or a small model's.",
        section="Task",
    )
    soft_weight: float = field(
        1.0,
        title="Weight of the probabilities",
        help="The rest is the loss on the symbol that came.",
        ge=0,
        le=1,
        section="Task",
    )
    schedule: WeightSchedule = field(
        Constant(), title="Schedule", help="That weight over the students' steps.", section="Task"
    )
    symbols: int = field(
        12, title="Symbols", help="Of the source; contexts are pairs.", unit="symbols", ge=4, le=64, section="Task"
    )
    source_rank: int = field(
        2, title="Source's rank", help="Of the part that contexts share.", ge=1, le=64, section="Task", advanced=True
    )
    roughness: float = field(
        1.5, title="Roughness", help="Of the part that they do not; 0: none.", ge=0, le=10, section="Task"
    )
    students: int = field(
        32, title="Students", help="Each learns from a text of its own.", unit="models", ge=2, le=1024, section="Model"
    )
    teacher_rank: int = field(2, title="Teacher's rank", help="Of its table of logits.", ge=1, le=64, section="Model")
    student_rank: int = field(
        12, title="Student's rank", help="Of its table of logits; full at the number of symbols.", ge=1, le=64,
        section="Model",
    )  # fmt: skip
    optimizer: AnyOptimizer = field(
        Adam(lr=0.03), title="Optimizer", help="For both; one that treats every number by itself.", section="Optimizer"
    )
    warmup_steps: int = field(
        10, title="Warm-up", help="Steps over which the rate rises.", unit="steps", ge=0, section="Optimizer"
    )
    teacher_steps: int = field(
        300, title="Teacher steps", help="Updates of the teacher.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    student_steps: int = field(
        400, title="Student steps", help="Updates of each student.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    batch_size: int = field(
        64, title="Batch size", help="Symbols in one update.", unit="tokens", ge=1, le=65_536, section="Budget"
    )
    eval_every: int = field(
        25, title="Evaluate every", help="Steps between evaluations.", unit="steps", ge=1, section="Budget"
    )
    checkpoint_every: int = field(
        500, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= min(self.teacher_steps, self.student_steps):
            refuse("warmup_steps", "Must be below the steps of the teacher and of the students.")
        if self.optimizer.kind not in ("adam", "sgd", "adagrad", "rmsprop", "lion"):
            refuse("optimizer.kind", "Students must not mix: adam, sgd, adagrad, rmsprop or lion.")
        return self


EXAMPLES = (
    Example("From a small model's probabilities", Spec(), cost_s=12),
    Example("From the symbols alone", Spec(labels="symbols"), cost_s=12),
)

TEMPLATES = (
    StudyTemplate(
        "labels",
        "What a teacher trades",
        "Students told the symbols, the true probabilities, a small model's, and a small model's for the first 17 % of "
        "the steps: bias and variance by how much the small model errs.",
        arms={
            "symbols": {"labels": "symbols"},
            "truth": {"labels": "truth"},
            "teacher": {},
            "teacher, then symbols": {"schedule": StepWeight(until=0.17).model_dump(mode="json")},
        },
        seeds=(0, 1, 2),
        baseline="symbols",
    ),
    StudyTemplate(
        "teacher_rank",
        "How good the teacher must be",
        "Teachers of rank 1 to 8, each throughout.",
        arms={"symbols": {"labels": "symbols"}, **{f"rank {rank}": {"teacher_rank": rank} for rank in (1, 2, 4, 8)}},
        seeds=(0, 1, 2),
        baseline="symbols",
    ),
)

METRICS = (
    MetricInfo("excess/all", "nats/token", "min", "Mean KL(source || student): loss above the entropy.", primary=True),
    MetricInfo("bias_squared/all", "nats²", "min", "Of log-probabilities, weighted by the true ones."),
    MetricInfo("variance/all", "nats²", "min", "Of log-probabilities over the students' texts."),
    *(
        MetricInfo(f"{name}/tenth_{tenth}", unit, "min", f"Tenth {tenth} of contexts by the teacher's error.")
        for name, unit in (("excess", "nats/token"), ("bias_squared", "nats²"), ("variance", "nats²"))
        for tenth in TENTHS
    ),
    *(
        MetricInfo(f"teacher/error_{tenth}", "", None, f"Teacher's total variation to the source, tenth {tenth}.")
        for tenth in TENTHS
    ),
    MetricInfo("teacher/excess", "nats/token", "min", "KL(source || teacher)."),
    MetricInfo("teacher/loss", "nats/token", "min", "Teacher's loss on the symbols it is trained on."),
    MetricInfo("train/loss", "nats/token", "min", "What the students minimise, mean over them."),
    MetricInfo("train/hard_loss", "nats/token", "min", "Students' loss on their symbols."),
    MetricInfo("train/soft_loss", "nats/token", "min", "Students' loss towards the probabilities."),
    MetricInfo("train/tokens", "tokens", None, "Symbols that a student has seen."),
    MetricInfo("distill/weight", "", None, "Weight of the probabilities."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient, over all students."),
    MetricInfo("perf/tokens_per_s", "tokens/s", "max", "Symbols learnt from a second, all students'."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train the small model, then the students, and compare them with the source; see the module's docstring."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core import optim
    from models_core.distill.known_source import deciles, decompose, markov_source
    from models_core.distill.schedules import weight_at
    from models_core.training import backend, phases, schedules, snapshot
    from models_core.training.pacing import Pacing
    from models_core.training.step import compile_step, start

    yield Log(backend.prepare(ctx.cache_dir))
    source = markov_source(ctx.seed, symbols=spec.symbols, rank=spec.source_rank, roughness=spec.roughness)
    frequency, contexts = source.frequency, len(source.frequency)
    log_p, log_frequency = (jnp.asarray(np.log(x), jnp.float32) for x in source)
    root = jax.random.key(ctx.seed)
    pacing = Pacing(spec.teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)

    def model(key: Any, rank: int) -> Any:
        left, right = jax.random.split(key)
        return {
            "contexts": jax.random.normal(left, (contexts, rank)) * 0.1,
            "symbols": jax.random.normal(right, (rank, spec.symbols)) * rank**-0.5,
            "bias": jnp.zeros(spec.symbols),
        }

    def table(params: Any) -> Any:
        return jax.nn.log_softmax(params["contexts"] @ params["symbols"] + params["bias"][None, :])

    def text(key: Any) -> tuple[Any, Any]:
        """Contexts and what followed, as far apart in a long text: independent of each other."""
        first, second = jax.random.split(key)
        chosen = jax.random.categorical(first, log_frequency, shape=(spec.batch_size,))
        return chosen, jax.random.categorical(second, log_p[chosen])

    def prepared(peak: float, steps: int, params: Any) -> tuple[Any, Any]:
        schedule = schedules.warmup_then_decay(peak, steps=steps, warmup_steps=spec.warmup_steps, decay="cosine")
        optimizer = optim.build(spec.optimizer, schedule)
        return optimizer, start(params, optimizer)

    def teacher_loss(params: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        chosen, came = text(key)
        return -jnp.mean(table(params)[chosen, came]), {}

    optimizer, state = prepared(
        spec.optimizer.lr, spec.teacher_steps, model(jax.random.fold_in(root, 0), spec.teacher_rank)
    )
    keys = jax.random.fold_in(root, 1)
    teacher_step = compile_step(teacher_loss, optimizer, state, keys)

    def teacher_excess(params: Any) -> dict[str, float]:
        log_t = np.asarray(table(params), np.float64)
        return {"teacher/excess": float(frequency @ (source.p * (np.log(source.p) - log_t)).sum(axis=1))}

    if phases.is_past(ctx, "teacher", ("teacher", "students")) and ctx.resume is not None:
        teacher = snapshot.from_arrays(ctx.resume.arrays, state.params, "teacher.")
    else:
        trained = yield from phases.train(
            phases.Phase(
                name="teacher",
                offset=0,
                steps=spec.teacher_steps,
                advance=lambda state, index: teacher_step(state, jax.random.fold_in(keys, index)),
                metrics={"loss": "teacher/loss", "grad_norm": "optim/grad_norm"},
                evaluate=teacher_excess,
                tokens_per_step=spec.batch_size,
            ),
            ctx,
            pacing,
            state,
        )
        if trained is None:
            return
        teacher = trained.params
    log_t = table(teacher)
    error = np.abs(np.exp(np.asarray(log_t, np.float64)) - source.p).sum(axis=1) / 2
    tenths = deciles(error)
    log_soft = log_p if spec.labels == "truth" else log_t
    peak = 0.0 if spec.labels == "symbols" else spec.soft_weight
    weights = [weight_at(spec.schedule, step, spec.student_steps, peak) for step in range(spec.student_steps)]

    def student_losses(params: Any, key: Any) -> tuple[Any, Any]:
        chosen, came = text(key)
        log_q = table(params)[chosen]
        hard = -jnp.mean(jnp.take_along_axis(log_q, came[:, None], axis=1))
        wanted = log_soft[chosen]
        return hard, jnp.mean(jnp.sum(jnp.exp(wanted) * (wanted - log_q), axis=1))

    def loss(params: Any, keys: Any, weight: Any) -> tuple[Any, dict[str, Any]]:
        hard, soft = jax.vmap(student_losses)(params, keys)
        # A sum, so that every student has the gradient that it would have alone.
        total = jnp.sum((1 - weight) * hard + weight * soft)
        return total, {"hard": jnp.mean(hard), "soft": jnp.mean(soft), "mean": total / spec.students}

    # All students begin alike: only their texts differ, which is what bias and variance are over.
    one = model(jax.random.fold_in(root, 2), spec.student_rank)
    many = jax.tree.map(lambda leaf: jnp.tile(leaf[None], (spec.students,) + (1,) * leaf.ndim), one)
    optimizer, state = prepared(spec.optimizer.lr, spec.student_steps, many)
    keys = jax.random.split(jax.random.fold_in(root, 3), spec.students)
    fold = jax.jit(jax.vmap(jax.random.fold_in, in_axes=(0, None)))
    student_step = compile_step(loss, optimizer, state, fold(keys, 0), jnp.float32(0))
    tables = jax.jit(jax.vmap(table))

    def evaluate(params: Any) -> dict[str, float]:
        parts = decompose(source.p, np.asarray(tables(params), np.float64))
        values = {}
        for name, by_context in parts._asdict().items():
            values[f"{name}/all"] = float(frequency @ by_context)
            for tenth, group in zip(TENTHS, tenths, strict=True):
                values[f"{name}/tenth_{tenth}"] = float(np.average(by_context[group], weights=frequency[group]))
        for tenth, group in zip(TENTHS, tenths, strict=True):
            values[f"teacher/error_{tenth}"] = float(np.average(error[group], weights=frequency[group]))
        return values

    kept = snapshot.to_arrays(teacher, "teacher.")
    finished = yield from phases.train(
        phases.Phase(
            name="students",
            offset=spec.teacher_steps,
            steps=spec.student_steps,
            advance=lambda state, index: student_step(state, fold(keys, index), jnp.float32(weights[index])),
            metrics={
                "mean": "train/loss",
                "hard": "train/hard_loss",
                "soft": "train/soft_loss",
                "grad_norm": "optim/grad_norm",
            },
            evaluate=evaluate,
            tokens_per_step=spec.batch_size * spec.students,
            kept=lambda: kept,
            counted=lambda updates: {
                "train/tokens": float(updates * spec.batch_size),
                "distill/weight": weights[updates - 1],
            },
        ),
        ctx,
        pacing,
        state,
    )
    if finished is None:
        return
    parts = decompose(source.p, np.asarray(tables(finished.params), np.float64))
    columns = (frequency, error, *parts)
    lines = [",".join(f"{value:.6g}" for value in row) for row in zip(*columns, strict=True)]
    head = "frequency,teacher_error,excess,bias_squared,variance"
    yield Artifact("by_context.csv", "\n".join([head, *lines, ""]).encode(), "text/csv")
    yield Artifact("teacher.safetensors", snapshot.to_safetensors(teacher))
