"""Teacher targets on disk.

Trains the teacher of the recipe distillation, then draws its sparse targets for every step of a student's training and
writes them into the node's cache folder, where distillation runs with the same teacher, text, order and seed read them
instead of a live teacher (`targets.cached`). An interrupted run goes on after the last whole shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from models_core.catalog import Example, MetricInfo
from models_core.distill.options import AnySparse, Sampled
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.nn.configs import DecoderConfig
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "1"
FAMILY = "distillation"
VALIDATION_BYTES = 40_000
SAMPLE_PROMPT = "def "
SAMPLE_TOKENS = 200
# What decides the weights of the teacher, beside seed and text: the recipe distillation has the same fields.
TEACHER_FIELDS = (
    "teacher",
    "teacher_padding",
    "teacher_steps",
    "warmup_steps",
    "optimizer",
    "batch_size",
    "length",
    "train_bytes",
)
TEACHER = DecoderConfig(
    n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=24, d_ff=192, window=24, global_every=2
)


class Spec(BaseSpec):
    """A teacher, and which of its targets are kept; the fields are those of the recipe distillation."""

    targets: AnySparse = field(Sampled(), title="Targets", help="Which entries are kept.", section="Task")
    temperature: float = field(
        1.0, title="Temperature", help="Of the teacher's distribution.", ge=0.05, le=20, section="Task"
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
    teacher: DecoderConfig = field(TEACHER, title="Teacher", help="The model that is asked.", section="Model")
    teacher_padding: int = field(
        0,
        title="Teacher's padding",
        help="Embedding rows that no token uses.",
        unit="rows",
        ge=0,
        le=65536,
        section="Model",
        advanced=True,
    )
    optimizer: AnyOptimizer = field(Adam(lr=0.01), title="Optimizer", help="For the teacher.", section="Optimizer")
    warmup_steps: int = field(
        20, title="Warm-up", help="Steps over which the learning rate rises.", unit="steps", ge=0, section="Optimizer"
    )
    teacher_steps: int = field(
        120, title="Teacher steps", help="Updates of the teacher.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    student_steps: int = field(
        120,
        title="Student steps",
        help="Batches to draw targets for.",
        unit="steps",
        ge=1,
        le=1_000_000,
        section="Budget",
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
        if self.warmup_steps >= self.teacher_steps:
            refuse("warmup_steps", "Must be below the steps of the teacher.")
        rows = self.train_bytes // self.length
        if self.batch_size > rows:
            refuse("batch_size", f"The training text gives only about {rows} sequences of this length.")
        if self.targets.cached:
            refuse("targets.cached", "This recipe writes the cache.")
        return self


EXAMPLES = (Example("Sixteen draws a token", Spec(), cost_s=20),)

METRICS = (
    MetricInfo("cache/bytes_per_token", "bytes/token", "min", "Size on disk, headers included.", primary=True),
    MetricInfo("cache/entries_per_token", "", None, "Different ids that are kept for a token, on average."),
    MetricInfo("cache/tokens", "tokens", None, "Tokens whose targets are on disk."),
    MetricInfo("teacher/loss", "nats/token", "min", "Teacher's loss on the training text."),
    MetricInfo("teacher/eval_nll", "nats/token", "min", "Teacher's loss on held-out files."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the teacher's gradient."),
    MetricInfo("perf/tokens_per_s", "tokens/s", "max", "Teacher's training tokens a second."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train, draw, write; see the module's docstring."""
    import tempfile
    from pathlib import Path

    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core.data import stdlib_text
    from models_core.data.order import BatchOrder
    from models_core.distill.cache.writer import Writer
    from models_core.distill.targets import build_draw, cache_folder, describe
    from models_core.nn.sampling import sample
    from models_core.training import backend, phases, snapshot, teachers
    from models_core.training.pacing import Pacing

    yield Log(backend.prepare(ctx.cache_dir))
    text = stdlib_text.load(length=spec.length, train_bytes=spec.train_bytes, validation_bytes=VALIDATION_BYTES)
    root = jax.random.key(ctx.seed)
    order = BatchOrder(ctx.seed, len(text.train), spec.batch_size)
    pacing = Pacing(spec.teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)
    vocabulary = stdlib_text.VOCABULARY
    phase, state = teachers.teacher_phase(
        spec.teacher,
        spec.optimizer,
        rows=vocabulary + spec.teacher_padding,
        steps=spec.teacher_steps,
        warmup_steps=spec.warmup_steps,
        train=text.train,
        validation=text.validation,
        order=order,
        key=jax.random.fold_in(root, 0),
    )
    drawn = 0
    if phases.is_past(ctx, "teacher", ("teacher", "drawing")) and ctx.resume is not None:
        teacher = snapshot.from_arrays(ctx.resume.arrays, state.params, "teacher.")
        drawn = ctx.resume.step - spec.teacher_steps
    else:
        trained = yield from phases.train(phase, ctx, pacing, state)
        if trained is None:
            return
        teacher = trained.params

    facts = spec.model_dump(mode="json", include=set(TEACHER_FIELDS))
    description = describe(
        spec.targets,
        teacher=teachers.training_identity(**facts, seed=ctx.seed, text=text.fingerprint),
        tokenizer="bytes",
        data=text.fingerprint,
        order=order,
        seed=ctx.seed,
        temperature=spec.temperature,
        vocabulary=vocabulary,
        batch_size=spec.batch_size,
        length=spec.length,
        steps=spec.student_steps,
    )
    draw = build_draw(
        spec.targets, spec.teacher, jax.random.fold_in(root, 3), vocabulary=vocabulary, temperature=spec.temperature
    )
    with tempfile.TemporaryDirectory() as scratch:
        if not ctx.cache_dir:
            yield Log("There is no cache folder: the shards are kept as artifacts only.", "warning")
        folder = cache_folder(ctx.cache_dir or scratch, description)
        writer = Writer(folder, description)
        # The events of a run do not depend on what the folder held already.
        for step in range(drawn + 1, spec.student_steps + 1):
            place = spec.teacher_steps + step
            if ctx.should_stop():
                yield Checkpoint(place - 1, snapshot.to_arrays(teacher, "teacher."), {"phase": "drawing"})
                return
            while writer.next_step < step:
                missing = writer.next_step
                slots = draw(teacher, text.train[order.at(missing)], missing)
                writer.add(missing, *(np.asarray(part) for part in slots))
            shards = [shard for shard in writer.manifest.shards if shard.first_step + shard.steps <= step]
            if shards and shards[-1].first_step + shards[-1].steps == step:
                tokens = step * description.tokens_per_step
                yield Metric(
                    place,
                    {
                        "cache/bytes_per_token": sum(shard.size_bytes for shard in shards) / tokens,
                        "cache/entries_per_token": sum(shard.entries for shard in shards) / tokens,
                        "cache/tokens": float(tokens),
                    },
                )
            if pacing.tells_progress(place):
                yield Progress(place, pacing.steps, "drawing targets")
            if pacing.saves(place):
                yield Checkpoint(place, snapshot.to_arrays(teacher, "teacher."), {"phase": "drawing"})
        yield Artifact("targets/manifest.json", writer.manifest.to_json(), "application/json")
        if not ctx.cache_dir:
            for shard in writer.manifest.shards:
                yield Artifact(f"targets/{shard.name}", Path(folder, shard.name).read_bytes())
    prompt = jnp.asarray(stdlib_text.encode(SAMPLE_PROMPT.encode())[:-1])
    written = sample(teacher, spec.teacher, prompt, SAMPLE_TOKENS, jax.random.fold_in(root, 2), jnp.float32(0.8))
    yield Artifact("teacher_sample.txt", stdlib_text.decode(np.asarray(written)).encode(), "text/plain; charset=utf-8")
    yield Artifact("teacher.safetensors", snapshot.to_safetensors(teacher))
