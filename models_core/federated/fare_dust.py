"""FARe-DUST: late reports complete the model of their own round, which then teaches later clients.

Federated asynchronous regularization with distillation using stale teachers. Source: the abstract and introduction of
"Learning from straggler clients in federated learning", 2024 (arXiv 2403.09086).
Deviates: this is a reconstruction. The paper's algorithm box was not available; only its name and the claims of the
abstract are certain. Never set its numbers beside published ones.

    each round:  S = m' clients ;  u_i drawn from the teachers (none yet: no distillation)
                 delta_i from  CE + distill_weight T^2 KL(softmax(f_u/T) || softmax(f_w/T))
                 w = ServerOpt(w, mean of the first `cohort` reports) ;  the rest keep their cohort open
                 a cohort closes when `close_share` of its clients reported or after `close_after_s`:
                 teachers gain  w_cohort + teacher_lr mean(all its reports), the oldest beyond `teachers` is dropped

The simulator trains late clients together with their round and lets nothing see them before they arrive: the second
sum of a round holds all reports that its cohort will have heard when it closes.
Reduces to: FedAvg with the same server optimizer at distill_weight 0 or teachers 0 (up to who is still at work); with
`late_reports` off the teachers are historical models.
Cost: one model for every round since the oldest teacher in use; clients download two models, and every late report that
counts is uploaded.

>>> Options(cohort=10, over_selection=0.3).clients_needed()
13
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import TYPE_CHECKING, Any, Literal

from models_core.federated import _rounds, _server
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule, Sums
    from models_core.federated.simulation.schedule import Fleet, Ledger, Report, Schedule

_TEACHER_STREAM = 6


class Options(_rounds.RoundOptions, title="FARe-DUST (reconstruction)"):
    """Distillation from models that late reports completed; a reconstruction."""

    kind: Literal["fare_dust"] = field(
        "fare_dust", title="Algorithm", help="Reconstruction: late reports become teachers.", section="Algorithm"
    )
    over_selection: float = field(
        0.3,
        title="Over-selection",
        help="Share of further clients, who may be late.",
        ge=0,
        le=10,
        section="Algorithm",
    )
    teachers: int = field(
        5, title="Teachers", help="Newest completed models to draw from; 0: none.", ge=0, le=100, section="Algorithm"
    )
    draw: Literal["uniform", "newest", "per_round"] = field(
        "uniform",
        title="Draw",
        help="Per client, always the newest, or one for all of a round.",
        section="Algorithm",
        advanced=True,
    )
    distill_weight: float = field(
        0.3, title="Distillation weight", help="Of the divergence from the teacher.", ge=0, le=100, section="Algorithm"
    )
    temperature: float = field(
        1.0, title="Temperature", help="Of both softmaxes.", gt=0, le=100, section="Algorithm", advanced=True
    )
    close_share: float = field(
        0.95,
        title="Closing share",
        help="A cohort closes when so many reported.",
        gt=0,
        le=1,
        section="Algorithm",
        advanced=True,
    )
    close_after_s: float = field(
        0.0,
        title="Closing time",
        help="Or after so long; 0: no limit.",
        unit="s",
        ge=0,
        format="seconds",
        section="Algorithm",
        advanced=True,
    )
    teacher_lr: float = field(
        1.0,
        title="Teacher rate",
        help="Factor on a cohort's mean change.",
        gt=0,
        le=10,
        section="Algorithm",
        advanced=True,
    )
    late_reports: bool = field(
        True,
        title="Late reports",
        help="Off: teachers are made of the timely reports alone, a control.",
        section="Algorithm",
        advanced=True,
    )
    server: _server.AnyServer = field(
        _server.Average(), title="Server optimizer", help="Of the rounds.", section="Algorithm", advanced=True
    )


@dataclass(slots=True)
class _Cohort:
    """A round that still listens."""

    step: int
    reports: list[Report]
    asked: int
    begin_s: float
    heard: set[int] = attribute(default_factory=set)


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds whose late reports go on, and the teachers that every client is given."""
    from models_core.federated.simulation.schedule import Ledger

    ledger = Ledger(len(fleet.sizes))
    late = _rounds.LateReports()
    opened: list[_Cohort] = []
    pool: list[int] = []
    for this in _rounds.rounds(options, fleet, ledger, steps=steps, until_s=until_s, late_work=True):
        reports = [*this.used, *this.rest]
        drawn = _draw(options, pool, reports, this.step, fleet.seed)
        ledger.teachers += sum(teacher >= 0 for teacher in drawn)
        cohort = _Cohort(this.step, reports, len(reports), this.begin_s, set(range(len(this.used))))
        opened.append(cohort)
        weights = options.weights([fleet.sizes[report.client] for report in this.used])
        late.push(this.rest)
        _hear(late.until(this.close_s), opened, options, ledger)
        ledger.step(reports, weights + [0.0] * len(this.rest), this.close_s, teachers=drawn, used=len(this.used))
        for cohort in list(opened):
            waited_s = this.close_s - cohort.begin_s
            complete = len(cohort.heard) >= options.close_share * cohort.asked or not options.late_reports
            if complete or (options.close_after_s and waited_s >= options.close_after_s):
                opened.remove(cohort)
                _close(cohort, options, fleet, ledger)
                pool = [*pool, cohort.step + 1][-options.teachers :] if options.teachers else []
    return ledger.schedule()


def build(options: Options) -> Rule:
    """The server optimizer on the timely mean; the completed model of the round into the ring of teachers."""
    import jax

    from models_core.federated.simulation.rule import Rule

    optimizer = _server.build(options.server, options.server_lr)

    def apply(params: Any, state: Any, sums: Sums) -> tuple[Any, Any]:
        return optimizer.apply(params, state, sums.change)

    def teacher(params: Any, following: Any, state: Any, sums: Sums) -> Any:
        return jax.tree.map(lambda w, d: w + options.teacher_lr * d, params, sums.late)

    distils = options.distill_weight > 0 and options.teachers > 0
    return Rule(
        optimizer.init,
        apply,
        teacher=teacher if distils else None,
        late=distils,
        distill_weight=options.distill_weight,
        temperature=options.temperature,
    )


def _hear(arrived: list[Report], opened: list[_Cohort], options: Options, ledger: Ledger) -> None:
    cohorts = {cohort.step: cohort for cohort in opened}
    for report in arrived:
        ledger.received += 1
        cohort = cohorts.get(report.version)
        if cohort is None or not options.late_reports:
            ledger.too_old += 1
            ledger.wasted_s += report.duration_s
        else:
            cohort.heard.add(cohort.reports.index(report))
            ledger.used += 1


def _close(cohort: _Cohort, options: Options, fleet: Fleet, ledger: Ledger) -> None:
    places = sorted(cohort.heard)
    weights = options.weights([fleet.sizes[cohort.reports[place].client] for place in places])
    late_weights = [0.0] * len(cohort.reports)
    for place, weight in zip(places, weights, strict=True):
        late_weights[place] = weight
    ledger.weigh_late(cohort.step, late_weights)


def _draw(options: Options, pool: list[int], reports: list[Report], step: int, seed: int) -> list[int]:
    """The number of the teacher of every report; a draw depends on (seed, client, participation), or on the round."""
    import numpy as np

    if not pool or options.distill_weight == 0:
        return [-1] * len(reports)
    if options.draw == "newest":
        return [pool[-1]] * len(reports)

    def one(major: int, minor: int) -> int:
        stream = np.random.Philox(key=[seed, _TEACHER_STREAM], counter=[0, 0, major, minor])
        return pool[int(np.random.Generator(stream).integers(len(pool)))]

    if options.draw == "per_round":
        return [one(step, 0)] * len(reports)
    return [one(report.client, 1 + report.participation) for report in reports]
