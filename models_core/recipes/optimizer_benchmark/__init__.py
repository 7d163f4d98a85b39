"""Optimizer benchmark.

Trains one small network on real data with one optimizer under a fixed budget of steps, and measures how far and how
fast it comes. Same seed, same initial weights and same batches for every optimizer. Workloads: an autoencoder and
classifiers (perceptron, convolutional, ResNet, vision transformer) on images, a decoder on text, word vectors by matrix
factorisation, and online logistic regression, whose loss is the mean of what it paid before each update. In JAX or
PyTorch, from the same weights, batches and rates. With a target, steps, examples and seconds to the target are
reported; infinity means that the target was not reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.optim.adam import Options as Adam
from models_core.optim.s_adagrad import Options as SAdagrad
from models_core.optim.sgd import Options as Sgd
from models_core.optim.sonew import Options as Sonew
from models_core.recipes.optimizer_benchmark.spec import Spec, Target
from models_core.training.workloads.classifier import Convolutional, ResNet, VisionTransformer
from models_core.training.workloads.classifier import Options as Classifier
from models_core.training.workloads.language_model import Options as LanguageModel
from models_core.training.workloads.online_convex import Options as OnlineConvex
from models_core.training.workloads.word_vectors import Options as WordVectors

if TYPE_CHECKING:
    from models_core.recipes.optimizer_benchmark.online import Regret
    from models_core.training.workloads._problem import Problem

VERSION = "2"
FAMILY = "optimizer"

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
    Example(
        "A convolutional network on digits",
        Spec(workload=Classifier(network=Convolutional()), optimizer=Adam(lr=0.003), steps=200, batch_size=100),
        cost_s=13,
    ),
    Example(
        "A ResNet with group norm on digits",
        Spec(workload=Classifier(network=ResNet()), optimizer=Adam(lr=0.01), steps=120, batch_size=64),
        cost_s=20,
    ),
    Example(
        "A vision transformer on digits",
        Spec(workload=Classifier(network=VisionTransformer()), optimizer=Adam(lr=0.003), steps=300, batch_size=64),
        cost_s=12,
    ),
    Example(
        "A decoder on Python source",
        Spec(workload=LanguageModel(), optimizer=Adam(lr=0.003), steps=200, batch_size=16, eval_every=50),
        cost_s=26,
    ),
    Example(
        "S-AdaGrad in one pass over the breast cancer table, with its regret",
        Spec(
            workload=OnlineConvex(),
            optimizer=SAdagrad(lr=0.5),
            steps=569,
            batch_size=1,
            warmup_steps=0,
            decay="none",
            eval_every=10,
        ),
        cost_s=10,
    ),
    Example(
        "Word vectors of Python's documentation",
        Spec(workload=WordVectors(), optimizer=Adam(lr=0.02), steps=600, batch_size=1000, eval_every=60),
        cost_s=15,
    ),
    Example(
        "Tridiagonal SONew on the digits autoencoder, in PyTorch",
        Spec(framework="torch", optimizer=Sonew(lr=0.01), target=Target(value=17.5)),
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
    StudyTemplate(
        "frameworks",
        "The same optimizers in JAX and PyTorch",
        "Two optimizers on the digits autoencoder in either framework, from the same weights and batches: losses "
        "differ by rounding and what it grows to, seconds and memory are the framework's.",
        arms={
            f"{name}, {title}": {"framework": framework, "optimizer": optimizer}
            for name, optimizer in {
                "adam": {"kind": "adam", "lr": 0.01},
                "tridiagonal": {"kind": "sonew", "lr": 0.01},
            }.items()
            for framework, title in {"jax": "JAX", "torch": "PyTorch"}.items()
        },
        spec={"target": {"value": 17.5}},
        seeds=(0, 1, 2),
    ),
    StudyTemplate(
        "published_autoencoder",
        "The published autoencoder setting (needs MNIST's files)",
        "784-1000-500-250-30 and back on 60,000 images, batch 1000, 100 epochs, five epochs of warm-up, a rate that "
        "changes by the epoch. The learning rates are Stillroom's guesses, not the published search's: tune each.",
        spec={
            "workload": {"task": "autoencoder", "data": "mnist", "width": 1.0, "code": 30},
            "steps": 6000,
            "batch_size": 1000,
            "warmup_steps": 300,
            "schedule": "epoch",
            "eval_every": 60,
        },
        arms={
            "adam": {"optimizer": {"kind": "adam", "lr": 0.001}},
            "diagonal": {"optimizer": {"kind": "sonew", "lr": 0.001, "band": 0}},
            "tridiagonal": {"optimizer": {"kind": "sonew", "lr": 0.001, "band": 1}},
            "band 4": {"optimizer": {"kind": "sonew", "lr": 0.001, "band": 4}},
        },
        seeds=(0, 1, 2),
        metric="train/final_loss",
    ),
    StudyTemplate(
        "online_convex",
        "Regret in one pass",
        "Online logistic regression on the breast cancer table, shuffled by the seed: gradient descent, AdaGrad by "
        "coordinate, and AdaGrad on a sketch of ten directions. The rates were not tuned.",
        spec={
            "workload": {"task": "online_convex", "order": "shuffled"},
            "steps": 569,
            "batch_size": 1,
            "warmup_steps": 0,
            "decay": "none",
            "eval_every": 10,
        },
        arms={
            "gradient descent": {"optimizer": {"kind": "ogd", "lr": 0.5}},
            "adagrad": {"optimizer": {"kind": "adagrad", "lr": 0.3}},
            "s-adagrad": {"optimizer": {"kind": "s_adagrad", "lr": 0.5, "rank": 10}},
        },
        seeds=(0, 1, 2),
        metric="online/regret",
    ),
)

METRICS = (
    MetricInfo(
        "eval/loss",
        "",
        "min",
        "Mean loss on the test examples: nats an image or a token, squared nats a pair of words; online, the mean "
        "of the losses met so far.",
        primary=True,
    ),
    MetricInfo("eval/accuracy", "", "max", "Share of test images recognised (classifiers only)."),
    MetricInfo("train/loss", "", "min", "Loss of the batch before the update."),
    MetricInfo("train/final_loss", "", "min", "Mean loss on all training examples after the last step."),
    MetricInfo("train/final_accuracy", "", "max", "Share of all training images recognised after the last step."),
    MetricInfo("online/regret", "nats", "min", "Losses met minus those of the best fixed point in hindsight."),
    MetricInfo("online/mean_regret", "nats", "min", "Regret divided by the examples met."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient."),
    MetricInfo("optim/lr", "", None, "Learning rate of the update."),
    MetricInfo("optim/state_bytes", "bytes", "min", "Memory of the optimizer's state."),
    MetricInfo("perf/examples_per_s", "examples/s", "max", "Training examples a second, evaluation left out."),
    MetricInfo("perf/step_s", "s", "min", "Mean time of a step so far."),
    MetricInfo("perf/gradient_s", "s", "min", "Of it the loss and its gradient, timed alone at evaluations (median)."),
    MetricInfo("perf/update_s", "s", "min", "Of it the rest: the optimizer's update."),
    MetricInfo("steps_to_target", "steps", "min", "Updates until the target; infinite if it was not reached."),
    MetricInfo("examples_to_target", "examples", "min", "Examples until the target; infinite if it was not reached."),
    MetricInfo("seconds_to_target", "s", "min", "Training time until the target; infinite if it was not reached."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train, evaluate and report; see the module's docstring."""
    from models_core import benches
    from models_core.training import schedules, workloads
    from models_core.training.pacing import Pacing
    from models_core.training.stopwatch import Stopwatch

    yield Log(benches.prepare(spec.framework, ctx.cache_dir))
    problem = workloads.build(spec.workload)
    if problem.note:
        yield Log(problem.note)
    order = problem.order(ctx.seed, spec.batch_size)
    schedule = _schedule(spec, order.steps_per_epoch)
    rates = schedules.table(schedule, spec.steps)
    learner = benches.learner(spec.framework, spec.workload, problem, spec.batch_size)
    training = learner.training(spec.optimizer, schedule, steps=spec.steps, seed=ctx.seed)
    pacing = Pacing(spec.steps, spec.eval_every, spec.checkpoint_every)
    watch = Stopwatch()
    reached: dict[str, float] | None = None
    regret = _regret(spec, problem, ctx)
    evaluate = learner.evaluation(problem.test or problem.train, "eval/")
    first = 0
    if ctx.resume is None:
        yield Metric(0, evaluate(training))
        yield Metric(0, {"optim/state_bytes": training.state_bytes()})
    else:
        training.restore(ctx.resume.arrays)
        first, watch = ctx.resume.step, Stopwatch(ctx.resume.state["seconds"])
        reached = ctx.resume.state["reached"]

    training.prepare()
    clock = learner.clock(training)

    def checkpoint(step: int) -> Checkpoint:
        training.check()
        paid = regret.paid if regret else 0.0
        kept = {"seconds": watch.seconds, "reached": reached, "paid": paid}
        return Checkpoint(step, training.arrays(), kept)

    last_report = first
    for step in range(first + 1, spec.steps + 1):
        if ctx.should_stop():
            yield checkpoint(step - 1)
            return
        watch.start()
        metrics = training.step(order.at(step - 1))
        if regret:
            regret.add(metrics["loss"])
        if not (pacing.reports(step) or pacing.evaluates(step) or pacing.saves(step)):
            continue
        training.wait()
        watch.stop()
        training.check()
        if pacing.reports(step):
            examples = spec.batch_size * (step - last_report)
            last_report = step
            yield Metric(
                step,
                {
                    "train/loss": float(metrics["loss"]),
                    "optim/grad_norm": float(metrics["grad_norm"]),
                    "optim/lr": rates[step - 1],
                    "perf/examples_per_s": examples / watch.lap_s(),
                },
            )
        if pacing.evaluates(step):
            scores = regret.metrics(step) if regret else evaluate(training)
            yield Metric(step, scores)
            yield Metric(step, clock.split(watch.seconds / step, order.at(step - 1)))
            if spec.target and reached is None and _arrived(spec.target, scores):
                reached = {
                    "steps_to_target": step,
                    "examples_to_target": step * spec.batch_size,
                    "seconds_to_target": watch.seconds,
                }
                yield Metric(step, reached)
        if pacing.tells_progress(step):
            yield Progress(step, spec.steps, "training")
        if pacing.saves(step):
            yield checkpoint(step)

    yield Metric(spec.steps, learner.evaluation(problem.train, "train/final_")(training))
    if spec.target and reached is None:
        yield Log(f"Did not reach {spec.target.metric} {spec.target.value:g} in {spec.steps} steps.", "warning")
        never = float("inf")
        yield Metric(spec.steps, {f"{unit}_to_target": never for unit in ("steps", "examples", "seconds")})
    yield Artifact("model.safetensors", training.exported())


def _arrived(target: Target, scores: dict[str, float]) -> bool:
    score = scores[target.metric]
    return score <= target.value if target.metric == "eval/loss" else score >= target.value


def _schedule(spec: Spec, epoch_steps: int) -> Any:
    """The learning rate over the number of updates made."""
    from models_core.training import schedules

    if spec.schedule == "epoch":
        return schedules.by_epoch(
            spec.optimizer.lr,
            steps=spec.steps,
            warmup_steps=spec.warmup_steps,
            epoch_steps=epoch_steps,
            falls=spec.decay == "linear",
        )
    return schedules.warmup_then_decay(
        spec.optimizer.lr, steps=spec.steps, warmup_steps=spec.warmup_steps, decay=spec.decay
    )


def _regret(spec: Spec, problem: Problem, ctx: Context) -> Regret | None:
    """The account of a one-pass workload."""
    from models_core.recipes.optimizer_benchmark.online import Regret

    if not isinstance(spec.workload, OnlineConvex):
        return None
    return Regret(
        problem,
        seed=ctx.seed,
        batch_size=spec.batch_size,
        steps=spec.steps,
        radius=spec.workload.radius,
        paid=ctx.resume.state["paid"] if ctx.resume else 0.0,
    )
