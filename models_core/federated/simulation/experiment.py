"""A federated run put together: data, schedule, plan and measures, from the parts of a recipe's spec."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import numpy as np

from models_core import federated
from models_core.data._dataset import local_folder
from models_core.errors import SpecInvalid
from models_core.federated._options import AlgorithmOptions
from models_core.federated.compression import none, quantised, top_k
from models_core.federated.dp_ftrl import Options as DpFtrl
from models_core.federated.dp_ftrl import epsilon as ftrl_epsilon
from models_core.federated.modifiers import distillation
from models_core.federated.privacy import dp_fedavg, secure_sum
from models_core.federated.simulation import client, dual, engine, inner_map, latency, measures, presence
from models_core.federated.simulation.federation import Federation
from models_core.federated.simulation.schedule import Fleet, Schedule
from models_core.federated.simulation.uplink import Uplink
from models_core.nn import cnn, lstm, mlp

_TRACE_LIMIT_BYTES = 16 << 20


class Parts(Protocol):
    """The fields of a recipe's spec that this module reads."""

    @property
    def algorithm(self) -> AlgorithmOptions: ...
    @property
    def regularisation(self) -> Any: ...
    @property
    def average_decay(self) -> float: ...
    @property
    def latency(self) -> Any: ...
    @property
    def presence(self) -> Any: ...
    @property
    def drop_out(self) -> float: ...
    @property
    def privacy(self) -> Any: ...
    @property
    def secure(self) -> Any: ...
    @property
    def compression(self) -> Any: ...
    @property
    def model(self) -> str: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def channels(self) -> tuple[int, ...]: ...
    @property
    def local_lr(self) -> float: ...
    @property
    def local_epochs(self) -> int: ...
    @property
    def local_batch_size(self) -> int: ...
    @property
    def server_steps(self) -> int: ...
    @property
    def time_budget_s(self) -> float: ...
    @property
    def devices(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a run needs; `plan` maps clients by scan."""

    spec: Parts
    federation: Federation
    schedule: Schedule
    plan: engine.Plan
    data: client.ClientData
    params: Any
    key: jax.Array
    evaluate: Callable[[Any], dict[str, float]]
    series: dict[str, np.ndarray]
    seldom_series: dict[str, np.ndarray]

    def start(self, plan: engine.Plan) -> engine.ServerState:
        """The state before the first step."""
        return engine.start(plan, self.params, self.schedule, self.key, fleet=len(self.federation.parts))

    def describe(self) -> str:
        """A line for a person."""
        sizes = self.federation.sizes
        return (
            f"{len(sizes)} clients of {min(sizes)} to {max(sizes)} examples; {self.schedule.steps} steps last "
            f"{self.schedule.clock_s[-1]:.1f} s of simulated time; {self.schedule.history} models are kept."
        )

    def measured(self, step: int, host: dict[str, np.ndarray], index: int) -> dict[str, float]:
        """What is reported about server step `step`, counted from 1; host[...][index]: the engine's numbers."""
        values = {
            "train/loss": float(host["loss"][index]),
            "optim/update_norm": float(host["update_norm"][index]),
            **{name: float(column[step - 1]) for name, column in self.series.items()},
        }
        if "clip" in host:
            counted = max(int(self.schedule.fresh[step - 1]), 1)
            values["privacy/clip"] = float(host["clip"][index])
            values["privacy/unclipped_share"] = float(host["unclipped"][index]) / counted
        if "overflows" in host:
            values["secure/overflows"] = float(host["overflows"][index])
        return values

    def seldom(self, step: int) -> dict[str, float]:
        """What is reported with evaluations only."""
        values = {name: float(column[step - 1]) for name, column in self.seldom_series.items()}
        chance = getattr(self.spec.algorithm, "cohort", 0) / len(self.federation.parts)
        if isinstance(self.spec.privacy, dp_fedavg.Options):
            privacy = self.spec.privacy
            values["privacy/epsilon"] = dp_fedavg.epsilon(
                noise=privacy.noise, chance=chance, rounds=step, delta=privacy.delta
            )
        elif isinstance(self.spec.algorithm, DpFtrl):
            values["privacy/epsilon"] = ftrl_epsilon(
                self.spec.algorithm, clients=len(self.federation.parts), rounds=step
            )
        return values

    def staleness_json(self) -> bytes:
        """How many used reports were how many steps stale."""
        stale = self.schedule.staleness[self.schedule.counted]
        values, counts = np.unique(stale, return_counts=True)
        table = [{"staleness": int(value), "reports": int(count)} for value, count in zip(values, counts, strict=True)]
        return json.dumps(table).encode()


def prepare(spec: Parts, federation: Federation, *, seed: int) -> Setup:
    """Raises SpecInvalid where the parts do not fit the data."""
    if spec.algorithm.clients_needed() > len(federation.parts):
        needed = spec.algorithm.clients_needed()
        raise SpecInvalid(
            f"There are only {len(federation.parts)} clients.",
            fields={"clients": f"The algorithm needs {needed} at once."},
        )
    schedule = _schedule(spec, federation, seed)
    task, params = build_model(spec, federation, jax.random.fold_in(jax.random.key(seed), 0))
    regulariser = None
    if isinstance(spec.regularisation, distillation.Options):
        schedule = distillation.assign(spec.regularisation, schedule, seed=seed)
        regulariser = distillation.build(spec.regularisation)
    uplink = build_uplink(spec)
    if isinstance(spec.privacy, dp_fedavg.Options):
        schedule = schedule.reweighted(1 / uplink.denominator)
    sizes = federation.sizes
    local = client.LocalTraining(
        spec.local_lr, spec.local_epochs, spec.local_batch_size, client.bucket_lengths(sizes, spec.local_batch_size)
    )
    if spec.devices > len(jax.devices()):
        raise SpecInvalid(
            "There are not so many devices.", fields={"devices": f"This machine has {len(jax.devices())}."}
        )
    plan = engine.Plan(
        task,
        local,
        federated.build(spec.algorithm),
        regulariser=regulariser,
        uplink=uplink,
        average_decay=spec.average_decay,
        devices=spec.devices,
    )
    leaves = [leaf.size for leaf in jax.tree.leaves(params)]
    twice = 2 if plan.rule.controls else 1
    traffic = measures.traffic(schedule, 4 * twice * sum(leaves), twice * spec.compression.upload_bytes(leaves))
    stragglers = federation.slow_clients
    if isinstance(spec.latency, latency.PerClientPerExample):
        stragglers = sorted(latency.slow_clients(spec.latency, clients=len(sizes), seed=seed))
    return Setup(
        spec=spec,
        federation=federation,
        schedule=schedule,
        plan=plan,
        data=dual.remember(task, local, client.gather_clients(federation.x, federation.y, federation.parts)),
        params=params,
        key=jax.random.fold_in(jax.random.key(seed), 1),
        evaluate=measures.build_evaluation(task, federation, stragglers),
        series=measures.work(schedule) | traffic,
        seldom_series=measures.staleness_histogram(schedule),
    )


def choose_map(setup: Setup, wish: str, chunk: int, *, chosen: int | None = None) -> tuple[engine.Plan, str]:
    """The plan with its inner map, and what a measurement said. chosen: what an interrupted run had."""
    width = -(-setup.schedule.client.shape[1] // setup.plan.devices)
    if chosen is not None:
        return replace(setup.plan, chunk=chosen), ""
    if wish != "auto":
        return replace(setup.plan, chunk={"scan": 1, "chunks": min(chunk, width), "vmap": width}[wish]), ""
    candidates = sorted({1, min(chunk, width), width})
    best, seconds = inner_map.fastest_chunk(
        lambda size: replace(setup.plan, chunk=size), (setup.start(setup.plan), setup.data, setup.schedule), candidates
    )
    told = ", ".join(f"{size} at once {1000 * took:.1f} ms" for size, took in seconds.items())
    return replace(setup.plan, chunk=best), f"Clients of a step: {told}; {best} it is."


def build_model(spec: Any, federation: Federation, key: jax.Array) -> tuple[client.Task, Any]:
    """The classifier of flat images, or the predictor of next tokens, and its parameters.

    spec: model, hidden and channels.
    """
    shape, classes = federation.shape, federation.classes
    if spec.model == "lstm":
        valid = None if federation.unknown is None else lambda y: y != federation.unknown
        return client.Task(lstm.apply, valid), lstm.init(key, classes, width=spec.hidden[0], layers=len(spec.hidden))
    if spec.model == "mlp":
        return dual.mlp_task(), mlp.init(key, [math.prod(shape), *spec.hidden, classes])
    height, width, depth = shape
    try:
        params = cnn.init(key, (height, width, depth), classes=classes, channels=spec.channels, hidden=spec.hidden[0])
    except ValueError as error:
        raise SpecInvalid("The network does not fit the images.", fields={"channels": f"{error}."}) from None
    return client.Task(lambda p, x: cnn.apply(p, x.reshape(-1, height, width, depth))), params


def build_uplink(spec: Parts) -> Uplink:
    """Compression, clipping, noise and secure sums of the spec."""
    compress: Callable[[Any, Any], Any] | None
    match spec.compression:
        case top_k.Options():
            compress = top_k.build(spec.compression)
        case quantised.Options():
            compress = quantised.build(spec.compression)
        case _:
            compress = none.build(none.Options())
    parts: dict[str, Any] = {"compress": compress}
    if isinstance(spec.privacy, dp_fedavg.Options):
        cohort = float(getattr(spec.algorithm, "cohort", 1))
        parts |= {
            "clip": spec.privacy.clip,
            "noise": spec.privacy.noise_on_change,
            "denominator": cohort,
            "adaptive": dp_fedavg.adaptive(spec.privacy),
        }
    if isinstance(spec.secure, secure_sum.Options):
        parts |= {"modulus_bits": spec.secure.modulus_bits, "fraction_bits": spec.secure.fraction_bits}
    return Uplink(**parts)


def _schedule(spec: Parts, federation: Federation, seed: int) -> Schedule:
    sizes = federation.sizes
    traces: list[list[float]] = []
    if isinstance(spec.latency, latency.Trace):
        traces = _read_trace(spec.latency.file)
    draw = latency.build(spec.latency, sizes=sizes, seed=seed, slow=federation.slow_clients, traces=traces)
    there = presence.build(spec.presence, clients=len(sizes), seed=seed)
    fleet = Fleet(
        sizes,
        draw,
        seed,
        available=there.available if there else None,
        reachable_s=there.reachable_s if there else None,
        lost=presence.losses(spec.drop_out, seed=seed),
    )
    until_s = spec.time_budget_s or math.inf
    return federated.plan(spec.algorithm, fleet, steps=spec.server_steps, until_s=until_s)


def _read_trace(name: str) -> list[list[float]]:
    folder = local_folder("traces")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or path.suffix not in (".csv", ".json"):
        raise SpecInvalid("That is no trace.", fields={"latency.file": "A .csv or .json file inside the data folder."})
    try:
        if path.stat().st_size > _TRACE_LIMIT_BYTES:
            raise SpecInvalid("The trace is too large.", fields={"latency.file": "At most 16 MiB."})
        content = path.read_bytes()
    except OSError as error:
        raise SpecInvalid("The trace cannot be read.", fields={"latency.file": f"{error.strerror}."}) from None
    return latency.read_trace(content, path.name)
