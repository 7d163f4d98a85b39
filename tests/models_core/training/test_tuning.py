"""Tuning: budgets, rules, and that methods meet the same trials; the schedule that changes by the epoch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import pytest

from models_core import catalog
from models_core.errors import SpecInvalid
from models_core.events import Artifact, Context, Event, Metric
from models_core.recipes.optimizer_tuning.session import Session
from models_core.recipes.optimizer_tuning.spec import Spec
from models_core.training import schedules

RECIPE = catalog.recipe("optimizer_tuning")
SMALL = {"steps": 6, "warmup_steps": 0, "batch_size": 16, "eval_every": 2, "checkpoint_every": 0}


def spec_of(**changes: Any) -> Spec:
    found = RECIPE.parse(SMALL | changes)
    assert isinstance(found, Spec)
    return found


def played(spec: Spec, quality: dict[int, list[float]]) -> Session:
    """A session whose trials report the given values of each study, without training; judges get 1."""
    session = Session.start(spec, seed=0)
    while (job := session.job()) is not None:
        values = quality[job.study][job.number] if job.study is not None else 1.0
        for evaluation in range(spec.trial_steps // spec.eval_every):
            session.used = spec.eval_every * (evaluation + 1)
            if spec.target is not None and session.arrived is None and values <= spec.target:
                session.arrived = session.used
            ends = session.used == spec.trial_steps
            give_up = job.study is not None and session.ledgers[job.study].report(values) and not ends
            if ends or give_up:
                session.finish(job, values, given_up=give_up)
                break
        session = Session.from_json(spec, 0, json.loads(json.dumps(session.to_json())))
    return session


def test_the_score_is_the_median_over_studies_of_the_best_trial() -> None:
    spec = spec_of(rules={"kind": "external", "studies": 3, "trials": 2}, target=1.0, judged_seeds=0)
    one_misses = played(spec, {0: [0.5, 9.0], 1: [9.0, 0.9], 2: [9.0, 9.0]})
    assert one_misses.steps_to_target == [[2, math.inf], [math.inf, 2], [math.inf, math.inf]]
    assert one_misses.score_steps == 2
    assert one_misses.value == 0.5
    two_miss = played(spec, {0: [0.5, 9.0], 1: [9.0, 9.0], 2: [9.0, 9.0]})
    assert two_miss.score_steps == math.inf


def test_a_diverged_trial_costs_its_whole_share_and_none_but_diverged_ones_leave_nothing_to_judge() -> None:
    spec = spec_of(rules={"kind": "external", "studies": 1, "trials": 2}, judged_seeds=2)
    session = played(spec, {0: [math.inf, math.inf]})
    assert session.charged == 2 * spec.trial_steps
    assert session.judged == []
    assert session.value == math.inf
    assert [row["state"] for row in session.table()] == ["diverged", "diverged"]


def test_giving_up_early_buys_more_trials_within_the_same_updates() -> None:
    rules = {"kind": "external", "studies": 1, "trials": 4}
    qualities = {0: [float(number) for number in range(1, 30)]}
    plain = played(spec_of(rules=rules, judged_seeds=0), qualities)
    halved = played(spec_of(rules=rules, judged_seeds=0, strategy={"kind": "asha", "first": 1}), qualities)
    assert len(plain.ledgers[0].trials) == 4
    assert plain.charged == 4 * 6
    assert len(halved.ledgers[0].trials) > 4
    assert halved.charged <= 4 * 6


def test_self_tuning_searches_nothing_and_has_half_as_many_steps_again() -> None:
    spec = spec_of(rules={"kind": "self_tuning"}, optimizer={"kind": "sonew", "lr": 0.02}, judged_seeds=0)
    assert spec.trial_steps == 9
    assert spec.total_steps == 27
    session = Session.start(spec, seed=0)
    job = session.job()
    assert job is not None
    assert job.options == spec.optimizer


def events(spec: Spec, seed: int = 0) -> Iterator[Event]:
    return RECIPE.run(spec, Context(seed=seed))


def test_two_methods_meet_the_same_trials_and_the_best_is_run_again() -> None:
    tables, outcomes = [], []
    for optimizer in ({"kind": "adam"}, {"kind": "sgd"}):
        spec = spec_of(optimizer=optimizer, rules={"kind": "external", "studies": 1, "trials": 2}, judged_seeds=2)
        values: dict[str, list[float]] = {}
        for event in events(spec):
            if isinstance(event, Metric):
                for key, value in event.values.items():
                    values.setdefault(key, []).append(value)
            elif isinstance(event, Artifact) and event.name == "trials.csv":
                tables.append(list(csv.DictReader(io.StringIO(event.content.decode()))))
            elif isinstance(event, Artifact) and event.name == "best.json":
                outcomes.append(json.loads(event.content))
        assert len(values["judged/value"]) == 2
        assert values["tuned/value"] == [pytest.approx(sum(values["judged/value"]) / 2)]
        assert values["trial/best"][-1] == min(values["trial/value"])
    assert [row["lr"] for row in tables[0]] == [row["lr"] for row in tables[1]]
    assert [row["beta1"] for row in tables[0]] == [row["momentum"] for row in tables[1]]
    assert len({row["lr"] for row in tables[0]}) == 2
    # What is best can be submitted as it is.
    assert [catalog.recipe("optimizer_benchmark").parse({"optimizer": o["optimizer"]}) for o in outcomes]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"warmup_steps": 6}, "warmup_steps"),
        ({"batch_size": 1438}, "batch_size"),
        ({"space": {"lr": {"low": 1, "high": 1000}}}, "space.lr.high"),
        ({"space": {"lr": None}, "optimizer": {"kind": "ogd"}}, "space"),
        ({"workload": {"task": "online_convex"}, "objective": "train/final_loss"}, "objective"),
        ({"workload": {"task": "online_convex"}, "batch_size": 100}, "steps"),
        ({"workload": {"task": "classifier", "network": {"kind": "vit", "patch": 3}}}, "workload.network.patch"),
        ({"rules": {"kind": "external", "trials": 0}}, "rules.trials"),
    ],
)
def test_contradictions_are_refused_by_name(change: dict[str, Any], where: str) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        spec_of(**change)
    assert list(refusal.value.fields) == [where]


def test_the_published_schedule_begins_with_an_epoch_of_rate_zero_and_changes_with_the_epochs_alone() -> None:
    schedule = schedules.by_epoch(2.0, steps=40, warmup_steps=8, epoch_steps=4)
    rates = [float(schedule(jnp.asarray(step))) for step in range(40)]
    by_epoch = [rates[start] for start in range(0, 40, 4)]
    assert all(rates[start : start + 4] == [rates[start]] * 4 for start in range(0, 40, 4))
    assert by_epoch == pytest.approx([0, 1, 2, 2 * 7 / 8, 2 * 6 / 8, 2 * 5 / 8, 1, 2 * 3 / 8, 2 * 2 / 8, 2 / 8])
    flat = schedules.by_epoch(2.0, steps=40, warmup_steps=0, epoch_steps=4, falls=False)
    assert [float(flat(jnp.asarray(step))) for step in (0, 39)] == [2.0, 2.0]
