"""The race's rounds in Flower: its FedAvg on its simulation engine with Ray's actors, a core for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import flower_client
import marks
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from networks import Network

path, kind, warm, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
task = np.load(path)
server = ServerApp()


class SameCohorts(FedAvg):
    """The cohorts of the task's file; which node carries a client out is of no importance."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        nodes = sorted(grid.get_node_ids())
        cohort = task["cohorts"][server_round - 1].tolist()
        return [
            Message(
                content=RecordDict({"arrays": arrays, "config": ConfigRecord({"client": client})}),
                message_type=MessageType.TRAIN,
                dst_node_id=node,
            )
            for node, client in zip(nodes, cohort, strict=False)
        ]


@server.main()
def main(grid: Grid, context: Context) -> None:
    def after(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        if number == warm:
            marks.pause("warm")
        return None

    network = Network(kind, task)
    strategy = SameCohorts(fraction_evaluate=0.0, min_available_nodes=task["cohorts"].shape[1])
    found: Any = strategy.start(grid, ArrayRecord(network.state_dict()), num_rounds=warm + rounds, evaluate_fn=after)
    marks.pause("done")
    network.load_state_dict(found.arrays.to_torch_state_dict())
    marks.result(*network.judged(task))


cores = len(os.sched_getaffinity(0))
run_simulation(
    server,
    flower_client.app,
    num_supernodes=len(task["parts"]),
    backend_config={
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": cores, "include_dashboard": False},
    },
)
