"""Studies of the federated recipe that a user starts as they are."""

from __future__ import annotations

from typing import Any

from models_core.catalog import StudyTemplate

_SLOW_WRITERS: dict[str, Any] = {
    "data": "synthetic_writers",
    "clients": 80,
    "partition": {"kind": "synthetic_writers"},
    "latency": {"kind": "per_domain_per_example", "slow_factor": 10.0},
    "local_epochs": 1,
    "server_steps": 2000,
    "time_budget_s": 600.0,
    "eval_every": 25,
}
_ROUND = {"kind": "fedavg", "cohort": 10, "over_selection": 0.5}
_ADAM = {"kind": "fedadam", "cohort": 10, "over_selection": 0.5, "server_lr": 0.03}

STRAGGLERS = StudyTemplate(
    "stragglers",
    "Learning from straggler clients",
    "Slow writers are a domain of their own. Every algorithm runs to the same simulated time; the controls tell "
    "whether a gain comes from late reports. FARe-DUST and FeAST-on-MSG are reconstructions, the data synthetic.",
    spec=_SLOW_WRITERS,
    arms={
        "FedAvg": {"algorithm": _ROUND},
        "FedAvg waits for all": {"algorithm": {"kind": "fedavg", "cohort": 15}},
        "FedAvg asks twice as many": {"algorithm": {**_ROUND, "over_selection": 1.0}},
        "FedAdam": {"algorithm": _ADAM},
        "FedAdam with average": {"algorithm": _ADAM, "average_decay": 0.95},
        "FedAdam with old teacher": {"algorithm": _ADAM, "regularisation": {"kind": "distillation", "age": 10}},
        "FedBuff": {"algorithm": {"kind": "fedbuff", "concurrency": 15, "buffer": 10}},
        "FARe-DUST": {"algorithm": {"kind": "fare_dust", "over_selection": 0.5}},
        "FARe-DUST with timely teachers": {
            "algorithm": {"kind": "fare_dust", "over_selection": 0.5, "late_reports": False}
        },
        "FeAST-on-MSG": {"algorithm": {"kind": "feast_on_msg", "over_selection": 0.5}},
        "FeAST with its average only": {"algorithm": {"kind": "feast_on_msg", "over_selection": 0.5, "aux_lr": 0.0}},
        "FeAST without late reports": {
            "algorithm": {"kind": "feast_on_msg", "over_selection": 0.5, "late_reports": False}
        },
    },
    baseline="FedAvg",
    metric="eval/straggler_accuracy",
    x="sim/time_s",
    seeds=(0, 1, 2, 3, 4),
)
