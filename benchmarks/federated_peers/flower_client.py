"""Flower's client of the race. A module of its own, so that an actor keeps its task and network between messages."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from networks import Network

app = ClientApp()


@functools.cache
def held() -> tuple[Any, Network]:
    torch.set_num_threads(1)
    task = dict(np.load(os.environ["RACE_TASK"]))
    return task, Network(os.environ["RACE_KIND"], task)


@app.train()
def train(message: Message, context: Context) -> Message:
    task, network = held()
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(network.parameters(), float(task["lr"]))
    rows = torch.from_numpy(task["parts"][int(message.content["config"]["client"])]).long()
    x, y = torch.from_numpy(task["x"]), torch.from_numpy(task["y"]).long()
    for batch in rows[torch.randperm(len(rows))].split(int(task["batch"])):
        optimizer.zero_grad()
        network.loss(x[batch], y[batch]).backward()
        optimizer.step()
    content = {"arrays": ArrayRecord(network.state_dict()), "metrics": MetricRecord({"num-examples": len(rows)})}
    return Message(content=RecordDict(content), reply_to=message)
