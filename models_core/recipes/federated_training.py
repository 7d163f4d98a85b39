"""Federated training with a simulated clock.

Spreads real images over clients, lets them train a classifier locally, and merges their changes on a server: in
synchronous rounds (FedAvg, with over-selection) or asynchronously (FedBuff). Latencies are simulated, so that accuracy
can be drawn against time. Same seed, same partition, same latencies and same local batches for every algorithm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models_core.catalog import Example, MetricInfo
from models_core.errors import NonFinite
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.federated import AnyAlgorithm
from models_core.federated.fedavg import Options as FedAvg
from models_core.federated.fedbuff import Options as FedBuff
from models_core.federated.simulation.latency import AnyLatency, HalfNormal, PerClientPerExample
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

if TYPE_CHECKING:
    from models_core.data.partition import Partition

VERSION = "1"
FAMILY = "federated"
_EXAMPLES = {"digits": 1437, "mnist5k": 4000}


class Iid(BaseSpec, title="IID"):
    """Uniformly at random, equal sizes."""

    kind: Literal["iid"] = field("iid", title="Partition", help="Uniformly at random.", section="Clients")


class DirichletPerClient(BaseSpec, title="Dirichlet per client"):
    """Each client draws its mix of classes; equal sizes."""

    kind: Literal["dirichlet_per_client"] = field(
        "dirichlet_per_client",
        title="Partition",
        help="Each client draws its mix of classes; equal sizes.",
        section="Clients",
    )
    alpha: float = field(
        0.3, title="Alpha", help="Small: few classes a client.", gt=0, le=1000, format="log", section="Clients"
    )


class DirichletPerClass(BaseSpec, title="Dirichlet per class"):
    """Each class is split over the clients; unequal sizes."""

    kind: Literal["dirichlet_per_class"] = field(
        "dirichlet_per_class",
        title="Partition",
        help="Each class is split over clients; unequal sizes.",
        section="Clients",
    )
    alpha: float = field(
        0.5, title="Alpha", help="Small: uneven splits.", ge=0.05, le=1000, format="log", section="Clients"
    )


class Shards(BaseSpec):
    """Images sorted by label and dealt out in shards."""

    kind: Literal["shards"] = field(
        "shards", title="Partition", help="Sorted by label, dealt out in shards.", section="Clients"
    )
    per_client: int = field(2, title="Shards", help="For each client.", ge=1, le=100, section="Clients")


class Spec(BaseSpec):
    """Data and clients, an algorithm, a latency, and what a client does."""

    data: Literal["digits", "mnist5k"] = field(
        "digits", title="Images", help="8x8 digits (1,437) or 28x28 MNIST (4,000).", section="Task"
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = field(
        (64,), title="Hidden layers", help="Sizes of the classifier's, first to last.", max_length=8, section="Model"
    )
    clients: int = field(
        50, title="Clients", help="In the whole fleet.", unit="clients", ge=1, le=1000, section="Clients"
    )
    partition: Annotated[Iid | DirichletPerClient | DirichletPerClass | Shards, Field(discriminator="kind")] = field(
        DirichletPerClient(), title="Partition", help="How the images are spread.", section="Clients"
    )
    algorithm: AnyAlgorithm = field(FedAvg(), title="Algorithm", help="How reports are merged.", section="Algorithm")
    latency: AnyLatency = field(
        PerClientPerExample(), title="Latency", help="How long clients take.", section="Latency"
    )
    local_lr: float = field(
        0.1, title="Client rate", help="Learning rate of local SGD.", gt=0, le=100, format="log", section="Client"
    )
    local_epochs: int = field(
        2, title="Client epochs", help="Passes over its images.", unit="epochs", ge=1, le=100, section="Client"
    )
    local_batch_size: int = field(
        8, title="Client batch size", help="Images in one local step.", unit="examples", ge=1, le=1000, section="Client"
    )
    server_steps: int = field(
        300, title="Server steps", help="Rounds, or buffers merged.", unit="steps", ge=1, le=100_000, section="Budget"
    )
    eval_every: int = field(
        10,
        title="Evaluate every",
        help="Steps between evaluations on the test images.",
        unit="steps",
        ge=1,
        section="Budget",
    )
    checkpoint_every: int = field(
        100, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )
    steps_per_call: int = field(
        1,
        title="Steps per call",
        help="Server steps carried out in one compiled call; a stop waits for their end.",
        unit="steps",
        ge=1,
        le=1000,
        section="Budget",
        advanced=True,
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed = self.algorithm.clients_needed()
        if needed > self.clients:
            refuse("clients", f"The algorithm needs {needed} clients at once.")
        shards = self.partition.per_client if isinstance(self.partition, Shards) else 1
        if self.clients * shards > _EXAMPLES[self.data]:
            refuse("clients", f"{self.data} has only {_EXAMPLES[self.data]} training images to deal out.")
        return self


EXAMPLES = (
    Example("FedAvg with over-selection, slow clients", Spec(algorithm=FedAvg(over_selection=0.3)), cost_s=8),
    Example("FedBuff on the same clients", Spec(algorithm=FedBuff()), cost_s=8),
    Example(
        "FedAvg on MNIST shards, delays without a pattern",
        Spec(
            data="mnist5k",
            clients=100,
            partition=Shards(),
            algorithm=FedAvg(cohort=10),
            latency=HalfNormal(),
            server_steps=100,
        ),
        cost_s=8,
    ),
)

METRICS = (
    MetricInfo("eval/accuracy", "", "max", "Share of test images recognised by the server's model.", primary=True),
    MetricInfo("eval/loss", "nats", "min", "Mean loss on the test images."),
    MetricInfo("train/loss", "nats", "min", "Clients' mean loss while training, weighted as their reports."),
    MetricInfo("optim/update_norm", "", None, "Euclidean norm of the server's step."),
    MetricInfo("sim/time_s", "s", "min", "Simulated time."),
    MetricInfo("sim/staleness_mean", "steps", "min", "Mean staleness of the reports used in the step."),
    MetricInfo("sim/in_flight", "clients", None, "Clients at work at the time of the step."),
    MetricInfo("comm/download_bytes", "bytes", "min", "Models sent to clients so far."),
    MetricInfo("comm/upload_bytes", "bytes", "min", "Reports received so far."),
    MetricInfo("work/wasted_share", "", "min", "Share of the client tasks started so far whose result was dropped."),
    MetricInfo("work/wasted_s", "s", "min", "Simulated client seconds so far whose result was dropped."),
    MetricInfo("perf/steps_per_s", "steps/s", "max", "Server steps a second of real time, evaluation left out."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Plan, simulate, evaluate; see the module's docstring."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from models_core import federated
    from models_core.data import digits, mnist5k
    from models_core.federated.simulation import engine, latency
    from models_core.federated.simulation.schedule import Fleet
    from models_core.nn import mlp
    from models_core.training import backend, snapshot
    from models_core.training.evaluation import build_evaluation
    from models_core.training.pacing import Pacing
    from models_core.training.stopwatch import Stopwatch

    yield Log(backend.prepare(ctx.cache_dir))
    images = digits.load() if spec.data == "digits" else mnist5k.load()
    parts = _partition(spec, images.train_y, ctx.seed)
    sizes = [len(part) for part in parts]
    draw = latency.build(spec.latency, sizes=sizes, seed=ctx.seed)
    schedule = federated.plan(spec.algorithm, Fleet(sizes, draw, ctx.seed), steps=spec.server_steps)
    yield Log(
        f"{len(parts)} clients of {min(sizes)} to {max(sizes)} images; {spec.server_steps} steps last "
        f"{schedule.clock_s[-1]:.1f} s of simulated time; {schedule.history} models are kept."
    )

    root = jax.random.key(ctx.seed)
    params = mlp.init(jax.random.fold_in(root, 0), [images.side**2, *spec.hidden, 10])
    model_bytes = snapshot.tree_bytes(params)
    state = engine.start(params, schedule.history)
    first = 0
    if ctx.resume:
        state, first = snapshot.from_arrays(ctx.resume.arrays, state), ctx.resume.step

    def losses(params: Any, x: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(mlp.apply(params, x), y)

    def test_sums(params: Any, x: Any, y: Any, valid: Any) -> tuple[dict[str, Any], Any]:
        right = (jnp.argmax(mlp.apply(params, x), axis=-1) == y).astype(jnp.float32)
        sums = {"eval/loss": jnp.sum(losses(params, x, y) * valid), "eval/accuracy": jnp.sum(right * valid)}
        return sums, jnp.sum(valid)

    evaluate = build_evaluation(test_sums, batch_size=min(500, len(images.test_y)))
    local = engine.LocalTraining(spec.local_lr, spec.local_epochs, spec.local_batch_size)
    data = engine.stack_clients(images.train_x, images.train_y, parts, spec.local_batch_size)
    pacing = Pacing(spec.server_steps, spec.eval_every, spec.checkpoint_every)
    watch = Stopwatch()
    staleness = schedule.staleness.mean(axis=1)
    last_norm = float("nan")
    advance = engine.compile_advance(
        losses,
        local,
        server_lr=spec.algorithm.server_lr,
        key=jax.random.fold_in(root, 1),
        example=(state, data, engine.stretch(schedule, 0, 1, spec.steps_per_call)),
    )
    if not ctx.resume:
        yield Metric(0, evaluate(engine.current(state), images.test_x, images.test_y))
    step = first
    while step < spec.server_steps:
        if ctx.should_stop():
            yield Checkpoint(step, snapshot.to_arrays(state))
            return
        begin = step
        while step < min(begin + spec.steps_per_call, spec.server_steps):
            step += 1
            if pacing.evaluates(step) or pacing.saves(step):
                break
        watch.start()
        state, numbers = advance(state, data, engine.stretch(schedule, begin, step, spec.steps_per_call))
        loss, update_norm = np.asarray(numbers["loss"]), np.asarray(numbers["update_norm"])
        watch.stop()
        pace = (step - begin) / watch.lap_s()
        for index, done in enumerate(range(begin + 1, step + 1)):
            if not np.isfinite(update_norm[index]):
                raise NonFinite(
                    f"Training met NaN or infinity at step {done}; the norm of the update before was {last_norm:.4g}. "
                    "A smaller client rate or server rate may help."
                )
            last_norm = float(update_norm[index])
            if pacing.reports(done):
                yield Metric(
                    done,
                    {
                        "train/loss": float(loss[index]),
                        "optim/update_norm": last_norm,
                        "sim/time_s": float(schedule.clock_s[done - 1]),
                        "sim/staleness_mean": float(staleness[done - 1]),
                        "sim/in_flight": float(schedule.in_flight[done - 1]),
                        "comm/download_bytes": float(schedule.started[done - 1]) * model_bytes,
                        "comm/upload_bytes": float(schedule.received[done - 1]) * model_bytes,
                        "work/wasted_share": float(
                            (schedule.late[done - 1] + schedule.too_old[done - 1]) / schedule.started[done - 1]
                        ),
                        "work/wasted_s": float(schedule.wasted_s[done - 1]),
                        "perf/steps_per_s": pace,
                    },
                )
        if pacing.evaluates(step):
            yield Metric(step, evaluate(engine.current(state), images.test_x, images.test_y))
        if pacing.tells_progress(step):
            yield Progress(step, spec.server_steps, f"{schedule.clock_s[step - 1]:.1f} s of simulated time")
        if pacing.saves(step):
            yield Checkpoint(step, snapshot.to_arrays(state))
    yield Artifact("model.safetensors", snapshot.to_safetensors(engine.current(state)))


def _partition(spec: Spec, labels: Any, seed: int) -> Partition:
    from models_core.data import partition

    match spec.partition:
        case Iid():
            return partition.iid(labels, spec.clients, seed=seed)
        case DirichletPerClient(alpha=alpha):
            return partition.dirichlet_per_client(labels, spec.clients, alpha=alpha, seed=seed)
        case DirichletPerClass(alpha=alpha):
            return partition.dirichlet_per_class(labels, spec.clients, alpha=alpha, seed=seed)
        case Shards(per_client=per_client):
            return partition.shards(labels, spec.clients, per_client=per_client, seed=seed)
