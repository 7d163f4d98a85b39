"""Tuning of an optimizer.

Looks for the numbers of one optimizer (learning rate, decays, epsilon) under a budget that is the same for every
optimizer, by random, grid, TPE or ASHA search, then runs the best with fresh seeds. With the same seed and space every
optimizer gets the same draws, initial weights and batches: launch one run for each optimizer of a comparison, in JAX or
PyTorch. Rules as AlgoPerf has them: external tuning (the median over studies of the best trial's steps to a target) or
self-tuning (no search, more steps). A trial's table and the best configuration are artifacts; the search goes on from a
checkpoint as if it had not stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress
from models_core.optim.sonew import Options as Sonew
from models_core.recipes.optimizer_tuning.spec import External, SelfTuning, Spec
from models_core.search.asha import Options as Asha

if TYPE_CHECKING:
    from models_core.recipes.optimizer_tuning.session import Job, Session

VERSION = "1"
FAMILY = "optimizer"

EXAMPLES = (
    Example(
        "Adam on the digits autoencoder, four random trials",
        Spec(rules=External(studies=1, trials=4), target=17.5, judged_seeds=2),
        cost_s=17,
    ),
    Example(
        "Tridiagonal SONew by successive halving, three studies",
        Spec(optimizer=Sonew(), rules=External(studies=3, trials=3), strategy=Asha(first=1), target=17.5),
        cost_s=21,
    ),
    Example(
        "SONew as it is under the self-tuning rules",
        Spec(optimizer=Sonew(lr=0.01), rules=SelfTuning(), target=17.5, judged_seeds=0),
        cost_s=15,
    ),
    Example(
        "Adam on the digits autoencoder, four random trials in PyTorch",
        Spec(framework="torch", rules=External(studies=1, trials=4), target=17.5, judged_seeds=2),
        cost_s=20,
    ),
)

TEMPLATES = (
    StudyTemplate(
        "first_order_and_sonew",
        "SONew and first-order methods, each tuned alike",
        "Sixteen random configurations, the same for every method, chosen by the loss on all training images, and the "
        "best again with three fresh seeds.",
        spec={
            "rules": {"kind": "external", "studies": 1, "trials": 16},
            "objective": "train/final_loss",
            "eval_every": 480,
            "space": {"eps": {"low": 1e-10, "high": 1e-4}},
        },
        arms={
            "momentum": {"optimizer": {"kind": "sgd", "nesterov": True}, "space": {"lr_factor": 10.0}},
            "rmsprop": {"optimizer": {"kind": "rmsprop"}},
            "adam": {"optimizer": {"kind": "adam"}},
            "diagonal": {"optimizer": {"kind": "sonew", "band": 0}},
            "tridiagonal": {"optimizer": {"kind": "sonew", "band": 1}},
            "band 4": {"optimizer": {"kind": "sonew", "band": 4}},
        },
        seeds=(0, 1, 2),
    ),
)

METRICS = (
    MetricInfo(
        "tuned/value", "", "min", "Objective of the best trial: mean over the seeds that judged it.", primary=True
    ),
    MetricInfo("tuned/steps_to_target", "steps", "min", "Median over studies of each one's fewest; infinite: missed."),
    MetricInfo("tuned/optimizer_bytes", "bytes", "min", "Memory of the optimizer's state."),
    MetricInfo("trial/value", "", "min", "Objective of a trial at its end; infinite where it diverged."),
    MetricInfo("trial/best", "", "min", "Lowest value of the study so far."),
    MetricInfo("trial/number", "", None, "Number of the trial in its study, from 0."),
    MetricInfo("trial/study", "", None, "Number of the study, from 0."),
    MetricInfo("trial/objective", "", "min", "Objective of the running trial at its evaluations."),
    MetricInfo("trial/first_loss", "", None, "Loss of a trial's first batch: the same for all trials of a study."),
    MetricInfo("trial/steps_to_target", "steps", "min", "Updates until the target; infinite: it was not reached."),
    *(
        MetricInfo(f"trial/{role}", "", None, f"Where the trial lay: {name}.")
        for role, name in {
            "lr": "learning rate, before the space's factor",
            "one_minus_beta1": "1 - beta 1 or 1 - momentum",
            "one_minus_beta2": "1 - beta 2",
            "eps": "epsilon",
            "weight_decay": "weight decay",
        }.items()
    ),
    MetricInfo("judged/value", "", "min", "Objective of the best trial with a fresh seed."),
    MetricInfo("perf/trial_s", "s", "min", "Training time of a trial, evaluation and compilation left out."),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Search, judge, and report; see the module's docstring."""
    import json
    import math

    from models_core import benches
    from models_core.recipes.optimizer_tuning.session import Session
    from models_core.training import schedules, workloads
    from models_core.training.account import Account
    from models_core.training.pacing import Pacing
    from models_core.training.stopwatch import Stopwatch

    yield Log(benches.prepare(spec.framework, ctx.cache_dir))
    problem = workloads.build(spec.workload)
    steps, names = spec.trial_steps, spec.searched.fields_of(type(spec.optimizer))
    shape = schedules.warmup_then_decay(1.0, steps=steps, warmup_steps=spec.warmup_steps, decay=spec.decay)
    learner = benches.learner(spec.framework, spec.workload, problem, spec.batch_size)
    begin = learner.trials(spec.optimizer, shape, steps=steps, tuned=sorted({"lr", *names.values()}))
    evaluate = None
    if not spec.workload.one_pass:
        part, prefix = (problem.test, "eval/") if spec.objective == "eval/loss" else (problem.train, "train/final_")
        evaluate = learner.evaluation(part, prefix)
    session = Session.from_json(spec, ctx.seed, ctx.resume.state) if ctx.resume else Session.start(spec, ctx.seed)
    arrays = ctx.resume.arrays if ctx.resume else {}
    pacing = Pacing(spec.total_steps, 0, spec.checkpoint_every)

    def checkpoint() -> Checkpoint:
        session.paid = account.total
        held = training.arrays() if session.used else {}
        return Checkpoint(session.charged + session.used, held, session.to_json())

    while (job := session.job()) is not None:
        training, order = begin(job.options, job.seed), problem.order(job.seed, spec.batch_size)
        watch, account = Stopwatch(), Account(session.paid)
        if session.used:
            training.restore(arrays)
        elif not session.charged:
            yield Metric(0, {"tuned/optimizer_bytes": training.state_bytes()})
        while True:
            if ctx.should_stop():
                yield checkpoint()
                return
            first = session.used == 0
            watch.start()
            metrics = training.step(order.at(session.used))
            session.used += 1
            ends = session.used == steps
            evaluates = ends or session.used % spec.eval_every == 0
            if spec.workload.one_pass:
                account.add(metrics["loss"])
            value = math.nan
            if first or evaluates:
                training.wait()
                watch.stop()
            if first:
                # Its time is that of compiling.
                watch = Stopwatch()
                yield Metric(session.charged + 1, {"trial/first_loss": float(metrics["loss"])})
            given_up = False
            if evaluates:
                if not training.broken:
                    scores = evaluate(training) if evaluate else {spec.objective: account.total / session.used}
                    value = scores[spec.objective]
                yield from _evaluated(spec, session, job, value)
                given_up = job.study is not None and session.ledgers[job.study].report(value) and not ends
            at = session.charged + session.used
            if ends or given_up or (evaluates and not math.isfinite(value)):
                yield from _ended(
                    session, job, value, given_up=given_up and math.isfinite(value), seconds=watch.seconds
                )
                at = session.charged
            if pacing.tells_progress(at):
                yield Progress(at, spec.total_steps, _named(job))
            if pacing.saves(at):
                yield checkpoint()
            if not session.used:
                break

    yield from _results(spec, session)
    rows = session.table()
    yield Artifact("trials.json", json.dumps(rows, indent=1).encode(), "application/json")
    yield Artifact("trials.csv", _csv(rows), "text/csv")
    yield Progress(spec.total_steps, spec.total_steps, "done")


def _evaluated(spec: Spec, session: Session, job: Job, value: float) -> Iterator[Event]:
    import math

    if spec.target is not None and session.arrived is None and value <= spec.target:
        session.arrived = session.used
    if math.isfinite(value):
        yield Metric(session.charged + session.used, {"trial/objective": value})


def _ended(session: Session, job: Job, value: float, *, given_up: bool, seconds: float) -> Iterator[Event]:
    """Close the run that is due and tell what it came to."""
    import math

    worth = value if math.isfinite(value) else math.inf
    arrived = math.inf if session.arrived is None else float(session.arrived)
    session.finish(job, value, given_up=given_up)
    if job.study is None:
        yield Metric(session.charged, {"judged/value": worth, "perf/trial_s": seconds})
        return
    ledger = session.ledgers[job.study]
    best = ledger.best
    yield Metric(
        session.charged,
        {
            "trial/value": worth,
            "trial/best": best.value if best else math.inf,
            "trial/number": job.number,
            "trial/study": job.study,
            "trial/steps_to_target": arrived,
            "perf/trial_s": seconds,
            **{f"trial/{role}": place for role, place in ledger.trials[-1].point.items()},
        },
    )


def _results(spec: Spec, session: Session) -> Iterator[Event]:
    """The outcome: the best configuration, and how well it did."""
    import json

    outcome = {"tuned/value": session.value}
    if spec.target is not None:
        outcome["tuned/steps_to_target"] = session.score_steps
    yield Metric(spec.total_steps, outcome)
    if session.best is None:
        yield Log("No trial came to its end with a finite value.", "warning")
        return
    study, trial = session.best
    document: dict[str, Any] = {
        "optimizer": spec.configured(trial.point).model_dump(mode="json"),
        "study": study,
        "trial": trial.number,
        "value": trial.value,
        "judged": session.to_json()["judged"],
    }
    yield Artifact("best.json", json.dumps(document, indent=1).encode(), "application/json")


def _named(job: Job) -> str:
    return (
        f"seed {job.number + 1} that judges" if job.study is None else f"study {job.study + 1}, trial {job.number + 1}"
    )


def _csv(rows: list[dict[str, Any]]) -> bytes:
    import csv
    import io

    written = io.StringIO()
    table = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return written.getvalue().encode()
