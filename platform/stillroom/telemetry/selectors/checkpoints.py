"""Checkpoints of a run, and which of them an organisation's policy keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stillroom.runs.models import CheckpointRecord
from stillroom.telemetry.models import StoragePolicy
from stillroom.telemetry.selectors.visible import visible_points


@dataclass(slots=True)
class Kept:
    """A checkpoint and the rules that keep it; none: the sweep will remove it when the run has ended."""

    row: CheckpointRecord
    kept_by: list[str] = field(default_factory=list)


def storage_policy() -> StoragePolicy:
    """The open tenant's policy; one with nothing set when there is none. One query."""
    return StoragePolicy.objects.first() or StoragePolicy()


def checkpoints(run_id: str, policy: StoragePolicy) -> list[Kept]:
    """The run's checkpoints, oldest first. Without a rule all are kept; the newest always is. At most three queries."""
    rows = CheckpointRecord.objects.filter(run_id=run_id).order_by("epoch", "step")
    found = [Kept(row) for row in rows]
    if not found:
        return found
    found[-1].kept_by.append("newest")
    if not has_rule(policy):
        for item in found:
            item.kept_by.append("no rule")
        return found
    if policy.keep_last:
        for item in found[-policy.keep_last :]:
            item.kept_by.append("last")
    for item in found:
        if policy.keep_every and item.row.step % policy.keep_every == 0:
            item.kept_by.append("every")
    for item in _best(run_id, found, policy):
        item.kept_by.append("best")
    return found


def has_rule(policy: StoragePolicy) -> bool:
    """Whether the policy removes any checkpoint at all."""
    return bool(policy.keep_last or policy.keep_every or (policy.keep_best and policy.best_metric))


def _best(run_id: str, found: list[Kept], policy: StoragePolicy) -> list[Kept]:
    if not (policy.keep_best and policy.best_metric):
        return []
    points = visible_points(run_id, [policy.best_metric]).get(policy.best_metric)
    if points is None:
        return []
    order = np.argsort(points.step, kind="stable")
    steps, values = points.step[order], points.value[order]
    scored: list[tuple[float, int, Kept]] = []
    for place, item in enumerate(found):
        at = int(np.searchsorted(steps, item.row.step, "right")) - 1
        if at >= 0 and np.isfinite(values[at]):
            sign = 1.0 if policy.best_goal == "min" else -1.0
            scored.append((sign * float(values[at]), place, item))
    return [item for _, _, item in sorted(scored, key=lambda row: row[:2])[: policy.keep_best]]
