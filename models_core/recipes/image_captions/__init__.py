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

from models_core.catalog import Example, MetricInfo
from models_core.events import Artifact, Context, Event, Log
from models_core.recipes.image_captions.spec import Spec as Spec

VERSION = "1"
FAMILY = "model"

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
    """Train, judge and let it write; see the module's docstring."""
    import jax

    from models_core import optim
    from models_core.data.order import BatchOrder
    from models_core.nn import interleaved
    from models_core.recipes.image_captions.task import Captioning
    from models_core.training import backend, phases, schedules, snapshot
    from models_core.training.pacing import Pacing
    from models_core.training.step import compile_step, start

    yield Log(backend.prepare(ctx.cache_dir))
    task = Captioning(spec)
    fresh = interleaved.init(jax.random.fold_in(jax.random.key(ctx.seed), 0), task.config, task.vocabulary)
    schedule = schedules.warmup_then_decay(
        spec.optimizer.lr, steps=spec.steps, warmup_steps=spec.warmup_steps, decay="cosine"
    )
    optimizer = optim.build(spec.optimizer, schedule)
    state = start(fresh, optimizer)
    yield Log(f"{sum(leaf.size for leaf in jax.tree.leaves(fresh)):,} parameters; {task.longest} tokens a caption.")
    a_batch = spec.batch_size * spec.pictures
    order = BatchOrder(ctx.seed, task.training_images, a_batch)
    step = compile_step(task.loss, optimizer, state, task.training_batch(order.at(0)))
    finished = yield from phases.train(
        phases.Phase(
            name="decoder",
            offset=0,
            steps=spec.steps,
            advance=lambda state, index: step(state, task.training_batch(order.at(index))),
            metrics={"loss": "train/loss", "grad_norm": "optim/grad_norm"},
            evaluate=task.evaluate,
            tokens_per_step=a_batch,
            rate="perf/examples_per_s",
        ),
        ctx,
        Pacing(spec.steps, spec.eval_every, spec.checkpoint_every),
        state,
    )
    if finished is None:
        return
    written = json.dumps(task.written(finished.params), indent=1).encode()
    yield Artifact("captions.json", written, "application/json")
    yield Artifact("model.safetensors", snapshot.to_safetensors(finished.params))
