"""Federated training with a simulated clock.

Spreads images over clients, lets them train a classifier locally, and merges their changes on a server: in synchronous
rounds or asynchronously, under latencies, availability and drop-outs that are simulated, so that accuracy can be drawn
against time. Same seed, same partition, same latencies and same local batches for every algorithm. FARe-DUST and
FeAST-on-MSG are reconstructions from their abstracts: never set their numbers beside published ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from models_core.catalog import Example, MetricInfo
from models_core.data.image_sets import IMAGE_SETS
from models_core.errors import CheckpointInvalid, NonFinite
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.federated import AnyAlgorithm, _partitions
from models_core.federated._partitions import AnyPartition, ByOwner, DataName, DirichletPerClient, Shards
from models_core.federated._rounds import RoundOptions
from models_core.federated._studies import STRAGGLERS
from models_core.federated.compression import none as no_compression
from models_core.federated.compression import quantised, top_k
from models_core.federated.fedavg import Options as FedAvg
from models_core.federated.fedbuff import Options as FedBuff
from models_core.federated.modifiers import distillation
from models_core.federated.privacy import dp_fedavg, secure_sum
from models_core.federated.simulation.latency import AnyLatency, HalfNormal, PerClientPerExample, PerDomainPerExample
from models_core.federated.simulation.presence import Always, AnyPresence
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

if TYPE_CHECKING:
    from models_core.federated.simulation.federation import Federation

VERSION = "2"
FAMILY = "federated"
_EXAMPLES: dict[str, int] = {name: info.train for name, info in IMAGE_SETS.items()}
# The longest compiled call when its length is chosen by the clock, and how long such a call should take.
_LONGEST_CALL, _CALL_S = 32, 0.5


class Spec(BaseSpec):
    """Data and clients, an algorithm and what is laid over it, a latency, and what a client does."""

    data: DataName = field(
        "digits",
        title="Data",
        help="8x8 digits, 28x28 MNIST (4,000), image or text files on the node, or synthetic handwriting.",
        section="Task",
    )
    model: Literal["mlp", "cnn", "lstm"] = field(
        "mlp", title="Model", help="Classifier of images; for text the LSTM, which predicts the next byte or word.",
        section="Model",
    )  # fmt: skip
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = field(
        (64,), title="Hidden layers", help="Sizes of the MLP's or LSTM's; the CNN has one, the first.", max_length=8,
        section="Model",
    )  # fmt: skip
    channels: tuple[Annotated[int, Field(ge=1, le=512)], ...] = field(
        (8, 16), title="Channels", help="Of the CNN's stages.", min_length=1, max_length=4, section="Model",
        advanced=True,
    )  # fmt: skip
    clients: int = field(
        50, title="Clients", help="In the whole fleet.", unit="clients", ge=1, le=100_000, section="Clients"
    )
    partition: AnyPartition = field(
        DirichletPerClient(), title="Partition", help="How the images are spread.", section="Clients"
    )
    algorithm: AnyAlgorithm = field(FedAvg(), title="Algorithm", help="How reports are merged.", section="Algorithm")
    regularisation: Annotated[
        distillation.NoDistillation | distillation.Options, Field(discriminator="kind")
    ] = field(
        distillation.NoDistillation(), title="Regularisation", help="Of the clients by the server's past.",
        section="Modifications",
    )  # fmt: skip
    average_decay: float = field(
        0.0, title="Average of weights", help="Decay of the average that is evaluated; 0: the model itself.", ge=0,
        lt=1, section="Modifications",
    )  # fmt: skip
    latency: AnyLatency = field(
        PerClientPerExample(), title="Latency", help="How long clients take.", section="Latency"
    )
    presence: AnyPresence = field(
        Always(), title="Availability", help="When clients can be asked.", section="Availability"
    )
    drop_out: float = field(
        0.0, title="Drop-outs", help="Chance that a task never reports.", ge=0, lt=1, section="Availability"
    )
    privacy: Annotated[dp_fedavg.NoPrivacy | dp_fedavg.Options, Field(discriminator="kind")] = field(
        dp_fedavg.NoPrivacy(), title="Privacy", help="Of users, in the sum.", section="Privacy"
    )
    secure: Annotated[secure_sum.NoSecureSum | secure_sum.Options, Field(discriminator="kind")] = field(
        secure_sum.NoSecureSum(), title="Secure sum", help="Fixed point, as a secure protocol adds.",
        section="Communication",
    )  # fmt: skip
    compression: Annotated[no_compression.Options | top_k.Options | quantised.Options, Field(discriminator="kind")] = (
        field(no_compression.Options(), title="Compression", help="Of uploads.", section="Communication")
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
        300, title="Server steps", help="Rounds, or buffers merged, at most.", unit="steps", ge=1, le=100_000,
        section="Budget",
    )  # fmt: skip
    time_budget_s: float = field(
        0.0, title="Simulated time", help="The run ends with the last step before; 0: by steps alone.", unit="s", ge=0,
        format="seconds", section="Budget",
    )  # fmt: skip
    target: float = field(
        0.0, title="Target", help="Accuracy whose simulated time is reported; 0: none.", ge=0, le=1, section="Budget"
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
        0,
        title="Steps per call",
        help="Server steps in one compiled call, for whose end a stop waits; 0: as many as take about half a second.",
        unit="steps",
        ge=0,
        le=1000,
        section="Budget",
        advanced=True,
    )
    client_map: Literal["scan", "chunks", "vmap", "auto"] = field(
        "scan",
        title="Clients of a step",
        help="One by one, in chunks, or all at once; auto measures once, and last digits then depend on the choice.",
        section="Engine",
        advanced=True,
    )
    chunk: int = field(
        4, title="Chunk", help="Clients at once with chunks.", unit="clients", ge=2, le=1024, section="Engine",
        advanced=True,
    )  # fmt: skip
    replicas: int = field(
        1, title="Models", help="Side by side on the same clients and delays; means are reported.", unit="models",
        ge=1, le=64, section="Engine", advanced=True,
    )  # fmt: skip
    devices: int = field(
        1, title="Devices", help="Over which the clients of a step are spread.", ge=1, le=64, section="Engine",
        advanced=True,
    )  # fmt: skip

    def devices_needed(self) -> int:
        return self.devices

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed = self.algorithm.clients_needed()
        if needed > self.clients:
            refuse("clients", f"The algorithm needs {needed} clients at once.")
        shards = self.partition.per_client if isinstance(self.partition, Shards) else 1
        dealt = _EXAMPLES.get(self.data)
        if dealt is not None and self.clients * shards > dealt:
            refuse("clients", f"{self.data} has only {dealt} training images to deal out.")
        if reason := _partitions.mismatch(self.data, self.partition):
            refuse("partition.kind", reason)
        if isinstance(self.latency, PerDomainPerExample) and not _partitions.has_domains(self.partition):
            refuse("latency.kind", "The partition has no slow domain: choose label domains or writers.")
        if self.model != "mlp" and not self.hidden:
            refuse("hidden", f"The {self.model.upper()} needs a hidden layer.")
        if (self.data in _partitions.TEXTS) != (self.model == "lstm"):
            refuse("model", "Text is predicted by the LSTM, images are recognised by the others.")
        if self.replicas > 1:
            self._replicated()
        own_teachers = self.algorithm.kind == "fare_dust"
        if own_teachers and self.regularisation.kind != "none":
            refuse("regularisation.kind", "FARe-DUST has teachers of its own.")
        if isinstance(self.privacy, dp_fedavg.Options):
            self._private()
        return self

    def _replicated(self) -> None:
        if self.devices > 1:
            refuse("devices", "Several models run on one device.")
        if isinstance(self.privacy, dp_fedavg.Options) or self.algorithm.kind == "dp_ftrl":
            refuse(
                "replicas", "Every further model tells more of the clients than epsilon says: choose 1 with privacy."
            )

    def _private(self) -> None:
        algorithm = self.algorithm
        if not isinstance(algorithm, RoundOptions) or algorithm.kind in (
            "scaffold", "fare_dust", "feast_on_msg", "dp_ftrl"
        ):  # fmt: skip
            refuse(
                "privacy.kind", "DP-FedAvg bounds what one round says of a client: choose FedAvg, FedAdam or the like."
            )
        if algorithm.sampling != "poisson":
            refuse("algorithm.sampling", "The accountant assumes Poisson sampling.")
        if algorithm.over_selection > 0 or algorithm.deadline_s > 0:
            refuse("algorithm.over_selection", "Dropping the slow is no Poisson sample: set it and the deadline to 0.")


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
    Example(
        "Next byte of Python's own modules, each a client",
        Spec(
            data="stdlib_text",
            model="lstm",
            hidden=(32,),
            partition=ByOwner(most=50),
            local_lr=1.0,
            local_epochs=1,
            server_steps=100,
        ),
        cost_s=30,
    ),
    Example(
        "FedAvg with user-level privacy",
        Spec(
            clients=200,
            algorithm=FedAvg(cohort=20, sampling="poisson"),
            privacy=dp_fedavg.Options(clip=0.5, noise=0.6, delta=1e-3, adaptive=True),
            server_steps=200,
        ),
        cost_s=12,
    ),
)

TEMPLATES = (STRAGGLERS,)

METRICS = (
    MetricInfo("eval/accuracy", "", "max", "Share of test images recognised by the model.", primary=True),
    MetricInfo("eval/loss", "nats", "min", "Mean loss on the test images."),
    MetricInfo("eval/accuracy_spread", "", "min", "Standard deviation of the accuracy over models side by side."),
    MetricInfo("eval/straggler_accuracy", "", "max", "Accuracy on what slow clients have, mean over them."),
    MetricInfo("eval/other_accuracy", "", "max", "Accuracy on what the other clients have, mean over them."),
    MetricInfo("fair/p10", "", "max", "Accuracy on a client's own mix of classes: 10th percentile over clients."),
    MetricInfo("fair/p50", "", "max", "The same: median over clients."),
    MetricInfo("fair/p90", "", "max", "The same: 90th percentile over clients."),
    MetricInfo("fair/spread", "", "min", "The same: standard deviation over clients."),
    MetricInfo("train/loss", "nats", "min", "Clients' mean loss while training, weighted as their reports."),
    MetricInfo("optim/update_norm", "", None, "Euclidean norm of the server's step."),
    MetricInfo("sim/time_s", "s", "min", "Simulated time."),
    MetricInfo("sim/seconds_to_target", "s", "min", "Simulated time of the first evaluation at the target or above."),
    MetricInfo("sim/staleness_mean", "steps", "min", "Mean staleness of the reports used in the step."),
    MetricInfo("sim/in_flight", "clients", None, "Clients at work at the time of the step."),
    *(
        MetricInfo(f"staleness/{name}", "", None, f"Share of the reports used so far that were {text} steps stale.")
        for name, text in (
            ("0", "0"), ("1", "1"), ("2_3", "2 to 3"), ("4_7", "4 to 7"), ("8_15", "8 to 15"), ("16_up", "16 or more")
        )
    ),
    MetricInfo("comm/download_bytes", "bytes", "min", "Models and teachers sent to clients so far."),
    MetricInfo("comm/upload_bytes", "bytes", "min", "Reports received so far, as compressed."),
    MetricInfo("work/started", "clients", None, "Client tasks started so far."),
    MetricInfo("work/used", "clients", None, "Client tasks whose result was used so far."),
    MetricInfo("work/wasted_share", "", "min", "Share of the client tasks started so far whose result was dropped."),
    MetricInfo("work/wasted_s", "s", "min", "Simulated client seconds so far whose result was dropped."),
    MetricInfo("privacy/epsilon", "", "min", "Spent so far, at the delta asked for."),
    MetricInfo("privacy/clip", "", None, "Clipping norm of the step."),
    MetricInfo("privacy/unclipped_share", "", None, "Share of the step's clients within the norm."),
    MetricInfo("secure/overflows", "", "min", "Numbers of the step's sum that the modulus cannot represent."),
    MetricInfo("perf/steps_per_s", "steps/s", "max", "Server steps a second of real time, evaluation left out."),
)  # fmt: skip


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Plan, simulate, evaluate; see the module's docstring."""
    import jax
    import numpy as np

    from models_core.federated.simulation import engine, experiment, replicas
    from models_core.training import backend, snapshot
    from models_core.training.pacing import Pacing
    from models_core.training.stopwatch import Stopwatch

    yield Log(backend.prepare(ctx.cache_dir))
    federation: Federation = _partitions.assemble(spec.data, spec.partition, spec.clients, seed=ctx.seed)
    setup = experiment.prepare(spec, federation, seed=ctx.seed)
    schedule = setup.schedule
    steps = schedule.steps
    yield Log(setup.describe())
    resumed = dict(ctx.resume.state) if ctx.resume else {}
    if resumed and resumed.get("schedule") != schedule.fingerprint:
        raise CheckpointInvalid("The checkpoint belongs to another schedule of reports.")
    plan, choice = experiment.choose_map(setup, spec.client_map, spec.chunk, chosen=resumed.get("chunk"))
    if choice:
        yield Log(choice)
    state = replicas.start(setup, plan, spec.replicas)
    step, reached_s = 0, float("inf")
    if ctx.resume:
        state, step = snapshot.from_arrays(ctx.resume.arrays, state), ctx.resume.step
        reached_s = float(resumed["reached_s"]) if resumed["reached_s"] is not None else reached_s
    length = min(spec.steps_per_call or _LONGEST_CALL, steps)
    advance = engine.compile_advance(
        plan,
        example=(state, setup.data, engine.stretch(schedule, 0, 1, length, width=plan.width)),
        side_by_side=spec.replicas > 1,
    )
    pacing = Pacing(steps, spec.eval_every, spec.checkpoint_every)
    watch = Stopwatch()
    last_norm = float("nan")
    call_steps = spec.steps_per_call or 1

    def saved() -> Checkpoint:
        progress = {
            "schedule": schedule.fingerprint,
            "clock_s": float(schedule.clock_s[step - 1]) if step else 0.0,
            "reached_s": reached_s if np.isfinite(reached_s) else None,
            "chunk": plan.chunk,
        }
        return Checkpoint(step, snapshot.to_arrays(state), progress)

    if not ctx.resume:
        first = replicas.evaluated(setup, replicas.shown(plan, state, spec.replicas))
        yield Metric(0, {"sim/time_s": 0.0, **first})
    while step < steps:
        if ctx.should_stop():
            yield saved()
            return
        begin = step
        while step < min(begin + min(call_steps, length), steps):
            step += 1
            if pacing.evaluates(step) or pacing.saves(step):
                break
        watch.start()
        state, numbers = advance(state, setup.data, engine.stretch(schedule, begin, step, length, width=plan.width))
        host = replicas.meant({name: np.asarray(v) for name, v in jax.device_get(numbers).items()}, spec.replicas)
        watch.stop()
        pace = (step - begin) / watch.lap_s()
        if not spec.steps_per_call:
            call_steps = max(1, min(int(pace * _CALL_S), 2 * call_steps))
        for index, done in enumerate(range(begin + 1, step + 1)):
            if not np.isfinite(host["update_norm"][index]):
                raise NonFinite(
                    f"Training met NaN or infinity at step {done}; the norm of the update before was {last_norm:.4g}. "
                    "A smaller client rate or server rate may help."
                )
            last_norm = float(host["update_norm"][index])
            if pacing.reports(done) and not (done == step and pacing.evaluates(step)):
                yield Metric(done, setup.measured(done, host, index) | {"perf/steps_per_s": pace})
        if pacing.evaluates(step):
            # Together with the clock, so that every point of an evaluation has its simulated time.
            found = replicas.evaluated(setup, replicas.shown(plan, state, spec.replicas))
            if spec.target and found["eval/accuracy"] >= spec.target:
                reached_s = min(reached_s, float(schedule.clock_s[step - 1]))
            if spec.target:
                found["sim/seconds_to_target"] = reached_s
            values = setup.measured(step, host, step - begin - 1) | setup.seldom(step) | found
            yield Metric(step, values | {"perf/steps_per_s": pace})
        if pacing.tells_progress(step):
            yield Progress(step, steps, f"{schedule.clock_s[step - 1]:.1f} s of simulated time")
        if pacing.saves(step):
            yield saved()
    for place, model in enumerate(replicas.shown(plan, state, spec.replicas)):
        yield Artifact(f"model{f'_{place}' if place else ''}.safetensors", snapshot.to_safetensors(model))
    yield Artifact("staleness.json", setup.staleness_json(), "application/json")
