"""The race's rounds as a plain PyTorch loop, written for speed: one model in place, sums in place, no data loader."""

from __future__ import annotations

import sys

import marks
import numpy as np
import torch
from networks import Network

path, kind, warm, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
torch.manual_seed(0)
task = np.load(path)
lr, batch = float(task["lr"]), int(task["batch"])
x, y = torch.from_numpy(task["x"]), torch.from_numpy(task["y"]).long()
parts, cohorts = torch.from_numpy(task["parts"]).long(), task["cohorts"].tolist()
network = Network(kind, task)
weights = list(network.parameters())
server = [weight.detach().clone() for weight in weights]
for number in range(warm + rounds):
    if number == warm:
        marks.pause("warm")
    total = [torch.zeros_like(weight) for weight in server]
    for client in cohorts[number]:
        with torch.no_grad():
            torch._foreach_copy_(weights, server)
        for rows in parts[client][torch.randperm(parts.shape[1])].split(batch):
            grads = torch.autograd.grad(network.loss(x[rows], y[rows]), weights)
            with torch.no_grad():
                torch._foreach_add_(weights, grads, alpha=-lr)
        with torch.no_grad():
            torch._foreach_add_(total, torch._foreach_sub(weights, server), alpha=1 / len(cohorts[number]))
    torch._foreach_add_(server, total)
with torch.no_grad():
    torch._foreach_copy_(weights, server)
marks.pause("done")
marks.result(*network.judged(task))
