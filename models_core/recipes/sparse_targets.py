"""Bias and calibration of sparse teacher targets.

Draws the targets of one kind from a teacher that is known exactly, Zipf's law over a vocabulary with the ids permuted
in every context (synthetic), and measures how far their mean is from the teacher: only draws with counts have none. A
table of logits learns from the same draws; what it converges to, and whether its probabilities can be trusted, is what
the bias costs. In JAX or PyTorch, each with its own draws. On real text the same question is the template
`sparse_on_text` of the recipe distillation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.distill.options import AnySparse, Gumbel, Sampled, SampledUnique, Sparse, TopK
from models_core.events import Artifact, Context, Event, Log
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "2"
FAMILY = "distillation"


class Spec(BaseSpec):
    """A known teacher, and which of its entries are kept."""

    framework: fields.Framework = fields.framework_field()
    targets: AnySparse = field(
        Sampled(precision="float32"), title="Targets", help="Which entries are kept.", section="Task"
    )
    vocabulary: int = field(4096, title="Vocabulary", help="Ids.", unit="ids", ge=2, le=262_144, section="Task")
    exponent: float = field(
        1.0, title="Exponent", help="Of Zipf's law: p is as rank to its negative.", ge=0, le=4, section="Task"
    )
    contexts: int = field(
        8, title="Contexts", help="Rows of the table, each with ids in another order.", ge=1, le=4096, section="Task"
    )
    optimizer: AnyOptimizer = field(Adam(lr=0.1), title="Optimizer", help="For the table.", section="Optimizer")
    warmup_steps: int = fields.warmup_field(5, "Steps over which the rate rises.")
    steps: int = fields.steps_field(300, "Steps", "Updates.")
    batch_size: int = fields.batch_field(64, "Tokens in one update, spread over the contexts.", "tokens", 65_536)
    eval_every: int = fields.eval_every_field(25, "Steps between evaluations.")
    checkpoint_every: int = fields.checkpoint_every_field(500)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= self.steps:
            refuse("warmup_steps", f"Must be below the {self.steps} steps.")
        fields.check_optimizer(self)
        if self.targets.cached:
            refuse("targets.cached", "Targets are drawn anew: that is what is measured.")
        if isinstance(self.targets, Gumbel | TopK) and self.targets.k > self.vocabulary:
            refuse("targets.k", f"There are only {self.vocabulary} ids.")
        if self.batch_size % self.contexts:
            refuse("batch_size", f"Must be a multiple of the {self.contexts} contexts.")
        return self


EXAMPLES = (
    Example("Sixteen counts", Spec(), cost_s=18),
    Example("The sixteen largest, renormalised", Spec(targets=TopK(precision="float32")), cost_s=8),
    Example("Sixteen counts in PyTorch", Spec(framework="torch"), cost_s=8),
)


def _arm(kind: type[Sparse], k: int, **more: Any) -> dict[str, Any]:
    return {"targets": kind.parse({"k": k, "precision": "float32", **more}).model_dump(mode="json")}


TEMPLATES = (
    StudyTemplate(
        "four_kinds",
        "Four things called top-k",
        "Sixteen entries of a Zipf teacher in four ways, and what is missing as one bucket: bias of the mean target, "
        "and the calibration of what learns from it.",
        arms={
            "counts": _arm(Sampled, 16),
            "unique": _arm(SampledUnique, 16),
            "Gumbel": _arm(Gumbel, 16),
            "top-k": _arm(TopK, 16),
            "top-k, rest bucket": _arm(TopK, 16, missing="rest"),
        },
        seeds=(0, 1, 2),
        baseline="counts",
    ),
    StudyTemplate(
        "entries",
        "How many entries",
        "Counts and the largest entries with 16, 64 and 256 of them: noise that averages out against bias that does "
        "not.",
        arms={
            f"{name}, {k}": _arm(kind, k)
            for name, kind in (("counts", Sampled), ("top-k", TopK))
            for k in (16, 64, 256)
        },
        seeds=(0, 1, 2),
        metric="student/forward_kl",
    ),
)

METRICS = (
    MetricInfo("bias/total_variation", "", "min", "Between teacher and mean of all targets so far.", primary=True),
    MetricInfo("bias/noise_floor", "", "min", "What the former would be, on average, without bias."),
    MetricInfo("targets/variance", "", "min", "Of a target around the mean target, summed over ids."),
    MetricInfo("targets/entries", "ids", None, "Different ids a token."),
    MetricInfo("targets/covered", "", "max", "The teacher's mass on them."),
    MetricInfo("student/forward_kl", "nats/token", "min", "KL(teacher || table)."),
    MetricInfo("student/total_variation", "", "min", "Between teacher and table."),
    MetricInfo("student/calibration_error", "", "min", "Of all of the table's probabilities, see distill.calibration."),
    MetricInfo("student/overconfidence", "", None, "Probability of the id ranked first less the true one."),
    MetricInfo("student/tail_mass", "", None, "The table's mass on the less probable half of the ids."),
    MetricInfo("eval/nll", "nats/token", "min", "The table's loss on the teacher's own words: KL plus entropy."),
    MetricInfo("teacher/eval_nll", "nats/token", None, "The teacher's loss on them: its entropy."),
    MetricInfo("train/loss", "nats/token", "min", "The table's loss towards the targets."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient."),
    MetricInfo("perf/tokens_per_s", "tokens/s", "max", "Targets drawn and learnt from a second."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Draw, learn, compare with what is known; see the module's docstring."""
    import numpy as np

    from models_core import benches
    from models_core.distill import calibration
    from models_core.training import phases
    from models_core.training.pacing import Pacing

    bench, device = benches.plain_bench(spec.framework, ctx.seed, ctx.cache_dir)
    yield Log(device)
    contexts, vocabulary, copies = spec.contexts, spec.vocabulary, spec.batch_size // spec.contexts
    weights = np.arange(1, vocabulary + 1, dtype=np.float64) ** -spec.exponent
    p = weights / weights.sum()
    shuffle = np.random.Generator(np.random.Philox(key=ctx.seed))
    ids = np.stack([shuffle.permutation(vocabulary) for _ in range(contexts)])
    truth = np.zeros((contexts, vocabulary))
    np.put_along_axis(truth, ids, np.tile(p, (contexts, 1)), axis=1)
    entropy = float(-(p * np.log(p)).sum())
    context = np.repeat(np.arange(contexts), copies)
    # Of every token: the teacher's logits, and its ids by rank, so that all contexts tell of one mean.
    log_p = bench.to_device(np.log(truth)[context].astype(np.float32))
    by_rank, rows = bench.to_device(ids[context].astype(np.int32)), bench.to_device(np.arange(spec.batch_size)[:, None])
    of_context, sparse = bench.to_device(context), bench.sparse

    def draw(step: Any) -> tuple[Any, dict[str, Any]]:
        targets = sparse.draw(spec.targets, bench.source(step), log_p)
        written = sparse.dense(spec.targets, targets, vocabulary)[rows, by_rank]
        used = sparse.probabilities(spec.targets, targets)[0] > 0
        mass = bench.xp.exp(log_p[rows, targets.ids])
        return targets, {
            "sum": written.sum(0),
            "squares": (written * written).sum(0),
            "entries": used.sum(),
            "covered": bench.xp.where(used, mass, 0.0).sum(),
        }

    drawn = bench.compiled(draw)

    def loss(params: Any, batch: Any, given: Any) -> tuple[Any, dict[str, Any]]:
        targets = sparse.SparseTargets(batch["ids"], batch["values"], batch["tail"])
        return sparse.sparse_tokens(spec.targets, targets, params["logits"][of_context]).mean(), {}

    seen: dict[str, np.ndarray] = {
        "sum": np.zeros(vocabulary),
        "squares": np.zeros(vocabulary),
        "entries": np.zeros(()),
        "covered": np.zeros(()),
    }
    if ctx.resume:
        seen = {name: np.array(ctx.resume.arrays[f"seen.{name}"]) for name in seen}

    state, update = bench.training(
        loss,
        bench.table({"logits": np.zeros((contexts, vocabulary), np.float32)}),
        spec.optimizer,
        steps=spec.steps,
        warmup_steps=spec.warmup_steps,
        example=drawn(np.int32(0))[0]._asdict(),
    )

    def advance(state: Any, index: int) -> Any:
        targets, sums = drawn(np.int32(index))
        for name, value in sums.items():
            seen[name] = seen[name] + bench.to_numpy(value).astype(np.float64)
        return update(state, targets._asdict())

    def bias(updates: int) -> dict[str, float]:
        count = updates * spec.batch_size
        mean = seen["sum"] / count
        variance = np.maximum(seen["squares"] / count - mean**2, 0)
        # E|x| of a normal x is its deviation times the root of 2 / pi.
        floor = np.sqrt(2 / np.pi * variance / count).sum() / 2
        return {
            "bias/total_variation": float(np.abs(mean - p).sum() / 2),
            "bias/noise_floor": float(floor),
            "targets/variance": float(variance.sum()),
            "targets/entries": float(seen["entries"] / count),
            "targets/covered": float(seen["covered"] / count),
        }

    log_q = bench.compiled(lambda params: bench.log_softmax(params["logits"]))

    def learnt(params: Any) -> np.ndarray:
        q = np.exp(bench.to_numpy(log_q(params)).astype(np.float64))
        by_rank: np.ndarray = np.take_along_axis(q, ids, axis=1)
        return by_rank

    def evaluate(params: Any) -> dict[str, float]:
        q = learnt(params)
        divergence = float((p * (np.log(p) - np.log(q))).sum(axis=1).mean())
        first = q.argmax(axis=1)
        return {
            "student/forward_kl": divergence,
            "student/total_variation": float(np.abs(q - p).sum(axis=1).mean() / 2),
            "student/calibration_error": calibration.known_error(np.tile(p, (contexts, 1)), q),
            "student/overconfidence": float((q.max(axis=1) - p[first]).mean()),
            "student/tail_mass": float(q[:, vocabulary // 2 :].sum(axis=1).mean()),
            "eval/nll": entropy + divergence,
            "teacher/eval_nll": entropy,
        }

    finished = yield from phases.train(
        phases.Phase(
            name="student",
            offset=0,
            steps=spec.steps,
            advance=advance,
            metrics={"loss": "train/loss", "grad_norm": "optim/grad_norm"},
            evaluate=evaluate,
            tokens_per_step=spec.batch_size,
            kept=lambda: {f"seen.{name}": array for name, array in seen.items()},
            counted=bias,
            keeping=bench.keeping,
        ),
        ctx,
        Pacing(spec.steps, spec.eval_every, spec.checkpoint_every),
        state,
    )
    if finished is None:
        return
    columns = [p, seen["sum"] / (spec.steps * spec.batch_size), learnt(finished.params).mean(axis=0)]
    lines = [f"{rank},{a:.6g},{b:.6g},{c:.6g}" for rank, (a, b, c) in enumerate(zip(*columns, strict=True), 1)]
    yield Artifact("by_rank.csv", "\n".join(["rank,teacher,mean_target,table", *lines, ""]).encode(), "text/csv")
    yield Artifact("table.safetensors", bench.exported(finished.params))
