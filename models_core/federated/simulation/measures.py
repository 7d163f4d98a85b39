"""Numbers about a run that the schedule and the test set give: accuracy by domain, fairness, staleness, traffic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models_core.federated.simulation.client import Task
from models_core.federated.simulation.federation import Federation
from models_core.federated.simulation.schedule import Schedule

# Upper ends of the bins of the staleness histogram, in server steps; the last bin is open.
STALENESS_BINS = (("0", 0), ("1", 1), ("2_3", 3), ("4_7", 7), ("8_15", 15))
# Of one compiled call of an evaluation: examples, and logits (64 MiB of them).
_BATCH, _LOGITS = 500, 1 << 24


def build_evaluation(task: Task, federation: Federation, stragglers: list[int]) -> Callable[[Any], dict[str, float]]:
    """`evaluate(params)`: accuracy and loss on the test examples, of stragglers, and percentiles over clients.

    A client's accuracy is the test accuracy of each group (domain, label) weighted by the client's own mix of groups.
    """

    @jax.jit
    def batch(params: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = task.logits(params, x)
        return task.hits(logits, y), task.losses(logits, y)

    # Text has a row of logits for every token of a window.
    logits = federation.classes * int(np.prod(federation.test_y.shape[1:]))
    size = max(1, min(_BATCH, len(federation.test_y), _LOGITS // logits))
    group, mixes = federation.groups()
    counts = np.bincount(group, minlength=len(federation.parts) if mixes is None else mixes.shape[1])
    known = mixes
    if mixes is not None:
        # A group without test examples says nothing; the shares of the others are scaled up.
        known = mixes * (counts > 0)
        known = known / np.maximum(known.sum(axis=1, keepdims=True), 1e-12)

    def evaluate(params: Any) -> dict[str, float]:
        hits, losses = [], []
        total = len(federation.test_y)
        for first in range(0, total, size):
            rows = np.minimum(np.arange(first, first + size), total - 1)
            found = batch(params, jnp.asarray(federation.test_x[rows]), jnp.asarray(federation.test_y[rows]))
            kept = min(size, total - first)
            hits.append(np.asarray(found[0])[:kept])
            losses.append(np.asarray(found[1])[:kept])
        hit = np.concatenate(hits).astype(np.float64)
        by_group = np.bincount(group, weights=hit, minlength=len(counts)) / np.maximum(counts, 1)
        by_client = by_group if known is None else known @ by_group
        values = {
            "eval/accuracy": float(hit.mean()),
            "eval/loss": float(np.concatenate(losses).astype(np.float64).mean()),
            "fair/p10": float(np.percentile(by_client, 10)),
            "fair/p50": float(np.percentile(by_client, 50)),
            "fair/p90": float(np.percentile(by_client, 90)),
            "fair/spread": float(by_client.std()),
        }
        if stragglers and len(stragglers) < len(by_client):
            others = np.delete(by_client, stragglers)
            values["eval/straggler_accuracy"] = float(by_client[stragglers].mean())
            values["eval/other_accuracy"] = float(others.mean())
        return values

    return evaluate


def staleness_histogram(schedule: Schedule) -> dict[str, np.ndarray]:
    """The share of the reports used so far in each bin of staleness, [steps] each."""
    counted = schedule.counted
    totals = np.maximum(np.cumsum(counted.sum(axis=1)), 1)
    values, least = {}, 0
    for name, most in (*STALENESS_BINS, ("16_up", np.inf)):
        inside = counted & (schedule.staleness >= least) & (schedule.staleness <= most)
        values[f"staleness/{name}"] = np.cumsum(inside.sum(axis=1)) / totals
        least = int(most) + 1 if np.isfinite(most) else least
    return values


def traffic(schedule: Schedule, model_bytes: int, upload_bytes: int) -> dict[str, np.ndarray]:
    """Bytes so far, [steps] each: a model for every start and one more for a teacher, a change for every report."""
    return {
        "comm/download_bytes": (schedule.started + schedule.teachers) * float(model_bytes),
        "comm/upload_bytes": schedule.received * float(upload_bytes),
    }


def work(schedule: Schedule) -> dict[str, np.ndarray]:
    """Clock, clients at work and wasted work, [steps] each."""
    counted = schedule.counted
    wasted = schedule.late + schedule.too_old + schedule.lost
    return {
        "sim/time_s": schedule.clock_s,
        "sim/staleness_mean": (schedule.staleness * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1),
        "sim/in_flight": schedule.in_flight.astype(np.float64),
        "work/started": schedule.started.astype(np.float64),
        "work/used": schedule.used.astype(np.float64),
        "work/wasted_share": wasted / np.maximum(schedule.started, 1),
        "work/wasted_s": schedule.wasted_s,
    }
