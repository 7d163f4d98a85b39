"""Language model training.

Trains a decoder on text, from fresh weights or from those of an earlier run, in JAX or PyTorch: with a choice of text,
tokenizer, packing, accumulation, clipping, moving average and number formats. Reports loss, bits a byte (comparable
between tokenizers), loss by place in the context, tokens a second and the share of the device's peak; writes a sample,
the weights and the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from models_core.catalog import Example, MetricInfo
from models_core.data.corpora import AnyCorpus, KingJames, StdlibSource
from models_core.data.tokenizer_choice import AnyTokenizer, Bytes, Learnt
from models_core.errors import WeightsInvalid
from models_core.events import Checkpoint, Context, Event, Log, Metric, Progress
from models_core.nn.configs import DecoderConfig
from models_core.nn.sizes import AnySize, CustomModel, NamedModel, sizes_of
from models_core.nn.start import AnyStart, Fresh, FromCheckpoint
from models_core.nn.weights.hf_config import check_exportable
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse
from models_core.training.options import torch_optimizers
from models_core.training.precision import PRECISIONS

if TYPE_CHECKING:
    import numpy as np

    from models_core.data.packing import Packed

VERSION = "1"
FAMILY = "model"
VALIDATION_BYTES = 40_000
QUARTERS = 4


class Spec(BaseSpec):
    """A decoder, a text, and how the one learns the other."""

    framework: Literal["jax", "torch"] = field("jax", title="Framework", help="What computes.", section="Task")
    data: AnyCorpus = field(StdlibSource(), title="Text", help="What is learnt.", section="Data")
    train_bytes: int = field(
        2_000_000,
        title="Training text",
        help="How much of it at most.",
        unit="bytes",
        ge=10_000,
        le=10_000_000_000,
        format="bytes",
        section="Data",
    )
    tokenizer: AnyTokenizer = field(Bytes(), title="Tokenizer", help="How text becomes tokens.", section="Data")
    packing: Literal["stream", "documents"] = field(
        "stream",
        title="Packing",
        help="One stream, or documents that do not see each other.",
        section="Data",
        advanced=True,
    )
    length: int = field(
        128, title="Context", help="Tokens in a sequence.", unit="tokens", ge=8, le=131_072, section="Data"
    )
    model: AnySize = field(NamedModel(), title="Model", help="The decoder's sizes.", section="Model")
    start: AnyStart = field(Fresh(), title="Start", help="Which weights to begin with.", section="Model")
    optimizer: AnyOptimizer = field(
        Adam(lr=0.003, beta2=0.95, weight_decay=0.1), title="Optimizer", help="How it learns.", section="Optimizer"
    )
    warmup_steps: int = field(
        20, title="Warm-up", help="Steps over which the rate rises.", unit="steps", ge=0, section="Optimizer"
    )
    decay: Literal["none", "linear", "cosine"] = field(
        "cosine", title="Decay", help="How the rate falls to 0 at the end.", section="Optimizer"
    )
    clip: float | None = field(
        1.0, title="Clipping", help="Largest gradient norm; empty: none.", gt=0, section="Optimizer", advanced=True
    )
    ema_decay: float | None = field(
        None,
        title="Moving average",
        help="Decay of averaged weights, which are then evaluated; empty: none.",
        ge=0,
        lt=1,
        section="Optimizer",
        advanced=True,
    )
    precision: Literal["float32", "mixed_bfloat16", "bfloat16"] = field(
        "float32", title="Precision", help="Number formats of weights and products.", section="Optimizer", advanced=True
    )
    on_non_finite: Literal["stop", "skip"] = field(
        "stop",
        title="On NaN",
        help="Stop with an error, or skip up to ten updates in a row.",
        section="Optimizer",
        advanced=True,
    )
    steps: int = field(200, title="Steps", help="Updates.", unit="steps", ge=1, le=10_000_000, section="Budget")
    batch_size: int = field(
        16, title="Batch size", help="Sequences in one update.", unit="sequences", ge=1, le=65_536, section="Budget"
    )
    micro_batches: int = field(
        1,
        title="Accumulation",
        help="Parts in which a batch is computed to save memory; divides the batch size.",
        ge=1,
        le=65_536,
        section="Budget",
        advanced=True,
    )
    data_parallel: int = field(
        1,
        title="Data-parallel devices",
        help="Copies of the model, each with its part of a batch.",
        ge=1,
        le=4096,
        section="Budget",
        advanced=True,
    )
    fsdp: int = field(
        1,
        title="Devices a copy",
        help="Over which a copy is cut; in PyTorch its optimizer's state alone.",
        ge=1,
        le=4096,
        section="Budget",
        advanced=True,
    )
    eval_every: int = field(
        50, title="Evaluate every", help="Steps between evaluations.", unit="steps", ge=1, section="Budget"
    )
    checkpoint_every: int = field(
        500, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )
    peak_tflops: float | None = field(
        None,
        title="Peak of a device",
        help="That utilisation is a share of; empty: measured.",
        unit="TFLOP/s",
        gt=0,
        section="Budget",
        advanced=True,
    )
    prompt: str = field(
        "def ", title="Prompt", help="That the sample continues.", min_length=1, max_length=1000, section="Sample"
    )
    sample_tokens: int = field(
        200, title="Sample", help="Tokens to write.", unit="tokens", ge=1, le=4096, section="Sample"
    )
    temperature: float = field(
        0.8, title="Temperature", help="Of the sample; low is cautious.", ge=0.01, le=10, section="Sample"
    )

    top_k: int = field(0, title="Best tokens", help="Of the sample; 0: all.", ge=0, section="Sample", advanced=True)
    top_p: float = field(1.0, title="Probable mass", help="Of the sample.", gt=0, le=1, section="Sample", advanced=True)
    samples: int = field(
        1, title="Samples", help="Continuations of the prompt.", ge=1, le=64, section="Sample", advanced=True
    )
    weights_format: Literal["stillroom", "hugging_face"] = field(
        "stillroom",
        title="Weights as",
        help="A file for later runs here, or a folder that transformers loads.",
        section="Model",
        advanced=True,
    )

    def devices_needed(self) -> int:
        return self.data_parallel * self.fsdp

    @property
    def sizes(self) -> DecoderConfig:
        """The decoder's sizes, whichever way they were chosen."""
        return sizes_of(self.model)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= self.steps:
            refuse("warmup_steps", f"Must be below the {self.steps} steps.")
        if self.batch_size % self.micro_batches:
            refuse("micro_batches", f"Must divide the batch of {self.batch_size}.")
        devices = self.data_parallel * self.fsdp
        if self.batch_size // self.micro_batches % devices:
            refuse("batch_size", f"Each part of the batch must be a multiple of {devices} devices.")
        # A checkpoint's context is known when it is read.
        context = None if isinstance(self.start, FromCheckpoint) else self.sizes.context
        if context is not None and self.length > context:
            refuse("length", f"The model's context is {context} tokens.")
        if self.framework == "torch" and self.optimizer.kind not in torch_optimizers():
            refuse("optimizer.kind", f"With PyTorch: {', '.join(torch_optimizers())}.")
        if self.weights_format == "hugging_face" and not isinstance(self.start, FromCheckpoint):
            try:
                check_exportable("gemma3_text", self.sizes)
            except WeightsInvalid as error:
                refuse("weights_format", " ".join(f"{at} {why}" for at, why in error.fields.items()))
        return self


TINY = CustomModel(
    n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=24, d_ff=192, window=32, global_every=2, context=2048
)

EXAMPLES = (
    Example("A tiny decoder on Python source, byte by byte", Spec(model=TINY, optimizer=Adam(lr=0.01)), cost_s=25),
    Example(
        "The same in PyTorch, with a learnt vocabulary and accumulation",
        Spec(
            framework="torch", model=TINY, tokenizer=Learnt(vocabulary=1024), optimizer=Adam(lr=0.01), micro_batches=2
        ),
        cost_s=40,
    ),
    Example(
        "Four million numbers on the King James Bible (needs its file)",
        Spec(data=KingJames(), tokenizer=Learnt(), steps=2000, prompt="And God said"),
        cost_s=3000,
    ),
)

METRICS = (
    MetricInfo("eval/nll", "nats/token", "min", "Loss on held-out text.", primary=True),
    MetricInfo("eval/bits_per_byte", "bits/byte", "min", "The same for each byte of text, whatever the tokenizer."),
    *(
        MetricInfo(f"eval/nll_quarter_{quarter}", "nats/token", "min", f"Loss in quarter {quarter} of the context.")
        for quarter in range(1, QUARTERS + 1)
    ),
    MetricInfo("train/loss", "nats/token", "min", "Loss of the batch before the update."),
    MetricInfo("train/tokens", "tokens", None, "Tokens learnt from so far, this run."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient before clipping."),
    MetricInfo("optim/skipped", "steps", "min", "Updates left out because of NaN."),
    MetricInfo("experts/balance", "", "min", "Load-balance loss of the routers; 1 when even."),
    MetricInfo("experts/load_entropy", "", "max", "Evenness of the experts' load, 0 to 1."),
    MetricInfo("experts/dropped", "share", "min", "Choices that found their expert full."),
    MetricInfo("perf/tokens_per_s", "tokens/s", "max", "Training tokens a second, evaluation left out."),
    MetricInfo("perf/flops_utilisation", "share of peak", "max", "Counted operations a second over the peak."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Read, tokenise, pack, train, evaluate; see the module's docstring."""
    import importlib

    import numpy as np

    from models_core.data import corpora, packing, text_split, tokenizers
    from models_core.data.order import BatchOrder
    from models_core.nn.memory import cache_bytes
    from models_core.nn.prompts import Sampling
    from models_core.training import flops, outcome
    from models_core.training.beginning import begin, choose_tokenizer
    from models_core.training.by_place import sums_by_place
    from models_core.training.options import LoopOptions
    from models_core.training.pacing import Pacing
    from models_core.training.stopwatch import Stopwatch

    place = "models_core.training" + (".torch" if spec.framework == "torch" else "")
    yield Log(importlib.import_module(f"{place}.backend").prepare(ctx.cache_dir))
    precision = PRECISIONS[spec.precision]
    text = text_split.split(
        corpora.documents(spec.data, seed=ctx.seed), train_bytes=spec.train_bytes, validation_bytes=VALIDATION_BYTES
    )
    tokenizer = choose_tokenizer(spec.tokenizer, ctx.resume, text.train)
    if ctx.resume and ctx.resume.state["text"] != text.fingerprint:
        yield Log("The text is not the one that this run began with.", "warning")
    open_sizes = isinstance(spec.start, FromCheckpoint) and spec.model == NamedModel()
    given = begin(spec.start, None if open_sizes else spec.sizes, spec.sizes, tokenizer)
    config, rows = given.config, given.rows
    _require_context(spec, config)
    documents = [tokenizers.encode_documents(tokenizer, part) for part in (text.train, text.validation)]
    for part in documents:
        tokenizers.require_in_range(np.concatenate(part), rows)
    pack = packing.pack_documents if spec.packing == "documents" else packing.pack_stream
    train, validation = (pack(part, spec.length) for part in documents)
    _require_rows(spec, train, validation)
    bytes_per_token = sum(len(part.encode()) for part in text.validation) / sum(map(len, documents[1]))
    yield Log(
        f"{config.parameter_count(rows):,} parameters; {int(train.valid.sum()):,} training tokens of "
        f"{tokenizer.kind} tokenizer {tokenizer.hash[:12]} ({tokenizer.vocabulary} tokens, {bytes_per_token:.2f} bytes "
        f"each) from text {text.fingerprint[:12]}. Keys and values of {spec.length} tokens take "
        f"{cache_bytes(config, spec.length):,} bytes in bfloat16."
    )
    engine = importlib.import_module(f"{place}.language_model").Engine(
        config,
        rows,
        seed=ctx.seed,
        optimizer=spec.optimizer,
        steps=spec.steps,
        warmup_steps=spec.warmup_steps,
        decay=spec.decay,
        options=LoopOptions(spec.clip, spec.ema_decay, precision, spec.on_non_finite),
        weights=given.arrays,
        mesh=(spec.data_parallel, spec.fsdp),
    )
    first, tokens = 0, 0
    if ctx.resume:
        own = {name: array for name, array in ctx.resume.arrays.items() if name != "tokenizer"}
        engine.restore(own)
        first, tokens = ctx.resume.step, ctx.resume.state["tokens"]
    peak = (spec.peak_tflops or 0) * 1e12 or importlib.import_module(f"{place}.peak").measure_peak(precision.compute)
    peak *= spec.data_parallel * spec.fsdp
    yield Log(f"Utilisation is a share of {peak / 1e9:,.0f} GFLOP/s.")
    per_token = flops.training_per_token(config, rows, spec.length)
    order = BatchOrder(ctx.seed, len(train), spec.batch_size)
    pacing, watch = Pacing(spec.steps, spec.eval_every, spec.checkpoint_every), Stopwatch()

    def checkpoint(step: int) -> Checkpoint:
        engine.check()
        held = np.frombuffer(tokenizer.to_bytes(), np.uint8)
        state = {"tokens": tokens, "text": text.fingerprint, "tokenizer": tokenizer.hash, "kind": tokenizer.kind}
        return Checkpoint(step, engine.arrays() | {"tokenizer": held}, state)

    by_place = np.zeros((2, 0))
    last_report, last_tokens = first, tokens
    yield Progress(first, spec.steps, "training")
    for step in range(first + 1, spec.steps + 1):
        if ctx.should_stop():
            yield checkpoint(step - 1)
            return
        watch.start()
        batch = train.batch(order.at(step - 1))
        tokens += int(batch["valid"].sum())
        engine.step({key: part.reshape(spec.micro_batches, -1, spec.length) for key, part in batch.items()})
        if step == first + 1:
            # Its time is that of compiling.
            engine.numbers()
            watch = Stopwatch()
            last_report, last_tokens = step, tokens
        if not (pacing.reports(step) or pacing.evaluates(step) or pacing.saves(step)):
            continue
        numbers = engine.numbers()
        watch.stop()
        engine.check()
        if pacing.reports(step):
            values = {
                "train/loss": numbers.get("nll", numbers["loss"]),
                "train/tokens": float(tokens),
                "optim/grad_norm": numbers["grad_norm"],
                "optim/skipped": float(engine.skipped),
            } | {key: value for key, value in numbers.items() if key.startswith("experts/")}
            if step > last_report:
                lap_s = watch.lap_s()
                values["perf/tokens_per_s"] = (tokens - last_tokens) / lap_s
                computed = spec.batch_size * spec.length * (step - last_report)
                values["perf/flops_utilisation"] = per_token * computed / lap_s / peak
                last_report, last_tokens = step, tokens
            yield Metric(step, values)
        if pacing.evaluates(step):
            by_place = sums_by_place(engine.evaluate, validation, spec.batch_size // spec.micro_batches)
            scores = _scores(by_place)
            scores["eval/bits_per_byte"] = scores["eval/nll"] / np.log(2) / bytes_per_token
            yield Metric(step, scores)
        if pacing.tells_progress(step):
            yield Progress(step, spec.steps, "training")
        if pacing.saves(step):
            yield checkpoint(step)

    sampling = Sampling(temperature=spec.temperature, top_k=spec.top_k, top_p=spec.top_p)
    yield outcome.samples(engine, tokenizer, config.context, spec.prompt, spec.samples, spec.sample_tokens, sampling)
    yield outcome.by_place(by_place)
    yield from outcome.model(engine.export(), given, tokenizer, spec.weights_format)


def _require_context(spec: Spec, config: DecoderConfig) -> None:
    from models_core.errors import SpecInvalid

    if config.context is not None and spec.length > config.context:
        raise SpecInvalid(
            f"The model's context is {config.context} tokens.",
            fields={"length": f"The model's context is {config.context} tokens."},
        )


def _require_rows(spec: Spec, train: Packed, validation: Packed) -> None:
    from models_core.errors import SpecInvalid

    if len(train) < spec.batch_size:
        raise SpecInvalid(
            f"The text gives {len(train)} sequences of {spec.length} tokens, fewer than a batch of {spec.batch_size}.",
            fields={"batch_size": f"The text gives only {len(train)} sequences."},
        )
    if not len(validation):
        raise SpecInvalid(
            f"The held-out text is shorter than {spec.length} tokens.", fields={"length": "Longer than held-out text."}
        )


def _scores(by_place: np.ndarray) -> dict[str, float]:
    """Mean loss over all places, and over each quarter of the context that has a valid target."""
    import numpy as np

    sums, counts = by_place
    found = {"eval/nll": float(sums.sum() / counts.sum())}
    for quarter, places in enumerate(np.array_split(np.arange(len(sums)), QUARTERS), 1):
        if counts[places].sum():
            found[f"eval/nll_quarter_{quarter}"] = float(sums[places].sum() / counts[places].sum())
    return found
