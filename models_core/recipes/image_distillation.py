"""Distillation of an image classifier.

Trains a teacher on real images, then a smaller student on the same images, towards the teacher's distribution over the
classes, under any of the divergences, or from the labels alone: the baseline, which needs no teacher and skips its
phase. Both see the same shifted image. A class can be left out of the student's images, so that all it learns of it
comes from the teacher's opinion of the others (Hinton, Vinyals and Dean, 2015, section 3). In JAX or PyTorch, from the
same weights and batches. Steps count through both phases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from models_core.benches import fields
from models_core.benches.measures import STUDENT_METRICS
from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.data.image_sets import IMAGE_SETS, ImageSet
from models_core.distill.options import Constant, ForwardKL, HardLabels, Objective, WeightSchedule
from models_core.events import Artifact, Context, Event, Log
from models_core.nn.image_models import AnyImageModel, CnnModel, MlpModel, ResNetModel, misfit
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

if TYPE_CHECKING:
    import numpy as np

    from models_core.data._dataset import Images

VERSION = "2"
FAMILY = "distillation"
TESTS_AT_ONCE = 250


class Spec(BaseSpec):
    """Images, two classifiers, and how one learns from the other."""

    framework: fields.Framework = fields.framework_field()
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
    warmup_steps: int = fields.warmup_field(20, "Steps over which each rate rises.")
    teacher_steps: int = fields.steps_field(200, "Teacher steps", "Updates of the teacher.")
    student_steps: int = fields.steps_field(300, "Student steps", "Updates of the student.")
    batch_size: int = fields.batch_field(64, "Images in one update.", "examples", 4096)
    eval_every: int = fields.eval_every_field(50, "Steps between evaluations on the test images.")
    checkpoint_every: int = fields.checkpoint_every_field(500)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        found = IMAGE_SETS[self.data]
        fields.check_warmup(self)
        fields.check_optimizer(self)
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
    Example(
        "8x8 digits in PyTorch: a perceptron from a ResNet",
        Spec(
            framework="torch",
            data="digits",
            teacher=ResNetModel(width=8, blocks=(1, 1)),
            student=MlpModel(hidden=(32,)),
            optimizer=Adam(lr=0.01),
            teacher_steps=120,
            shift=0,
        ),
        cost_s=17,
    ),
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
    import numpy as np

    from models_core import benches
    from models_core.benches.plain.shifted import ShiftedImages
    from models_core.data import image_sets
    from models_core.data.order import BatchOrder
    from models_core.distill import calibration
    from models_core.distill.schedules import weight_at
    from models_core.training import phases
    from models_core.training.pacing import Pacing

    bench, device = benches.plain_bench(spec.framework, ctx.seed, ctx.cache_dir)
    yield Log(device)
    images = image_sets.load(spec.data)
    soft, losses = spec.distillation, bench.losses
    taught = not isinstance(soft, HardLabels)
    teacher_steps = spec.teacher_steps if taught else 0
    pacing = Pacing(teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)
    fresh, teacher_of = bench.image_model(spec.teacher, 0, images.shape, images.classes)
    model, student_of = bench.image_model(spec.student, 1, images.shape, images.classes)
    mine = _students_images(spec, images, ctx.seed)
    numbers = [bench.count(params) for params in (fresh, model)]
    yield Log(f"Teacher {numbers[0]:,} parameters, student {numbers[1]:,}, which sees {len(mine):,} images.")

    def logits_of(apply: Any) -> Any:
        """`logits(params)` of all test images."""
        one, test = bench.compiled(apply), images.test_x.reshape(-1, *images.shape)
        parts = [bench.to_device(test[at : at + TESTS_AT_ONCE]) for at in range(0, len(test), TESTS_AT_ONCE)]
        return lambda params: np.concatenate([bench.to_numpy(one(params, part)) for part in parts])

    teacher: Any = None
    if taught:
        shown = ShiftedImages(images, spec.shift, seed=ctx.seed, stream=2)
        order, teacher_logits = BatchOrder(ctx.seed, len(images.train_y), spec.batch_size), logits_of(teacher_of)

        def teacher_loss(params: Any, batch: Any, given: Any) -> tuple[Any, dict[str, Any]]:
            return losses.token_losses(teacher_of(params, batch["x"]), batch["y"]).mean(), {}

        def teacher_scores(params: Any) -> dict[str, float]:
            found = calibration.scores(teacher_logits(params), images.test_y)
            return {f"teacher/eval_{name}": found[name] for name in ("accuracy", "nll")}

        state, update_teacher = bench.training(
            teacher_loss,
            fresh,
            spec.optimizer,
            steps=spec.teacher_steps,
            warmup_steps=spec.warmup_steps,
            example=shown.batch(order.at(0), 0),
        )
        phase = phases.Phase(
            name="teacher",
            offset=0,
            steps=spec.teacher_steps,
            advance=lambda state, index: update_teacher(state, shown.batch(order.at(index), index)),
            metrics={"loss": "teacher/loss", "grad_norm": "optim/grad_norm"},
            evaluate=teacher_scores,
            tokens_per_step=spec.batch_size,
            rate="perf/examples_per_s",
            keeping=bench.keeping,
        )
        learnt = yield from phases.learnt(phase, ctx, pacing, state, bench.restored)
        if learnt is None:
            return
        teacher = bench.frozen(learnt)
    kept = bench.arrays(teacher, "teacher.")
    said = teacher_logits(teacher).argmax(axis=-1) if taught else None

    peak = soft.soft_weight if not isinstance(soft, HardLabels) else 0.0
    weights = [weight_at(spec.schedule, step, spec.student_steps, peak) for step in range(spec.student_steps)]
    own_shown = ShiftedImages(images, spec.shift, seed=ctx.seed, stream=3)
    own_order = BatchOrder(ctx.seed, len(mine), spec.batch_size)

    def student_loss(params: Any, batch: Any, teacher: Any) -> tuple[Any, dict[str, Any]]:
        z = student_of(params, batch["x"])
        hard = losses.token_losses(z, batch["y"]).mean()
        if isinstance(soft, HardLabels):
            return hard, {"hard_loss": hard}
        wanted = teacher_of(teacher, batch["x"])
        towards = losses.divergence_tokens(soft, wanted, z).mean()
        return (1 - batch["weight"]) * hard + batch["weight"] * towards, {
            "hard_loss": hard,
            "soft_loss": towards,
            "forward_kl": losses.divergence_tokens(ForwardKL(t_squared=False), wanted, z).mean(),
            "teacher_loss": losses.token_losses(wanted, batch["y"]).mean(),
        }

    student_logits = logits_of(student_of)
    of_class = images.test_y == (-1 if spec.omitted_class is None else spec.omitted_class)

    def evaluate(params: Any) -> dict[str, float]:
        z = student_logits(params)
        best = z.argmax(axis=-1)
        values = {f"eval/{name}": value for name, value in calibration.scores(z, images.test_y).items()}
        if said is not None:
            values["eval/agreement"] = float((best == said).mean())
        if of_class.any():
            values["eval/omitted_accuracy"] = float((best == images.test_y)[of_class].mean())
        return values

    def student_batch(index: int) -> dict[str, Any]:
        return own_shown.batch(mine[own_order.at(index)], index) | {"weight": np.float32(weights[index])}

    state, update = bench.training(
        student_loss,
        model,
        spec.optimizer,
        steps=spec.student_steps,
        warmup_steps=spec.warmup_steps,
        example=student_batch(0),
        given=teacher,
    )
    finished = yield from phases.train(
        phases.Phase(
            name="student",
            offset=teacher_steps,
            steps=spec.student_steps,
            advance=lambda state, index: update(state, student_batch(index)),
            metrics=STUDENT_METRICS,
            evaluate=evaluate,
            tokens_per_step=spec.batch_size,
            rate="perf/examples_per_s",
            kept=lambda: kept,
            counted=lambda updates: {"distill/weight": weights[updates - 1]},
            keeping=bench.keeping,
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
    yield Artifact("student.safetensors", bench.exported(finished.params))
    if taught:
        yield Artifact("teacher.safetensors", bench.exported(teacher))


def _students_images(spec: Spec, images: Images, seed: int) -> np.ndarray:
    """Rows of the training images that the student sees: the first of one order, so that more contain fewer."""
    import numpy as np

    mine = np.random.Generator(np.random.Philox(key=seed)).permutation(len(images.train_y))
    mine = mine[: spec.train_images or None]
    return mine if spec.omitted_class is None else mine[images.train_y[mine] != spec.omitted_class]
