"""The race's rounds in pfl-research: its federated averaging on its simulated backend, in one process."""

from __future__ import annotations

import sys

import marks
import numpy as np
import torch
from networks import Network
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel

path, kind, warm, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
torch.manual_seed(0)
task = np.load(path)
x, y = torch.from_numpy(task["x"]), torch.from_numpy(task["y"]).long()
parts = torch.from_numpy(task["parts"]).long()
order = iter(task["cohorts"].reshape(-1).tolist())


def dataset(client: int) -> PyTorchTensorDataset:
    rows = parts[client][torch.randperm(parts.shape[1])]
    return PyTorchTensorDataset((x[rows], y[rows]))


class Marks(TrainingProcessCallback):
    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        if central_iteration == warm - 1:
            marks.pause("warm")
        return False, Metrics()


network = Network(kind, task)
model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), 1.0))
federated = FederatedDataset(dataset, lambda: next(order))
backend = SimulatedBackend(training_data=federated, val_data=federated, postprocessors=[WeightByDatapoints()])
params = NNAlgorithmParams(
    central_num_iterations=warm + rounds,
    evaluation_frequency=warm + rounds,
    train_cohort_size=task["cohorts"].shape[1],
    val_cohort_size=None,
)
train = NNTrainHyperParams(
    local_learning_rate=float(task["lr"]), local_num_epochs=1, local_batch_size=int(task["batch"])
)
FederatedAveraging().run(params, backend, model, train, callbacks=[Marks()])
marks.pause("done")
marks.result(*network.judged(task))
