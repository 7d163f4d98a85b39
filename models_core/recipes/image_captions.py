"""Image captions.

One decoder reads pictures between its text. Each sequence interleaves pictures with their captions: a picture as the
soft tokens of a vision tower, "a seven" byte by byte behind it, the next picture, and so on. Decoder and tower are
trained together from fresh weights, on the bytes of the captions alone. A caption counts as right when every byte of it
is the most probable one, which is when greedy decoding writes it. Compare with a classifier's accuracy on the same
images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import model_validator

from models_core.catalog import Example, MetricInfo
from models_core.data.image_sets import IMAGE_SETS
from models_core.events import Artifact, Context, Event, Log
from models_core.nn.configs import InterleavedConfig, VisionConfig
from models_core.nn.sizes import AnySize, CustomModel, sizes_of
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "1"
FAMILY = "model"
CaptionedSet = Literal["digits", "mnist5k", "mnist", "fashion_mnist", "cifar10"]
_DIGITS = ("a zero", "a one", "a two", "a three", "a four", "a five", "a six", "a seven", "an eight", "a nine")
_CLOTHES = (
    "a top",
    "trousers",
    "a pullover",
    "a dress",
    "a coat",
    "a sandal",
    "a shirt",
    "a sneaker",
    "a bag",
    "a boot",
)
_THINGS = ("a plane", "a car", "a bird", "a cat", "a deer", "a dog", "a frog", "a horse", "a ship", "a truck")
CAPTIONS: dict[str, tuple[str, ...]] = {"fashion_mnist": _CLOTHES, "cifar10": _THINGS}
# Of an image's side: patch side and soft tokens.
GRIDS = {8: (2, 4), 28: (7, 4), 32: (4, 16)}
SHOWN = 20


class Spec(BaseSpec):
    """Images, a decoder with a vision tower, and how they learn."""

    data: CaptionedSet = field(
        "mnist5k", title="Images", help="Digits and mnist5k are carried; others are files on the node.", section="Task"
    )
    pictures: int = field(
        2, title="Pictures", help="In one sequence, each with its caption.", unit="images", ge=1, le=16, section="Task"
    )
    test_images: int = field(
        500,
        title="Test images",
        help="On which captions are judged; all there are at most.",
        unit="images",
        ge=1,
        le=100_000,
        section="Task",
        advanced=True,
    )
    model: AnySize = field(
        CustomModel(n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=24, d_ff=192, window=16, global_every=2),
        title="Decoder",
        help="Its sizes.",
        section="Model",
    )
    tower_layers: int = field(2, title="Tower layers", help="Of the vision tower.", ge=1, le=64, section="Model")
    tower_width: int = field(
        64, title="Tower width", help="A multiple of four heads.", ge=4, le=4096, multiple_of=4, section="Model"
    )
    optimizer: AnyOptimizer = field(Adam(lr=0.003), title="Optimizer", help="Of all weights.", section="Optimizer")
    warmup_steps: int = field(
        20, title="Warm-up", help="Steps over which the rate rises.", unit="steps", ge=0, section="Optimizer"
    )
    steps: int = field(600, title="Steps", help="Updates.", unit="steps", ge=1, le=10_000_000, section="Budget")
    batch_size: int = field(
        32, title="Batch size", help="Sequences in one update.", unit="sequences", ge=1, le=4096, section="Budget"
    )
    eval_every: int = field(
        100, title="Evaluate every", help="Steps between evaluations.", unit="steps", ge=1, section="Budget"
    )
    checkpoint_every: int = field(
        500, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= self.steps:
            refuse("warmup_steps", f"Must be below the {self.steps} steps.")
        found = IMAGE_SETS[self.data]
        if self.batch_size * self.pictures > found.train:
            refuse("batch_size", f"{self.data} has {found.train:,} training images, {self.pictures} in each sequence.")
        context = sizes_of(self.model).context
        longest = max(len(caption) for caption in captions(self.data)) + 1
        width = 1 + self.pictures * (GRIDS[found.side][1] + longest)
        if context is not None and width > context:
            refuse("pictures", f"A sequence takes {width} tokens, the model's context is {context}.")
        return self


def captions(data: str) -> tuple[str, ...]:
    """What is said of each class."""
    return CAPTIONS.get(data, _DIGITS)


EXAMPLES = (
    Example("8x8 digits, two in a sequence", Spec(data="digits", steps=200, eval_every=50), cost_s=30),
    Example("MNIST: the same with 4,000 images of 28x28", Spec(), cost_s=90),
)

METRICS = (
    MetricInfo("eval/caption_accuracy", "", "max", "Share of test images whose caption is right.", primary=True),
    MetricInfo("eval/nll", "nats/token", "min", "Loss of the captions of test images."),
    MetricInfo("train/loss", "nats/token", "min", "Loss of the batch's captions before the update."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient."),
    MetricInfo("perf/examples_per_s", "examples/s", "max", "Training images a second, evaluation left out."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Lay out, train, caption; see the module's docstring."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core import optim
    from models_core.data import image_sets
    from models_core.data.order import BatchOrder
    from models_core.data.tokenizers import BOS, EOS, PAD, ByteTokenizer
    from models_core.nn import decoder, generation, interleaved
    from models_core.nn.loss import next_token_sum
    from models_core.nn.segments import TEXT, Image, Segment, Text, lay_out
    from models_core.training import backend, phases, schedules, snapshot
    from models_core.training.pacing import Pacing
    from models_core.training.step import compile_step, start

    yield Log(backend.prepare(ctx.cache_dir))
    images, tokenizer = image_sets.load(spec.data), ByteTokenizer()
    patch, soft_tokens = GRIDS[images.side]
    config = InterleavedConfig(
        decoder=sizes_of(spec.model),
        vision=VisionConfig(
            image_size=images.side,
            patch_size=patch,
            channels=images.channels,
            n_layers=spec.tower_layers,
            width=spec.tower_width,
            n_heads=4,
            d_ff=4 * spec.tower_width,
            tokens_per_image=soft_tokens,
        ),
        tokens_per_frame=1,
    )
    texts = [[*tokenizer.encode(caption).tolist(), EOS] for caption in captions(spec.data)]
    longest = max(map(len, texts))
    # Every caption takes as many columns as the longest, so that all sequences are alike and one compilation serves.
    texts = [text + [PAD] * (longest - len(text)) for text in texts]

    def towards(pixels: np.ndarray) -> np.ndarray:
        """(images, height, width, channels) in 0 .. 1 as the tower wants them."""
        return np.ascontiguousarray(pixels.reshape(-1, *images.shape).transpose(0, 3, 1, 2) * 2 - 1, np.float32)

    train, test = towards(images.train_x), towards(images.test_x[: spec.test_images])
    labels = images.test_y[: spec.test_images]

    def laid(pixels: np.ndarray, said: np.ndarray, a_row: int) -> dict[str, Any]:
        pairs = [(Image(picture), Text(texts[label])) for picture, label in zip(pixels, said.tolist(), strict=True)]
        rows = [
            [Text([BOS]), *(part for pair in pairs[at : at + a_row] for part in pair)]
            for at in range(0, len(pairs), a_row)
        ]
        return lay_out(rows, config, vocabulary=tokenizer.vocabulary).arrays()

    def scored(params: Any, batch: dict[str, Any]) -> tuple[Any, Any, Any]:
        """The last block's output where a caption's token comes next: what it is, and whether it counts."""
        x = interleaved.embed(params, config, batch)
        run = decoder.run(params["text"], config.decoder, x, batch["positions"], batch["blocks"])
        wanted = batch["tokens"][:, 1:]
        counts = (batch["kinds"][:, 1:] == TEXT) & (wanted != PAD)
        return run.x[:, :-1], wanted, counts.astype(jnp.float32)

    cap = config.decoder.logit_soft_cap

    def loss(params: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, wanted, counts = scored(params, batch)
        total = next_token_sum(x, params["text"]["embedding"], wanted, counts, logit_soft_cap=cap)
        return total / jnp.sum(counts), {}

    @jax.jit
    def judged(params: Any, batch: dict[str, Any]) -> tuple[Any, Any, Any]:
        """By picture, whether all its caption is the most probable; sum of losses; number of tokens."""
        x, wanted, counts = scored(params, batch)
        total = next_token_sum(x, params["text"]["embedding"], wanted, counts, logit_soft_cap=cap)
        likely = jnp.argmax(decoder.unembed(params["text"], x, cap), axis=-1)
        wrong = (likely != wanted) & (counts > 0)
        by_picture = wrong.reshape(-1, spec.pictures, soft_tokens + longest).sum(axis=-1)
        return by_picture == 0, total, jnp.sum(counts)

    at_once = min(250, len(test)) // spec.pictures * spec.pictures or spec.pictures

    def evaluate(params: Any) -> dict[str, float]:
        right, total, count = 0, 0.0, 0.0
        for begin in range(0, len(test), at_once):
            # A last batch is filled up from the first images, which then count once only.
            rows = np.arange(begin, begin + at_once)
            fits = rows < len(test)
            rows = rows % len(test)
            found, nll, tokens = judged(params, laid(test[rows], labels[rows], spec.pictures))
            right += int((np.asarray(found).reshape(-1) & fits).sum())
            total, count = total + float(nll), count + float(tokens)
        return {"eval/caption_accuracy": right / len(test), "eval/nll": total / count}

    root = jax.random.key(ctx.seed)
    fresh = interleaved.init(jax.random.fold_in(root, 0), config, tokenizer.vocabulary)
    schedule = schedules.warmup_then_decay(
        spec.optimizer.lr, steps=spec.steps, warmup_steps=spec.warmup_steps, decay="cosine"
    )
    optimizer = optim.build(spec.optimizer, schedule)
    state = start(fresh, optimizer)
    yield Log(f"{sum(leaf.size for leaf in jax.tree.leaves(fresh)):,} parameters; {len(texts[0])} tokens a caption.")
    a_batch = spec.batch_size * spec.pictures
    order = BatchOrder(ctx.seed, len(train), a_batch)

    def batch_at(index: int) -> dict[str, Any]:
        rows = order.at(index)
        return laid(train[rows], images.train_y[rows], spec.pictures)

    step = compile_step(loss, optimizer, state, batch_at(0))
    finished = yield from phases.train(
        phases.Phase(
            name="decoder",
            offset=0,
            steps=spec.steps,
            advance=lambda state, index: step(state, batch_at(index)),
            metrics={"loss": "train/loss", "grad_norm": "optim/grad_norm"},
            evaluate=evaluate,
            tokens_per_step=a_batch,
            rate="perf/examples_per_s",
        ),
        ctx,
        Pacing(spec.steps, spec.eval_every, spec.checkpoint_every),
        state,
    )
    if finished is None:
        return
    # What it writes behind a picture alone, token by token.
    asked: list[list[Segment]] = [[Text([BOS]), Image(picture)] for picture in test[:SHOWN]]
    prompt = lay_out(asked, config, vocabulary=tokenizer.vocabulary)
    params = finished.params
    made = generation.generate_from(
        params["text"],
        config.decoder,
        interleaved.embed(params, config, prompt.arrays()),
        padding=prompt.padding,
        blocks=prompt.blocks,
        max_new=longest,
        stop_tokens=(EOS,),
    )
    written = [tokenizer.decode(np.asarray(tokens, np.int32)) for tokens in made]
    pairs = [
        {"image": captions(spec.data)[label], "written": text} for label, text in zip(labels, written, strict=False)
    ]
    yield Artifact("captions.json", json.dumps(pairs, indent=1).encode(), "application/json")
    yield Artifact("model.safetensors", snapshot.to_safetensors(params))
