"""Teacher targets on disk.

Trains the teacher of the recipe distillation, or takes one that is there already, then draws its sparse targets for
every step of a student's training and writes them into the node's cache folder, where distillation runs with the same
teacher, text, order and seed read them instead of a live teacher (`targets.cached`). In JAX or PyTorch; a student of
either reads both. An interrupted run goes on after the last whole shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.benches.measures import TEACHER_METRICS
from models_core.benches.on_text import LARGER, SAMPLE_TOKENS, VALIDATION_BYTES, OnText
from models_core.catalog import Example, MetricInfo
from models_core.data.corpora import AnyCorpus
from models_core.data.tokenizer_choice import FixedTokenizer
from models_core.distill.options import AnySparse, Sampled
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.nn.configs import DecoderConfig
from models_core.nn.start import AnyStart
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "2"
FAMILY = "distillation"


class Spec(BaseSpec):
    """A teacher, and which of its targets are kept; the fields are those of the recipe distillation."""

    framework: fields.Framework = fields.framework_field()
    targets: AnySparse = field(Sampled(), title="Targets", help="Which entries are kept.", section="Task")
    temperature: float = field(
        1.0, title="Temperature", help="Of the teacher's distribution.", ge=0.05, le=20, section="Task"
    )
    length: int = fields.length_field()
    data: AnyCorpus = fields.data_field()
    train_bytes: int = fields.train_bytes_field()
    tokenizer: FixedTokenizer = fields.tokenizer_field()
    teacher: DecoderConfig = field(LARGER, title="Teacher", help="The model that is asked.", section="Model")
    teacher_padding: int = fields.padding_field("Teacher")
    teacher_start: AnyStart = fields.teacher_start_field()
    optimizer: AnyOptimizer = field(Adam(lr=0.01), title="Optimizer", help="For the teacher.", section="Optimizer")
    warmup_steps: int = fields.warmup_field(20, "Steps over which the learning rate rises.")
    teacher_steps: int = fields.steps_field(120, "Teacher steps", "Updates of the teacher.")
    student_steps: int = fields.steps_field(120, "Student steps", "Batches to draw targets for.")
    batch_size: int = fields.batch_field(16, "Sequences in one update.", "sequences", 4096)
    eval_every: int = fields.eval_every_field(40, "Steps between evaluations on held-out files.")
    checkpoint_every: int = fields.checkpoint_every_field(200)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= self.teacher_steps:
            refuse("warmup_steps", "Must be below the steps of the teacher.")
        fields.check_rows(self)
        fields.check_optimizer(self)
        if self.targets.cached:
            refuse("targets.cached", "This recipe writes the cache.")
        return self


EXAMPLES = (
    Example("Sixteen draws a token", Spec(), cost_s=20),
    Example("The same from a teacher in PyTorch", Spec(framework="torch"), cost_s=14),
)

METRICS = (
    MetricInfo("cache/bytes_per_token", "bytes/token", "min", "Size on disk, headers included.", primary=True),
    MetricInfo("cache/entries_per_token", "", None, "Different ids that are kept for a token, on average."),
    MetricInfo("cache/tokens", "tokens", None, "Tokens whose targets are on disk."),
    *TEACHER_METRICS,
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the teacher's gradient."),
    MetricInfo("perf/tokens_per_s", "tokens/s", "max", "Teacher's training tokens a second."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train, draw, write; see the module's docstring."""
    import tempfile
    from pathlib import Path

    from models_core import benches
    from models_core.distill.cache.writer import Writer
    from models_core.distill.targets import cache_folder
    from models_core.training.pacing import Pacing

    bench, device = benches.bench(spec.framework, ctx.seed, ctx.cache_dir)
    yield Log(device)
    given = OnText(bench, spec, seed=ctx.seed, validation_bytes=VALIDATION_BYTES)
    config, teacher_steps = given.beginning.config, given.teacher_steps
    pacing = Pacing(teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)
    teacher = yield from given.learnt_teacher(ctx, pacing)
    if teacher is None:
        return
    drawn = max(0, (0 if ctx.resume is None else ctx.resume.step) - teacher_steps)
    description = given.targets_description(
        spec.framework,
        spec.targets,
        temperature=spec.temperature,
        steps=spec.student_steps,
    )
    draw = bench.draw(spec.targets, config, vocabulary=given.vocabulary, temperature=spec.temperature)

    def checkpoint(step: int) -> Checkpoint:
        return Checkpoint(step, bench.arrays(teacher, "teacher."), {"phase": "drawing"})

    with tempfile.TemporaryDirectory() as scratch:
        if not ctx.cache_dir:
            yield Log("There is no cache folder: the shards are kept as artifacts only.", "warning")
        folder = cache_folder(ctx.cache_dir or scratch, description)
        writer = Writer(folder, description)
        # The events of a run do not depend on what the folder held already.
        for step in range(drawn + 1, spec.student_steps + 1):
            place = teacher_steps + step
            if ctx.should_stop():
                yield checkpoint(place - 1)
                return
            while writer.next_step < step:
                missing = writer.next_step
                writer.add(missing, *bench.to_numpy(draw(teacher, given.rows(missing), missing)))
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
                yield checkpoint(place)
        yield Artifact("targets/manifest.json", writer.manifest.to_json(), "application/json")
        if not ctx.cache_dir:
            for shard in writer.manifest.shards:
                yield Artifact(f"targets/{shard.name}", Path(folder, shard.name).read_bytes())
    yield from given.written("teacher_sample.txt", teacher, config, SAMPLE_TOKENS)
    yield Artifact("teacher.safetensors", bench.exported(teacher))
