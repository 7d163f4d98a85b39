"""Bias and variance of learning from a teacher.

Many students of one kind learn from separate texts of one known source, a synthetic Markov chain of order 2: from its
symbols, from its true probabilities, or from those of a small model that was trained on it before. Since the truth is
known, bias and variance over the texts are exact, context by context, and are reported by tenths of the contexts from
those on which the small model is nearly right to those on which it errs most. The claim under test (Rawat et al., 2024,
arXiv 2410.18779): soft labels trade variance for the teacher's bias, which helps early and on what the teacher knows,
and hurts late and on what it does not; a teacher that leaves takes both. In JAX or PyTorch, from the same texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.distill.options import Constant, StepWeight, WeightSchedule
from models_core.events import Artifact, Context, Event, Log
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "2"
FAMILY = "distillation"
TENTHS = range(1, 11)


class Spec(BaseSpec):
    """What the students are told about each next symbol, and by how large a teacher."""

    framework: fields.Framework = fields.framework_field()
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
    warmup_steps: int = fields.warmup_field(10, "Steps over which the rate rises.")
    teacher_steps: int = fields.steps_field(300, "Teacher steps", "Updates of the teacher.")
    student_steps: int = fields.steps_field(400, "Student steps", "Updates of each student.")
    batch_size: int = fields.batch_field(64, "Symbols in one update.", "tokens", 65_536)
    eval_every: int = fields.eval_every_field(25, "Steps between evaluations.")
    checkpoint_every: int = fields.checkpoint_every_field(500)

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
    Example("The first one in PyTorch", Spec(framework="torch"), cost_s=17),
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
    import numpy as np

    from models_core import benches
    from models_core.distill import tables
    from models_core.distill.known_source import deciles, decompose, markov_source
    from models_core.distill.options import ForwardKL
    from models_core.distill.schedules import weight_at
    from models_core.training import phases
    from models_core.training.pacing import Pacing

    bench, device = benches.plain_bench(spec.framework, ctx.seed, ctx.cache_dir)
    yield Log(device)
    losses = bench.losses
    source = markov_source(ctx.seed, symbols=spec.symbols, rank=spec.source_rank, roughness=spec.roughness)
    frequency, contexts = source.frequency, len(source.frequency)
    streams = [jax.random.fold_in(jax.random.key(ctx.seed), stream) for stream in range(4)]
    pacing = Pacing(spec.teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)

    def table(params: Any) -> Any:
        """Log-probabilities (contexts, symbols), with an axis before for many models."""
        return bench.log_softmax(params["contexts"] @ params["symbols"] + params["bias"][..., None, :])

    tables_of = bench.compiled(table)

    def table_of(params: Any) -> np.ndarray:
        found: np.ndarray = bench.to_numpy(tables_of(params))
        return found

    teachers_text = tables.Texts(source, streams[1][None], spec.batch_size)

    def teacher_batch(step: int) -> dict[str, np.ndarray]:
        (chosen,), (came,) = teachers_text.batch(step)
        return {"contexts": chosen, "came": came}

    def teacher_loss(params: Any, batch: Any, given: Any) -> tuple[Any, dict[str, Any]]:
        return losses.token_losses(table(params)[batch["contexts"]], batch["came"]).mean(), {}

    def teacher_excess(params: Any) -> dict[str, float]:
        log_t = table_of(params).astype(np.float64)
        return {"teacher/excess": float(frequency @ (source.p * (np.log(source.p) - log_t)).sum(axis=1))}

    state, update_teacher = bench.training(
        teacher_loss,
        bench.table(tables.init(streams[0], contexts, spec.symbols, spec.teacher_rank)),
        spec.optimizer,
        steps=spec.teacher_steps,
        warmup_steps=spec.warmup_steps,
        example=teacher_batch(0),
    )
    phase = phases.Phase(
        name="teacher",
        offset=0,
        steps=spec.teacher_steps,
        advance=lambda state, index: update_teacher(state, teacher_batch(index)),
        metrics={"loss": "teacher/loss", "grad_norm": "optim/grad_norm"},
        evaluate=teacher_excess,
        tokens_per_step=spec.batch_size,
        keeping=bench.keeping,
    )
    teacher = yield from phases.learnt(phase, ctx, pacing, state, bench.restored)
    if teacher is None:
        return
    log_t = table_of(teacher)
    error = np.abs(np.exp(log_t.astype(np.float64)) - source.p).sum(axis=1) / 2
    tenths = deciles(error)
    log_soft = bench.to_device(np.log(source.p).astype(np.float32) if spec.labels == "truth" else log_t)
    peak = 0.0 if spec.labels == "symbols" else spec.soft_weight
    weights = [weight_at(spec.schedule, step, spec.student_steps, peak) for step in range(spec.student_steps)]
    texts = tables.Texts(source, jax.random.split(streams[3], spec.students), spec.batch_size)
    whose = np.arange(spec.students)[:, None]

    def student_batch(step: int) -> dict[str, Any]:
        chosen, came = texts.batch(step)
        return {"contexts": chosen, "came": came, "student": whose, "weight": np.float32(weights[step])}

    def student_loss(params: Any, batch: Any, log_soft: Any) -> tuple[Any, dict[str, Any]]:
        log_q = table(params)[batch["student"], batch["contexts"]]
        hard = losses.token_losses(log_q, batch["came"]).mean(1)
        soft = losses.divergence_tokens(ForwardKL(t_squared=False), log_soft[batch["contexts"]], log_q).mean(1)
        # A sum, so that every student has the gradient that it would have alone.
        total = ((1 - batch["weight"]) * hard + batch["weight"] * soft).sum()
        return total, {"hard": hard.mean(), "soft": soft.mean(), "mean": total / spec.students}

    def evaluate(params: Any) -> dict[str, float]:
        parts = decompose(source.p, table_of(params).astype(np.float64))
        values = {}
        for name, by_context in parts._asdict().items():
            values[f"{name}/all"] = float(frequency @ by_context)
            for tenth, group in zip(TENTHS, tenths, strict=True):
                values[f"{name}/tenth_{tenth}"] = float(np.average(by_context[group], weights=frequency[group]))
        for tenth, group in zip(TENTHS, tenths, strict=True):
            values[f"teacher/error_{tenth}"] = float(np.average(error[group], weights=frequency[group]))
        return values

    # All students begin alike: only their texts differ, which is what bias and variance are over.
    one = tables.init(streams[2], contexts, spec.symbols, spec.student_rank)
    many = {name: np.tile(np.asarray(leaf)[None], (spec.students,) + (1,) * leaf.ndim) for name, leaf in one.items()}
    state, update = bench.training(
        student_loss,
        bench.table(many),
        spec.optimizer,
        steps=spec.student_steps,
        warmup_steps=spec.warmup_steps,
        example=student_batch(0),
        given=log_soft,
    )
    kept = bench.arrays(teacher, "teacher.")
    finished = yield from phases.train(
        phases.Phase(
            name="students",
            offset=spec.teacher_steps,
            steps=spec.student_steps,
            advance=lambda state, index: update(state, student_batch(index)),
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
            keeping=bench.keeping,
        ),
        ctx,
        pacing,
        state,
    )
    if finished is None:
        return
    parts = decompose(source.p, table_of(finished.params).astype(np.float64))
    columns = (frequency, error, *parts)
    lines = [",".join(f"{value:.6g}" for value in row) for row in zip(*columns, strict=True)]
    head = "frequency,teacher_error,excess,bias_squared,variance"
    yield Artifact("by_context.csv", "\n".join([head, *lines, ""]).encode(), "text/csv")
    yield Artifact("teacher.safetensors", bench.exported(teacher))
