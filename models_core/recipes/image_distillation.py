"""Distillation of an image classifier.

Trains a teacher on real images, then a smaller student on the same images, towards the teacher's distribution over the
classes, under any of the divergences, or from the labels alone: the baseline, which needs no teacher and skips its
phase. Both see the same shifted image. A class can be left out of the student's images, so that all it learns of it
comes from the teacher's opinion of the others (Hinton, Vinyals and Dean, 2015, section 3). Steps count through both
phases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import model_validator

from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.data.image_sets import IMAGE_SETS, ImageSet
from models_core.distill.options import Constant, ForwardKL, HardLabels, Objective, WeightSchedule
from models_core.events import Artifact, Context, Event, Log
from models_core.nn.image_models import AnyImageModel, CnnModel, MlpModel, misfit
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

VERSION = "1"
FAMILY = "distillation"
STUDENT_METRICS = {
    "loss": "train/loss",
    "hard_loss": "train/hard_loss",
    "soft_loss": "train/soft_loss",
    "forward_kl": "distill/forward_kl",
    "teacher_loss": "distill/teacher_loss",
    "grad_norm": "optim/grad_norm",
}


class Spec(BaseSpec):
    """Images, two classifiers, and how one learns from the other."""

    distillation: Objective = field(
        ForwardKL(temperature=4.0), title="Distillation", help="What the student learns from.", section="Task"
    )
    schedule: WeightSchedule = field(
        Constant(), title="Schedule", help="The teacher's weight over the steps.", section="Task", advanced=True
    )
    data: ImageSet = field(
        "mnist5k", title="Images", help="Digits and mnist5k are carried; others are files on the node.", section="Task"
    )
    train_images: int = field(
        0, title="Student's images", help="How many it sees; 0: all that the teacher saw.", unit="examples", ge=0,
        section="Task",
    )  # fmt: skip
    omitted_class: int | None = field(
        None,
        title="Omitted class",
        help="Never shown to the student; empty: none.",
        ge=0,
        section="Task",
        advanced=True,
    )
    shift: int = field(
        2, title="Shift", help="Images are moved by up to this much in training.", unit="pixels", ge=0, le=8,
        section="Task", advanced=True,
    )  # fmt: skip
    teacher: AnyImageModel = field(CnnModel(), title="Teacher", help="The larger model.", section="Model")
    student: AnyImageModel = field(MlpModel(), title="Student", help="The smaller model.", section="Model")
    optimizer: AnyOptimizer = field(Adam(lr=0.003), title="Optimizer", help="For both models.", section="Optimizer")
    warmup_steps: int = field(
        20, title="Warm-up", help="Steps over which each rate rises.", unit="steps", ge=0, section="Optimizer"
    )
    teacher_steps: int = field(
        200, title="Teacher steps", help="Updates of the teacher.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    student_steps: int = field(
        300, title="Student steps", help="Updates of the student.", unit="steps", ge=1, le=1_000_000, section="Budget"
    )
    batch_size: int = field(
        64, title="Batch size", help="Images in one update.", unit="examples", ge=1, le=4096, section="Budget"
    )
    eval_every: int = field(
        50, title="Evaluate every", help="Steps between evaluations on the test images.", unit="steps", ge=1,
        section="Budget",
    )  # fmt: skip
    checkpoint_every: int = field(
        500, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        found = IMAGE_SETS[self.data]
        if self.warmup_steps >= min(self.teacher_steps, self.student_steps):
            refuse("warmup_steps", "Must be below the steps of the teacher and of the student.")
        if self.train_images > found.train:
            refuse("train_images", f"{self.data} has {found.train:,} training images.")
        if self.omitted_class is not None and self.omitted_class >= found.classes:
            refuse("omitted_class", f"{self.data} has the classes 0 to {found.classes - 1}.")
        # An omitted class leaves about this many; classes are nearly balanced in every set.
        least = (self.train_images or found.train) * (1 if self.omitted_class is None else 0.8)
        if self.batch_size > least:
            refuse("batch_size", f"The student sees only about {int(least)} images.")
        for name in ("teacher", "student"):
            wrong = misfit(getattr(self, name), found.side)
            if wrong:
                refuse(f"{name}.{wrong[0]}", wrong[1])
        return self


EXAMPLES = (
    Example(
        "8x8 digits: a perceptron from a convolutional network",
        Spec(data="digits", student=MlpModel(hidden=(16,)), shift=0),
        cost_s=10,
    ),
    Example("MNIST: the same with 4,000 images of 28x28", Spec(), cost_s=40),
    Example("MNIST without a single 3", Spec(omitted_class=3), cost_s=40),
)

_LABELS = {"distillation": HardLabels().model_dump(mode="json")}

TEMPLATES = (
    StudyTemplate(
        "against_labels",
        "Is the teacher worth it?",
        "The same student for the same number of steps on a few hundred images: on their labels, and towards the "
        "teacher at three temperatures.",
        arms={
            "labels alone": _LABELS,
            **{
                f"temperature {t:g}": {"distillation": {"mode": "forward_kl", "temperature": t}}
                for t in (1.0, 4.0, 8.0)
            },
        },
        spec={"train_images": 300},
        seeds=(0, 1, 2),
        baseline="labels alone",
    ),
    StudyTemplate(
        "omitted_class",
        "A class that the student never sees",
        "No 3 among the student's images: from labels it cannot know of them, from the teacher it can.",
        arms={"labels alone": _LABELS, "temperature 8": {"distillation": {"mode": "forward_kl", "temperature": 8.0}}},
        spec={"omitted_class": 3},
        seeds=(0, 1, 2),
        baseline="labels alone",
        metric="eval/omitted_accuracy",
    ),
)

METRICS = (
    MetricInfo("eval/accuracy", "", "max", "Share of test images that the student recognises.", primary=True),
    MetricInfo("eval/nll", "nats", "min", "Student's loss on the test images."),
    MetricInfo("eval/calibration_error", "", "min", "Expected calibration error on the test images, in 15 bins."),
    MetricInfo("eval/agreement", "", "max", "Share of test images on which student and teacher say the same."),
    MetricInfo("eval/omitted_accuracy", "", "max", "Share of the omitted class's test images that are recognised."),
    MetricInfo("teacher/eval_accuracy", "", "max", "Share of test images that the teacher recognises."),
    MetricInfo("teacher/eval_nll", "nats", "min", "Teacher's loss on the test images."),
    MetricInfo("teacher/loss", "nats", "min", "Teacher's loss on its batch."),
    MetricInfo("train/loss", "nats", "min", "What the student minimises."),
    MetricInfo("train/hard_loss", "nats", "min", "Student's loss on the labels."),
    MetricInfo("train/soft_loss", "nats", "min", "Student's loss towards the teacher, at the temperature."),
    MetricInfo("distill/forward_kl", "nats", "min", "KL(teacher || student) at temperature 1."),
    MetricInfo("distill/teacher_loss", "nats", None, "Teacher's own loss on the student's batch."),
    MetricInfo("distill/weight", "", None, "Weight of the teacher."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient of the model in training."),
    MetricInfo("perf/examples_per_s", "examples/s", "max", "Training images a second, evaluation left out."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train the teacher, distil, evaluate; see the module's docstring."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core import optim
    from models_core.data import image_sets
    from models_core.data.order import BatchOrder
    from models_core.distill import calibration, losses
    from models_core.distill.schedules import weight_at
    from models_core.nn import image_models
    from models_core.training import backend, phases, schedules, snapshot
    from models_core.training.evaluation import build_evaluation
    from models_core.training.pacing import Pacing
    from models_core.training.step import compile_step, start

    yield Log(backend.prepare(ctx.cache_dir))
    images = image_sets.load(spec.data)
    root, soft = jax.random.key(ctx.seed), spec.distillation
    taught = not isinstance(soft, HardLabels)
    teacher_steps = spec.teacher_steps if taught else 0
    pacing = Pacing(teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)

    def built(options: Any, stream: int) -> tuple[Any, Any]:
        return image_models.build(options, jax.random.fold_in(root, stream), images.shape, images.classes)

    fresh, teacher_of = built(spec.teacher, 0)
    model, student_of = built(spec.student, 1)
    # The student's images are the first of one order, so that a larger number contains a smaller.
    mine = np.random.Generator(np.random.Philox(key=ctx.seed)).permutation(len(images.train_y))
    mine = mine[: spec.train_images or None]
    if spec.omitted_class is not None:
        mine = mine[images.train_y[mine] != spec.omitted_class]
    numbers = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (fresh, model)]
    yield Log(f"Teacher {numbers[0]:,} parameters, student {numbers[1]:,}, which sees {len(mine):,} images.")

    pixels, labels = jnp.asarray(images.train_x.reshape(-1, *images.shape)), jnp.asarray(images.train_y)
    height, width, _ = images.shape
    everything = np.arange(len(images.train_y), dtype=np.int32)

    def shown(rows: Any, key: Any) -> Any:
        """Images of the batch, each moved by a random whole number of pixels; what comes in is black."""
        chosen = pixels[rows]
        if not spec.shift:
            return chosen
        edge = spec.shift
        padded = jnp.pad(chosen, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        places = jax.random.randint(key, (chosen.shape[0], 2), 0, 2 * edge + 1)

        def cut(image: Any, place: Any) -> Any:
            at = (place[0], place[1], jnp.int32(0))
            return jax.lax.dynamic_slice(image, at, (height, width, image.shape[-1]))

        return jax.vmap(cut)(padded, places)

    def prepared(params: Any, steps: int) -> tuple[Any, Any]:
        schedule = schedules.warmup_then_decay(
            spec.optimizer.lr, steps=steps, warmup_steps=spec.warmup_steps, decay="cosine"
        )
        optimizer = optim.build(spec.optimizer, schedule)
        return optimizer, start(params, optimizer)

    def logits_of(apply: Any) -> Any:
        one = jax.jit(apply)
        test = images.test_x.reshape(-1, *images.shape)
        parts = [slice(begin, begin + 250) for begin in range(0, len(test), 250)]
        return lambda params: np.concatenate([np.asarray(one(params, jnp.asarray(test[part]))) for part in parts])

    def test_sums(params: Any, z: Any, y: Any, valid: Any) -> tuple[dict[str, Any], Any]:
        right = (jnp.argmax(z, axis=-1) == y).astype(jnp.float32) * valid
        found = {"nll": jnp.sum(losses.token_losses(z, y) * valid), "accuracy": jnp.sum(right)}
        return found | calibration.confidence_gaps(z, y, valid), jnp.sum(valid)

    means = build_evaluation(test_sums, batch_size=min(500, len(images.test_y)))

    def scores(z: np.ndarray, prefix: str) -> dict[str, float]:
        found = calibration.error_of(means(None, z, images.test_y), "calibration_error")
        return {f"{prefix}{key}": value for key, value in found.items()}

    teacher: Any = None
    if taught:
        optimizer, state = prepared(fresh, spec.teacher_steps)
        order = BatchOrder(ctx.seed, len(everything), spec.batch_size)
        key = jax.random.fold_in(root, 2)

        def teacher_loss(params: Any, rows: Any, key: Any) -> tuple[Any, dict[str, Any]]:
            return jnp.mean(losses.token_losses(teacher_of(params, shown(rows, key)), labels[rows])), {}

        teacher_step = compile_step(teacher_loss, optimizer, state, order.at(0), key)
        teacher_logits = logits_of(teacher_of)

        def teacher_scores(params: Any) -> dict[str, float]:
            found = scores(teacher_logits(params), "teacher/eval_")
            return {name: found[name] for name in ("teacher/eval_accuracy", "teacher/eval_nll")}

        if phases.is_past(ctx, "teacher", ("teacher", "student")) and ctx.resume is not None:
            teacher = snapshot.from_arrays(ctx.resume.arrays, state.params, "teacher.")
        else:
            trained = yield from phases.train(
                phases.Phase(
                    name="teacher",
                    offset=0,
                    steps=spec.teacher_steps,
                    advance=lambda state, index: teacher_step(state, order.at(index), jax.random.fold_in(key, index)),
                    metrics={"loss": "teacher/loss", "grad_norm": "optim/grad_norm"},
                    evaluate=teacher_scores,
                    tokens_per_step=spec.batch_size,
                    rate="perf/examples_per_s",
                ),
                ctx,
                pacing,
                state,
            )
            if trained is None:
                return
            teacher = trained.params
    kept = snapshot.to_arrays(teacher, "teacher.")
    said = logits_of(teacher_of)(teacher).argmax(axis=-1) if taught else None

    peak = soft.soft_weight if not isinstance(soft, HardLabels) else 0.0
    weights = [weight_at(spec.schedule, step, spec.student_steps, peak) for step in range(spec.student_steps)]

    def student_loss(params: Any, rows: Any, key: Any, weight: Any, teacher: Any) -> tuple[Any, dict[str, Any]]:
        seen = shown(rows, key)
        z = student_of(params, seen)
        hard = jnp.mean(losses.token_losses(z, labels[rows]))
        if isinstance(soft, HardLabels):
            return hard, {"hard_loss": hard}
        wanted = jax.lax.stop_gradient(teacher_of(teacher, seen))
        towards = jnp.mean(losses.divergence_tokens(soft, wanted, z))
        return losses.mixed(hard, towards, soft_weight=weight), {
            "hard_loss": hard,
            "soft_loss": towards,
            "forward_kl": jnp.mean(losses.divergence_tokens(ForwardKL(t_squared=False), wanted, z)),
            "teacher_loss": jnp.mean(losses.token_losses(wanted, labels[rows])),
        }

    optimizer, state = prepared(model, spec.student_steps)
    own_order, own_key = BatchOrder(ctx.seed, len(mine), spec.batch_size), jax.random.fold_in(root, 3)

    def rows_of(index: int) -> np.ndarray:
        rows: np.ndarray = mine[own_order.at(index)].astype(np.int32)
        return rows

    student_step = compile_step(student_loss, optimizer, state, rows_of(0), own_key, jnp.float32(0), teacher)
    student_logits = logits_of(student_of)
    of_class = images.test_y == (-1 if spec.omitted_class is None else spec.omitted_class)

    def evaluate(params: Any) -> dict[str, float]:
        z = student_logits(params)
        values, best = scores(z, "eval/"), z.argmax(axis=-1)
        if said is not None:
            values["eval/agreement"] = float((best == said).mean())
        if of_class.any():
            values["eval/omitted_accuracy"] = float((best == images.test_y)[of_class].mean())
        return values

    finished = yield from phases.train(
        phases.Phase(
            name="student",
            offset=teacher_steps,
            steps=spec.student_steps,
            advance=lambda state, index: student_step(
                state, rows_of(index), jax.random.fold_in(own_key, index), jnp.float32(weights[index]), teacher
            ),
            metrics=STUDENT_METRICS,
            evaluate=evaluate,
            tokens_per_step=spec.batch_size,
            rate="perf/examples_per_s",
            kept=lambda: kept,
            counted=lambda updates: {"distill/weight": weights[updates - 1]},
        ),
        ctx,
        pacing,
        state,
    )
    if finished is None:
        return
    best = student_logits(finished.params).argmax(axis=-1)
    columns = [images.test_y, best] + ([] if said is None else [said])
    lines = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    head = "label,student" + ("" if said is None else ",teacher")
    yield Artifact("predictions.csv", "\n".join([head, *lines, ""]).encode(), "text/csv")
    yield Artifact("student.safetensors", snapshot.to_safetensors(finished.params))
    if taught:
        yield Artifact("teacher.safetensors", snapshot.to_safetensors(teacher))
