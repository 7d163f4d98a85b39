"""Federated codistillation of a small and a large model.

A small model learns from all clients, a large one from those with enough capacity; on the server they teach each other
on images without labels, periodically (PCD) or merged into every round (MCD). Both variants are reconstructions from an
abstract: never set their numbers beside published ones. The synthetic data are synthetic, the digits are real.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.errors import CheckpointInvalid, NonFinite
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.federated import _partitions
from models_core.federated._partitions import AnyPartition, DirichletPerClient, SyntheticWriters
from models_core.federated.simulation.latency import AnyLatency, PerClientPerExample, PerDomainPerExample
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

if TYPE_CHECKING:
    from models_core.federated.simulation.codistillation import Exchange

VERSION = "1"
FAMILY = "federated"


class Spec(BaseSpec):
    """Two models, two pools of clients, and what passes between them."""

    data: Literal["digits", "mnist5k", "mnist", "fashion_mnist", "synthetic_writers"] = field(
        "digits", title="Images", help="8x8 digits, 28x28 MNIST (4,000), image files on the node, or synthetic "
        "handwriting.", section="Task",
    )  # fmt: skip
    clients: int = field(
        60, title="Clients", help="In the whole fleet.", unit="clients", ge=2, le=1000, section="Clients"
    )
    partition: AnyPartition = field(
        DirichletPerClient(), title="Partition", help="How the images are spread.", section="Clients"
    )
    high_share: float = field(
        0.25, title="High capacity", help="Share of clients that can train the large model.", gt=0, le=1,
        section="Clients",
    )  # fmt: skip
    high_pool: Literal["random", "fast_domain"] = field(
        "random", title="Who they are", help="Any clients, or only such of the fast domain (domain transfer).",
        section="Clients",
    )  # fmt: skip
    large_pool: Literal["high", "all"] = field(
        "high", title="Pool of the large model", help="All is the bound that practice does not allow.",
        section="Clients", advanced=True,
    )  # fmt: skip
    small_pool: Literal["all", "high"] = field(
        "all", title="Pool of the small model", help="High tells data from capacity.", section="Clients", advanced=True
    )
    small_hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = field(
        (16,), title="Small model", help="Hidden layers.", max_length=8, section="Models"
    )
    large_hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = field(
        (256, 128), title="Large model", help="Hidden layers.", max_length=8, section="Models"
    )
    variant: Literal["none", "pcd", "mcd"] = field(
        "pcd", title="Codistillation", help="Reconstructions: periodic, or merged into every round.",
        section="Codistillation",
    )  # fmt: skip
    direction: Literal["both", "to_small", "to_large"] = field(
        "both", title="Direction", help="Who learns from the other.", section="Codistillation"
    )
    period: int = field(
        10, title="Period", help="Rounds between distillations (PCD).", unit="rounds", ge=1, section="Codistillation"
    )
    warmup: int = field(
        20, title="Warm-up", help="Rounds before the first distillation.", unit="rounds", ge=0, section="Codistillation"
    )
    distil_steps: int = field(
        50, title="Steps", help="Of a distillation.", unit="steps", ge=1, le=10_000, section="Codistillation"
    )
    distil_lr: float = field(
        0.05, title="Rate", help="Of distillation.", gt=0, le=100, format="log", section="Codistillation"
    )
    distil_batch_size: int = field(
        32, title="Batch", help="Images in a distillation step.", unit="examples", ge=1, le=1000,
        section="Codistillation", advanced=True,
    )  # fmt: skip
    temperature: float = field(
        1.0, title="Temperature", help="Of both softmaxes.", gt=0, le=100, section="Codistillation", advanced=True
    )
    gamma: float = field(
        0.3, title="Gamma", help="Of distillation in the merged change (MCD).", ge=0, le=100, section="Codistillation"
    )
    normalised: bool = field(
        True, title="To the clients' length", help="The distilled change is first scaled to the clients' (MCD).",
        section="Codistillation", advanced=True,
    )  # fmt: skip
    server_data: Literal["in_domain", "out_of_domain", "noise"] = field(
        "in_domain", title="Server images", help="Like the task, other glyphs (synthetic), or noise.", section="Server"
    )
    server_images: int = field(
        400, title="Number of images", help="Without labels; small is limited data.", unit="examples", ge=1, le=20_000,
        section="Server",
    )  # fmt: skip
    cohort: int = field(
        8,
        title="Cohort",
        help="Clients of a round, for each model; at most its pool.",
        ge=1,
        le=1000,
        section="Algorithm",
    )
    server_lr: float = field(
        1.0, title="Server rate", help="Factor on the averaged change.", gt=0, le=100, format="log", section="Algorithm"
    )
    latency: AnyLatency = field(
        PerClientPerExample(), title="Latency", help="How long clients take.", section="Latency"
    )
    local_lr: float = field(
        0.1, title="Client rate", help="Learning rate of local SGD.", gt=0, le=100, format="log", section="Client"
    )
    local_epochs: int = field(
        1, title="Client epochs", help="Passes over its images.", unit="epochs", ge=1, le=100, section="Client"
    )
    local_batch_size: int = field(
        8, title="Client batch size", help="Images in one local step.", unit="examples", ge=1, le=1000, section="Client"
    )
    server_steps: int = field(
        150, title="Rounds", help="Of both models.", unit="steps", ge=1, le=100_000, section="Budget"
    )
    eval_every: int = field(
        10, title="Evaluate every", help="Rounds between evaluations.", unit="steps", ge=1, section="Budget"
    )
    checkpoint_every: int = field(
        50, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )
    steps_per_call: int = field(
        10, title="Steps per call", help="Rounds in one compiled call; a stop waits for their end.", unit="steps", ge=1,
        le=1000, section="Budget", advanced=True,
    )  # fmt: skip

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if reason := _partitions.mismatch(self.data, self.partition):
            refuse("partition.kind", reason)
        domains = _partitions.has_domains(self.partition)
        if self.high_pool == "fast_domain" and not domains:
            refuse("high_pool", "The partition has no slow domain: choose label domains or writers.")
        if isinstance(self.latency, PerDomainPerExample) and not domains:
            refuse("latency.kind", "The partition has no slow domain: choose label domains or writers.")
        return self


_WRITERS: dict[str, Any] = {
    "data": "synthetic_writers",
    "clients": 60,
    "partition": {"kind": "synthetic_writers", "label_alpha": 0.5},
    "server_steps": 200,
}

EXAMPLES = (
    Example("Periodic codistillation on digits", Spec(), cost_s=15),
    Example(
        "Merged codistillation on synthetic writers",
        Spec(data="synthetic_writers", partition=SyntheticWriters(), variant="mcd", distil_steps=10),
        cost_s=25,
    ),
)

TEMPLATES = (
    StudyTemplate(
        "codistillation",
        "Periodic and merged codistillation",
        "Both variants against federated averaging, with one-way and pool controls, and images in the domain, few of "
        "them, and out of it. Both variants are reconstructions; the data are synthetic.",
        spec=_WRITERS,
        arms={
            "FedAvg": {"variant": "none"},
            "small on high capacity": {"variant": "none", "small_pool": "high"},
            "large on all (bound)": {"variant": "none", "large_pool": "all"},
            "PCD": {"variant": "pcd"},
            "MCD": {"variant": "mcd", "distil_steps": 10},
            "PCD, large to small": {"variant": "pcd", "direction": "to_small"},
            "PCD, small to large": {"variant": "pcd", "direction": "to_large"},
            "PCD, 40 images": {"variant": "pcd", "server_images": 40},
            "PCD, other glyphs": {"variant": "pcd", "server_data": "out_of_domain"},
            "MCD, other glyphs": {"variant": "mcd", "distil_steps": 10, "server_data": "out_of_domain"},
        },
        baseline="FedAvg",
        metric="eval/large_accuracy",
        seeds=(0, 1, 2, 3, 4),
    ),
    StudyTemplate(
        "domain_transfer",
        "Domain transfer by codistillation",
        "High capacity is found in one domain only: what the large model knows of the other one came through the small "
        "one. Both variants are reconstructions; the data are synthetic.",
        spec={**_WRITERS, "high_pool": "fast_domain"},
        arms={
            "FedAvg": {"variant": "none"},
            "PCD": {"variant": "pcd"},
            "MCD": {"variant": "mcd", "distil_steps": 10},
            "PCD, large to small": {"variant": "pcd", "direction": "to_small"},
        },
        baseline="FedAvg",
        metric="eval/large_slow_accuracy",
        seeds=(0, 1, 2, 3, 4),
    ),
)

METRICS = (
    MetricInfo("eval/large_accuracy", "", "max", "Test accuracy of the large model.", primary=True),
    MetricInfo("eval/small_accuracy", "", "max", "Test accuracy of the small model."),
    MetricInfo("eval/large_loss", "nats", "min", "Mean test loss of the large model."),
    MetricInfo("eval/small_loss", "nats", "min", "Mean test loss of the small model."),
    MetricInfo("eval/large_slow_accuracy", "", "max", "Of the large model on what the slow domain has."),
    MetricInfo("eval/small_slow_accuracy", "", "max", "Of the small model on what the slow domain has."),
    MetricInfo("train/large_loss", "nats", "min", "Mean loss of the large model's clients."),
    MetricInfo("train/small_loss", "nats", "min", "Mean loss of the small model's clients."),
    MetricInfo("distil/large_norm", "", None, "How far distillation moved the large model in the round."),
    MetricInfo("distil/small_norm", "", None, "How far distillation moved the small model in the round."),
    MetricInfo("sim/time_s", "s", "min", "Simulated time: both models' rounds run side by side."),
    MetricInfo("comm/download_bytes", "bytes", "min", "Models sent to clients so far."),
    MetricInfo("comm/upload_bytes", "bytes", "min", "Reports received so far."),
    MetricInfo("perf/steps_per_s", "steps/s", "max", "Rounds a second of real time, evaluation left out."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Two schedules, one scan over rounds; see the module's docstring."""
    import jax
    import numpy as np

    from models_core.federated.simulation import codistillation, engine, pools
    from models_core.training import backend, snapshot
    from models_core.training.pacing import Pacing
    from models_core.training.stopwatch import Stopwatch

    yield Log(backend.prepare(ctx.cache_dir))
    setup = pools.prepare(spec, seed=ctx.seed)
    yield Log(setup.describe())
    small, large = setup.small, setup.large
    pair = setup.start()
    step = 0
    if ctx.resume:
        if ctx.resume.state.get("schedule") != setup.fingerprint:
            raise CheckpointInvalid("The checkpoint belongs to another schedule of reports.")
        pair, step = snapshot.from_arrays(ctx.resume.arrays, pair), ctx.resume.step
    length = min(spec.steps_per_call, spec.server_steps)

    def rows(first: int, last: int) -> tuple[Any, Any]:
        return (
            engine.stretch(small.schedule, first, last, length),
            engine.stretch(large.schedule, first, last, length),
        )

    fixed = (small.data, large.data, setup.images)
    advance = codistillation.compile_advance(
        exchange(spec), small.plan, large.plan, example=(pair, *fixed, *rows(0, 1))
    )
    pacing = Pacing(spec.server_steps, spec.eval_every, spec.checkpoint_every)
    watch = Stopwatch()

    def saved() -> Checkpoint:
        clock_s = float(setup.clock_s[step - 1]) if step else 0.0
        return Checkpoint(step, snapshot.to_arrays(pair), {"schedule": setup.fingerprint, "clock_s": clock_s})

    if not ctx.resume:
        yield Metric(0, {"sim/time_s": 0.0, **setup.evaluate(pair)})
    while step < spec.server_steps:
        if ctx.should_stop():
            yield saved()
            return
        begin = step
        while step < min(begin + length, spec.server_steps):
            step += 1
            if pacing.evaluates(step) or pacing.saves(step):
                break
        watch.start()
        pair, numbers = advance(pair, *fixed, *rows(begin, step))
        host = {name: np.asarray(value) for name, value in jax.device_get(numbers).items()}
        watch.stop()
        pace = (step - begin) / watch.lap_s()
        for index, done in enumerate(range(begin + 1, step + 1)):
            for model in ("small", "large"):
                if not np.isfinite(host[f"{model}/update_norm"][index]):
                    raise NonFinite(
                        f"The {model} model met NaN or infinity at round {done}. A smaller client rate, server rate "
                        "or distillation rate may help."
                    )
            values = setup.measured(done, host, index) | {"perf/steps_per_s": pace}
            if done == step and pacing.evaluates(step):
                values |= setup.evaluate(pair)
            if pacing.reports(done) or pacing.evaluates(done):
                yield Metric(done, values)
        if pacing.tells_progress(step):
            yield Progress(step, spec.server_steps, f"{setup.clock_s[step - 1]:.1f} s of simulated time")
        if pacing.saves(step):
            yield saved()
    yield Artifact("small.safetensors", snapshot.to_safetensors(engine.current(pair.small)))
    yield Artifact("large.safetensors", snapshot.to_safetensors(engine.current(pair.large)))


def exchange(spec: Spec) -> Exchange:
    """What passes between the models."""
    from models_core.federated.simulation.codistillation import Exchange

    return Exchange(
        variant="merged" if spec.variant == "mcd" else "periodic",
        period=spec.period if spec.variant == "pcd" else 0,
        warmup=spec.warmup,
        steps=spec.distil_steps,
        lr=spec.distil_lr,
        batch_size=spec.distil_batch_size,
        temperature=spec.temperature,
        gamma=spec.gamma,
        normalised=spec.normalised,
        to_small=spec.direction != "to_large",
        to_large=spec.direction != "to_small",
    )
