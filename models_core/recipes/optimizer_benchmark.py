"""Optimizer benchmark.

Trains one small network on real images with one optimizer under a fixed budget of steps, and measures how far and how
fast it comes. Same seed, same initial weights and same batches for every optimizer. With a target, steps and seconds to
the target are reported; infinity means that the target was not reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.optim.sgd import Options as Sgd
from models_core.optim.sonew import Options as Sonew
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

if TYPE_CHECKING:
    from models_core.data._dataset import Images

VERSION = "1"
FAMILY = "optimizer"
# The smallest training part of the data sets below.
_FEWEST_EXAMPLES = {"digits": 1437, "mnist5k": 4000}


class Autoencoder(BaseSpec):
    """Compress images to a short code and rebuild them."""

    task: Literal["autoencoder"] = field(
        "autoencoder", title="Task", help="Rebuild images from a short code.", section="Task"
    )
    data: Literal["digits", "mnist5k"] = field(
        "digits", title="Images", help="8x8 digits (1,437) or 28x28 MNIST (4,000).", section="Task"
    )
    width: float = field(
        0.128,
        title="Width",
        help="Factor on the published hidden sizes 1000, 500 and 250.",
        gt=0,
        le=1,
        section="Model",
    )
    code: int = field(8, title="Code", help="Size of the narrowest layer.", ge=1, le=1000, section="Model")


class Classifier(BaseSpec):
    """Tell which digit an image shows."""

    task: Literal["classifier"] = field("classifier", title="Task", help="Tell which digit it is.", section="Task")
    data: Literal["digits", "mnist5k"] = field(
        "digits", title="Images", help="8x8 digits (1,437) or 28x28 MNIST (4,000).", section="Task"
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = field(
        (128, 64), title="Hidden layers", help="Their sizes, first to last.", max_length=8, section="Model"
    )


class Target(BaseSpec):
    """What counts as having arrived."""

    metric: Literal["eval/loss", "eval/accuracy"] = field(
        "eval/loss", title="Metric", help="Loss must fall to the value, accuracy rise to it.", section="Budget"
    )
    value: float = field(title="Value", help="The target.", section="Budget")


class Spec(BaseSpec):
    """One optimizer on one task."""

    workload: Annotated[Autoencoder | Classifier, Field(discriminator="task")] = field(
        Autoencoder(), title="Workload", help="What is learnt.", section="Task"
    )
    optimizer: AnyOptimizer = field(Adam(), title="Optimizer", help="How it is learnt.", section="Optimizer")
    steps: int = field(480, title="Steps", help="Updates.", unit="steps", ge=1, le=1_000_000, section="Budget")
    batch_size: int = field(
        200, title="Batch size", help="Images in one update.", unit="examples", ge=1, le=4000, section="Budget"
    )
    warmup_steps: int = field(
        24, title="Warm-up", help="Steps over which the learning rate rises.", unit="steps", ge=0, section="Budget"
    )
    decay: Literal["none", "linear", "cosine"] = field(
        "linear", title="Decay", help="How the learning rate falls after warm-up, to 0 at the end.", section="Budget"
    )
    eval_every: int = field(
        40,
        title="Evaluate every",
        help="Steps between evaluations on the test images.",
        unit="steps",
        ge=1,
        section="Budget",
    )
    target: Target | None = field(None, title="Target", help="Measure the way to this value.", section="Budget")
    checkpoint_every: int = field(
        500, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= self.steps:
            refuse("warmup_steps", f"Must be below the {self.steps} steps.")
        available = _FEWEST_EXAMPLES[self.workload.data]
        if self.batch_size > available:
            refuse("batch_size", f"{self.workload.data} has only {available} training images.")
        if self.target and self.target.metric == "eval/accuracy" and self.workload.task != "classifier":
            refuse("target.metric", "An autoencoder has no accuracy.")
        return self


EXAMPLES = (
    Example(
        "Adam on the digits autoencoder",
        Spec(optimizer=Adam(lr=0.01), target=Target(value=17.5)),
        cost_s=9,
    ),
    Example(
        "Tridiagonal SONew on the digits autoencoder",
        Spec(optimizer=Sonew(lr=0.01), target=Target(value=17.5)),
        cost_s=10,
    ),
    Example(
        "Momentum on an MNIST classifier",
        Spec(
            workload=Classifier(data="mnist5k"),
            optimizer=Sgd(),
            target=Target(metric="eval/accuracy", value=0.93),
        ),
        cost_s=11,
    ),
)

TEMPLATES = (
    StudyTemplate(
        "sonew_bands",
        "SONew against first-order methods",
        "The digits autoencoder under the same budget: momentum, Adam, and SONew with a diagonal, a tridiagonal and a "
        "band-4 preconditioner. All SONew arms share one learning rate; tune "
        "each before you conclude.",
        arms={
            "adam": {"optimizer": {"kind": "adam", "lr": 0.01}},
            "momentum": {"optimizer": {"kind": "sgd", "lr": 0.05}},
            "diagonal": {"optimizer": {"kind": "sonew", "lr": 0.01, "band": 0}},
            "tridiagonal": {"optimizer": {"kind": "sonew", "lr": 0.01, "band": 1}},
            "band 4": {"optimizer": {"kind": "sonew", "lr": 0.01, "band": 4}},
        },
        seeds=(0, 1, 2),
    ),
)

METRICS = (
    MetricInfo("eval/loss", "nats", "min", "Mean loss on the test images.", primary=True),
    MetricInfo("eval/accuracy", "", "max", "Share of test images recognised (classifier only)."),
    MetricInfo("train/loss", "nats", "min", "Loss of the batch before the update."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient."),
    MetricInfo("optim/lr", "", None, "Learning rate of the update."),
    MetricInfo("optim/state_bytes", "bytes", "min", "Memory of the optimizer's state."),
    MetricInfo("perf/examples_per_s", "examples/s", "max", "Training images a second, evaluation left out."),
    MetricInfo("steps_to_target", "steps", "min", "Updates until the target; infinite if it was not reached."),
    MetricInfo("seconds_to_target", "s", "min", "Training time until the target; infinite if it was not reached."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train, evaluate and report; see the module's docstring."""
    import jax
    import jax.numpy as jnp

    from models_core import optim
    from models_core.data.order import BatchOrder
    from models_core.training import backend, schedules, snapshot
    from models_core.training.evaluation import build_evaluation
    from models_core.training.pacing import Pacing
    from models_core.training.step import check_finite, compile_step, start
    from models_core.training.stopwatch import Stopwatch

    yield Log(backend.prepare(ctx.cache_dir))
    images = _load(spec.workload.data)
    params, losses = _network(spec, images, jax.random.key(ctx.seed))
    schedule = schedules.warmup_then_decay(
        spec.optimizer.lr, steps=spec.steps, warmup_steps=spec.warmup_steps, decay=spec.decay
    )
    optimizer = optim.build(spec.optimizer, schedule)
    state = start(params, optimizer)

    def batch_loss(params: Any, x: Any, y: Any, rows: Any) -> tuple[Any, dict[str, Any]]:
        return jnp.mean(losses(params, x[rows], y[rows])["loss"]), {}

    def test_sums(params: Any, x: Any, y: Any, valid: Any) -> tuple[dict[str, Any], Any]:
        return {f"eval/{key}": jnp.sum(value * valid) for key, value in losses(params, x, y).items()}, jnp.sum(valid)

    evaluate = build_evaluation(test_sums, batch_size=min(500, len(images.test_y)))
    order = BatchOrder(ctx.seed, len(images.train_y), spec.batch_size)
    pacing = Pacing(spec.steps, spec.eval_every, spec.checkpoint_every)
    watch = Stopwatch()
    reached: dict[str, float] | None = None
    first = 0
    if ctx.resume is None:
        yield Metric(0, evaluate(state.params, images.test_x, images.test_y))
        yield Metric(0, {"optim/state_bytes": snapshot.tree_bytes(state.opt_state)})
    else:
        state = snapshot.from_arrays(ctx.resume.arrays, state)
        first, watch = ctx.resume.step, Stopwatch(ctx.resume.state["seconds"])
        reached = ctx.resume.state["reached"]

    x, y = jnp.asarray(images.train_x), jnp.asarray(images.train_y)
    train = compile_step(batch_loss, optimizer, state, x, y, order.at(first))

    def checkpoint(step: int) -> Checkpoint:
        check_finite(state)
        return Checkpoint(step, snapshot.to_arrays(state), {"seconds": watch.seconds, "reached": reached})

    last_report = first
    for step in range(first + 1, spec.steps + 1):
        if ctx.should_stop():
            yield checkpoint(step - 1)
            return
        watch.start()
        state, metrics = train(state, x, y, order.at(step - 1))
        if not (pacing.reports(step) or pacing.evaluates(step) or pacing.saves(step)):
            continue
        jax.block_until_ready(state)  # type: ignore[no-untyped-call]
        watch.stop()
        check_finite(state)
        if pacing.reports(step):
            examples = spec.batch_size * (step - last_report)
            last_report = step
            yield Metric(
                step,
                {
                    "train/loss": float(metrics["loss"]),
                    "optim/grad_norm": float(metrics["grad_norm"]),
                    "optim/lr": float(schedule(jnp.asarray(step - 1))),
                    "perf/examples_per_s": examples / watch.lap_s(),
                },
            )
        if pacing.evaluates(step):
            scores = evaluate(state.params, images.test_x, images.test_y)
            yield Metric(step, scores)
            if spec.target and reached is None and _arrived(spec.target, scores):
                reached = {"steps_to_target": step, "seconds_to_target": watch.seconds}
                yield Metric(step, reached)
        if pacing.tells_progress(step):
            yield Progress(step, spec.steps, "training")
        if pacing.saves(step):
            yield checkpoint(step)

    if spec.target and reached is None:
        yield Log(f"Did not reach {spec.target.metric} {spec.target.value:g} in {spec.steps} steps.", "warning")
        yield Metric(spec.steps, {"steps_to_target": float("inf"), "seconds_to_target": float("inf")})
    yield Artifact("model.safetensors", snapshot.to_safetensors(state.params))


def _arrived(target: Target, scores: dict[str, float]) -> bool:
    score = scores[target.metric]
    return score <= target.value if target.metric == "eval/loss" else score >= target.value


def _load(name: str) -> Images:
    from models_core.data import digits, mnist5k

    return digits.load() if name == "digits" else mnist5k.load()


def _network(spec: Spec, images: Images, key: Any) -> tuple[Any, Any]:
    """Initial parameters, and a function (params, x, y) -> values per image, "loss" among them."""
    import jax.numpy as jnp
    import optax

    from models_core.nn import autoencoder, mlp

    workload, pixels = spec.workload, images.side**2
    if isinstance(workload, Autoencoder):

        def rebuild(params: Any, x: Any, y: Any) -> dict[str, Any]:
            return {"loss": autoencoder.reconstruction_loss(autoencoder.apply(params, x), x)}

        return autoencoder.init(key, pixels, width=workload.width, code=workload.code), rebuild

    def classify(params: Any, x: Any, y: Any) -> dict[str, Any]:
        logits = mlp.apply(params, x)
        right = (jnp.argmax(logits, axis=-1) == y).astype(jnp.float32)
        return {"loss": optax.softmax_cross_entropy_with_integer_labels(logits, y), "accuracy": right}

    return mlp.init(key, [pixels, *workload.hidden, 10]), classify
