"""Two pools of clients over the same fleet, each with a model of its own, and the server's images without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models_core import federated
from models_core.data import synthetic_writers
from models_core.errors import SpecInvalid
from models_core.federated import _partitions, fedavg
from models_core.federated.simulation import client, dual, engine, experiment, latency, measures
from models_core.federated.simulation.codistillation import Pair
from models_core.federated.simulation.federation import Federation
from models_core.federated.simulation.schedule import Fleet, Schedule

_POOL_STREAM, _SERVER_STREAM = 8, 9


@dataclass(frozen=True, slots=True)
class Pool:
    """A model and its clients."""

    plan: engine.Plan
    schedule: Schedule
    data: client.ClientData
    params: Any
    members: list[int]
    evaluate: Callable[[Any], dict[str, float]]

    @property
    def model_bytes(self) -> int:
        """Of one model."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.params))


@dataclass(frozen=True, slots=True)
class Setup:
    """Both pools, the server's images, the common clock, and the key of everything random."""

    small: Pool
    large: Pool
    images: Array
    clock_s: np.ndarray
    key: Array

    @property
    def fingerprint(self) -> str:
        """Of both schedules."""
        both = self.small.schedule.fingerprint + self.large.schedule.fingerprint
        return hashlib.sha256(both.encode()).hexdigest()

    def start(self) -> Pair:
        """The states before the first round."""
        states = [
            engine.start(pool.plan, pool.params, pool.schedule, jax.random.fold_in(self.key, place))
            for place, pool in enumerate((self.small, self.large))
        ]
        return Pair(states[0], states[1], jnp.array(jax.random.key_data(jax.random.fold_in(self.key, 2))))

    def describe(self) -> str:
        """A line for a person."""
        parts = [
            f"{name} model of {pool.model_bytes // 4:,} parameters on {len(pool.members)} clients"
            for name, pool in (("small", self.small), ("large", self.large))
        ]
        return f"{'; '.join(parts)}; {len(self.images)} images without labels on the server."

    def evaluate(self, pair: Pair) -> dict[str, float]:
        """Both models on the test images."""
        values = {}
        for name, pool, state in (("small", self.small, pair.small), ("large", self.large, pair.large)):
            found = pool.evaluate(engine.current(state))
            values[f"eval/{name}_accuracy"] = found["eval/accuracy"]
            values[f"eval/{name}_loss"] = found["eval/loss"]
            if "eval/straggler_accuracy" in found:
                values[f"eval/{name}_slow_accuracy"] = found["eval/straggler_accuracy"]
        return values

    def measured(self, step: int, host: dict[str, np.ndarray], index: int) -> dict[str, float]:
        """What is reported about round `step`, counted from 1."""
        pools = (self.small, self.large)
        down = sum(int(pool.schedule.started[step - 1]) * pool.model_bytes for pool in pools)
        up = sum(int(pool.schedule.received[step - 1]) * pool.model_bytes for pool in pools)
        return {
            "train/small_loss": float(host["small/loss"][index]),
            "train/large_loss": float(host["large/loss"][index]),
            "distil/small_norm": float(host["small/distil_norm"][index]),
            "distil/large_norm": float(host["large/distil_norm"][index]),
            "sim/time_s": float(self.clock_s[step - 1]),
            "comm/download_bytes": float(down),
            "comm/upload_bytes": float(up),
        }


def prepare(spec: Any, *, seed: int) -> Setup:
    """spec: that of the codistillation recipe. Raises SpecInvalid where the parts do not fit the data."""
    federation, images = server_images(spec, seed)
    clients = len(federation.parts)
    high = _high_capacity(spec, federation, seed)
    everyone = list(range(clients))
    members = {
        "small": everyone if spec.small_pool == "all" else high,
        "large": everyone if spec.large_pool == "all" else high,
    }
    key = jax.random.key(seed)
    small = _pool(spec, federation, members["small"], spec.small_hidden, jax.random.fold_in(key, 0), seed)
    large = _pool(spec, federation, members["large"], spec.large_hidden, jax.random.fold_in(key, 1), seed)
    rounds = [np.diff(pool.schedule.clock_s, prepend=0.0) for pool in (small, large)]
    clock_s = np.cumsum(np.maximum(*rounds))
    return Setup(small, large, jnp.asarray(images), clock_s, jax.random.fold_in(key, 2))


def server_images(spec: Any, seed: int) -> tuple[Federation, np.ndarray]:
    """The clients' federation, and the server's images, which belong to no client and to no test."""
    count = spec.server_images
    if spec.data == "synthetic_writers":
        federation = _partitions.assemble(spec.data, spec.partition, spec.clients, seed=seed)
        knobs: Any = _partitions.writer_knobs(spec.partition, spec.clients)
        return federation, synthetic_writers.unlabelled(knobs, count, kind=spec.server_data, seed=seed)
    federation = _partitions.assemble(spec.data, spec.partition, spec.clients, seed=seed)
    if spec.server_data == "in_domain":
        generator = np.random.Generator(np.random.Philox(key=[seed, _SERVER_STREAM]))
        total = len(federation.y)
        if count > total // 2:
            raise SpecInvalid(
                f"There are only {total} training images.", fields={"server_images": f"At most {total // 2}."}
            )
        taken = generator.permutation(total)[:count]
        parts = [np.setdiff1d(part, taken) for part in federation.parts]
        # A client that lost everything keeps one image of its own.
        parts = [part if len(part) else whole[:1] for part, whole in zip(parts, federation.parts, strict=True)]
        kept = np.setdiff1d(taken, np.concatenate(parts))
        return replace(federation, parts=parts), federation.x[kept]
    knobs = synthetic_writers.Knobs(side=federation.shape[0])
    return federation, synthetic_writers.unlabelled(knobs, count, kind=spec.server_data, seed=seed)


def _high_capacity(spec: Any, federation: Federation, seed: int) -> list[int]:
    generator = np.random.Generator(np.random.Philox(key=[seed, _POOL_STREAM]))
    order = generator.permutation(len(federation.parts))
    if spec.high_pool == "fast_domain":
        order = order[federation.slow[order] == 0]
    count = max(1, round(spec.high_share * len(federation.parts)))
    return sorted(order[:count].tolist())


def _pool(
    spec: Any, federation: Federation, members: list[int], hidden: tuple[int, ...], key: Array, seed: int
) -> Pool:
    own = replace(federation, parts=[federation.parts[member] for member in members], slow=federation.slow[members])
    draw = latency.build(spec.latency, sizes=federation.sizes, seed=seed, slow=federation.slow_clients)
    fleet = Fleet(own.sizes, lambda place, participation: draw(members[place], participation), seed)
    options = fedavg.Options(cohort=min(spec.cohort, len(members)), server_lr=spec.server_lr)
    schedule = federated.plan(options, fleet, steps=spec.server_steps)
    model = SimpleNamespace(model="mlp", hidden=hidden, channels=())
    task, params = experiment.build_model(model, federation, key)
    local = client.LocalTraining(
        spec.local_lr,
        spec.local_epochs,
        spec.local_batch_size,
        client.bucket_lengths(own.sizes, spec.local_batch_size),
    )
    # Both models answer for the whole fleet, whoever taught them.
    evaluate = measures.build_evaluation(task, federation, federation.slow_clients)
    plan = engine.Plan(task, local, federated.build(options))
    data = dual.remember(task, local, client.gather_clients(own.x, own.y, own.parts))
    return Pool(plan, schedule, data, params, members, evaluate)
