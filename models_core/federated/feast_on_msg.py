"""FeAST-on-MSG: an auxiliary model also takes the late reports, although they were computed from older models.

Federated asynchronous straggler training on mismatched and stale gradients. Source: the abstract and introduction of
"Learning from straggler clients in federated learning", 2024 (arXiv 2403.09086).
Deviates: this is a reconstruction. The paper's algorithm box was not available; only its name and the claims of the
abstract are certain. Never set its numbers beside published ones.

    g = mean of the timely reports ;  L = reports of earlier rounds that arrived since ;  g_late = mean of s(tau) delta
    w' = ServerOpt(w, g)
    a  = beta ( a + aux_lr (|fast| g + |L| g_late) / (|fast| + |L|) ) + (1 - beta) w'      a starts at w
    evaluate a ;  every `reset_every` rounds w' = a

Reduces to: w at beta 0; the exponential moving average of w at aux_lr 0; w also when there is no late report and
aux_lr g is the server's step.
Cost: as many past models as the largest staleness + 1 in the simulator, one more model on a real server; late clients'
uploads count.

>>> Options(cohort=10, over_selection=0.3).clients_needed()
13
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from models_core.federated import _rounds, _server
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule, Sums
    from models_core.federated.simulation.schedule import Fleet, Report, Schedule


class Options(_rounds.RoundOptions, title="FeAST-on-MSG (reconstruction)"):
    """An auxiliary model that late reports join; a reconstruction."""

    kind: Literal["feast_on_msg"] = field(
        "feast_on_msg",
        title="Algorithm",
        help="Reconstruction: late reports join a second model.",
        section="Algorithm",
    )
    over_selection: float = field(
        0.3,
        title="Over-selection",
        help="Share of further clients, who may be late.",
        ge=0,
        le=10,
        section="Algorithm",
    )
    beta: float = field(0.9, title="Beta", help="Inertia of the auxiliary model.", ge=0, lt=1, section="Algorithm")
    aux_lr: float = field(
        1.0,
        title="Auxiliary rate",
        help="Factor on its change; 0: a moving average.",
        ge=0,
        le=100,
        section="Algorithm",
    )
    staleness_exponent: float = field(
        0.0, title="Staleness exponent", help="0: late reports count in full.", ge=0, le=10, section="Algorithm"
    )
    max_staleness: int = field(
        100,
        title="Largest staleness",
        help="Later reports are dropped.",
        unit="steps",
        ge=0,
        le=1000,
        section="Algorithm",
        advanced=True,
    )
    reset_every: int = field(
        0,
        title="Reset every",
        help="Rounds after which training goes on from the auxiliary model; 0: never.",
        unit="steps",
        ge=0,
        section="Algorithm",
        advanced=True,
    )
    late_reports: bool = field(
        True, title="Late reports", help="Off: only timely ones, a control.", section="Algorithm", advanced=True
    )
    server: _server.AnyServer = field(
        _server.Average(), title="Server optimizer", help="Of the rounds.", section="Algorithm", advanced=True
    )


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds; a row holds its timely reports, then the late ones of earlier rounds that arrived since."""
    from models_core.federated.simulation.schedule import Ledger

    ledger = Ledger(len(fleet.sizes))
    late = _rounds.LateReports()
    for this in _rounds.rounds(options, fleet, ledger, steps=steps, until_s=until_s, late_work=True):
        late.push(this.rest)
        kept: list[Report] = []
        for report in late.until(this.close_s):
            ledger.received += 1
            if not options.late_reports or this.step - report.version > options.max_staleness:
                ledger.too_old += 1
                ledger.wasted_s += report.duration_s
            else:
                kept.append(report)
        weights = options.weights([fleet.sizes[report.client] for report in this.used])
        shares = options.weights([fleet.sizes[report.client] for report in kept]) if kept else []
        stale = [
            share * (1.0 + this.step - report.version) ** -options.staleness_exponent
            for share, report in zip(shares, kept, strict=True)
        ]
        ledger.step(
            [*this.used, *kept],
            weights + [0.0] * len(kept),
            this.close_s,
            late_weights=[0.0] * len(this.used) + stale,
        )
    return ledger.schedule()


def build(options: Options) -> Rule:
    """The server optimizer on the timely mean, and the auxiliary model beside it, which is the one to evaluate."""
    import jax
    import jax.numpy as jnp

    from models_core.federated.simulation.rule import Rule

    optimizer = _server.build(options.server, options.server_lr)

    def init(params: Any) -> Any:
        return {
            "server": optimizer.init(params),
            "auxiliary": jax.tree.map(jnp.array, params),
            "round": jnp.zeros((), jnp.int32),
        }

    def apply(params: Any, state: Any, sums: Sums) -> tuple[Any, Any]:
        following, server = optimizer.apply(params, state["server"], sums.change)
        fresh, stale = sums.fresh.astype(jnp.float32), sums.stale.astype(jnp.float32)

        def blend(a: Any, w: Any, g: Any, g_late: Any) -> Any:
            mixed = (fresh * g + stale * g_late) / (fresh + stale)
            return options.beta * (a + options.aux_lr * mixed) + (1 - options.beta) * w

        auxiliary = jax.tree.map(blend, state["auxiliary"], following, sums.change, sums.late)
        count = state["round"] + 1
        if options.reset_every:
            reset = count % options.reset_every == 0
            following = jax.tree.map(lambda w, a: jnp.where(reset, a, w), following, auxiliary)
        return following, {"server": server, "auxiliary": auxiliary, "round": count}

    return Rule(init, apply, shown=lambda params, state: state["auxiliary"], late=True)
