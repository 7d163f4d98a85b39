"""Several processes that train one model: what they say to each other. Tensors and JSON only, on this machine alone.

The process of the run leads. It starts the others (`training.torch.follower`), sends each batch to all, and every
process computes its rows of it:

    g = sum over processes of their gradients ;  each then makes the same update, so that copies stay equal bit for bit

With shards > 1 the optimizer's state is cut over that many processes (ZeRO stage 1: Rajbhandari et al., SC 2020): an
owner updates its parameters and sends them to the others. Weights and gradients are whole everywhere.
Communication is gloo on processors and NCCL on CUDA devices.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load, save

from models_core.errors import CoreError, MeshInvalid
from models_core.nn.torch.arrays import to_numpy, to_tensor

# Until all processes have met.
START_S = 180.0
# The leader may evaluate for long while the others wait; one that dies is noticed by its closed connection at once.
SILENCE = timedelta(days=7)
END_S = 5.0


class MeshLost(CoreError):
    """A process of the mesh ended before its time."""

    code = "mesh.lost"


class Word(IntEnum):
    """What the leader says before the tensors that it concerns."""

    RESTORE, STEP, GATHER = range(3)


def devices() -> int:
    """How many processes there can be: CUDA devices, or the threads that PyTorch may use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else torch.get_num_threads()


class Team:
    """One process's place among `size`, of which `shards` hold one optimizer state between them."""

    def __init__(self, rank: int, size: int, shards: int, store: Path, threads: int) -> None:
        self.rank, self.size, self.shards = rank, size, shards
        cuda = torch.cuda.is_available()
        self.device = f"cuda:{rank}" if cuda else "cpu"
        torch.set_num_threads(threads)
        if sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        meeting = dist.FileStore(str(store), size)  # type: ignore[attr-defined]
        meeting.set_timeout(timedelta(seconds=START_S))
        kind = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(kind, store=meeting, rank=rank, world_size=size, timeout=SILENCE)

    def owns(self, index: int) -> bool:
        """Whether this process updates parameter number `index`."""
        return index % self.shards == self.rank % self.shards

    def rows(self, array: np.ndarray) -> np.ndarray:
        """This process's rows of (micro-batches, rows, ..)."""
        part = array.shape[1] // self.size
        return array[:, self.rank * part : (self.rank + 1) * part]

    def sum(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Each tensor summed over all processes; all must have one dtype."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        return [part.view(tensor.shape) for part, tensor in zip(torch.split(flat, sizes), tensors, strict=True)]

    @torch.no_grad()
    def share(self, parameters: Sequence[torch.Tensor]) -> None:
        """Take every parameter from the process that updated it."""
        for owner in range(self.shards if self.shards > 1 else 0):
            held = parameters[owner :: self.shards]
            if not held:
                continue
            flat = torch.cat([tensor.reshape(-1) for tensor in held])
            dist.broadcast(flat, src=owner)
            if not self.owns(owner):
                for part, tensor in zip(torch.split(flat, [tensor.numel() for tensor in held]), held, strict=True):
                    tensor.copy_(part.view(tensor.shape))

    def say(self, word: Word, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """From the leader to all."""
        payload = _packed(arrays or {})
        dist.broadcast(torch.tensor([word, payload.numel()]), src=0)
        dist.broadcast(payload, src=0)

    def hear(self) -> tuple[Word, dict[str, np.ndarray]]:
        """What the leader says next."""
        head = torch.zeros(2, dtype=torch.int64)
        dist.broadcast(head, src=0)
        payload = torch.empty(int(head[1]), dtype=torch.uint8)
        dist.broadcast(payload, src=0)
        return Word(int(head[0])), _unpacked(payload)

    def report(self, arrays: Mapping[str, np.ndarray]) -> None:
        """From a process to the leader, which `collect`s."""
        payload = _packed(arrays)
        dist.send(torch.tensor([payload.numel()]), dst=0)
        dist.send(payload, dst=0)

    def collect(self) -> dict[str, np.ndarray]:
        """What the holders of the other shards report."""
        found: dict[str, np.ndarray] = {}
        for rank in range(1, self.shards):
            size = torch.zeros(1, dtype=torch.int64)
            dist.recv(size, src=rank)
            payload = torch.empty(int(size[0]), dtype=torch.uint8)
            dist.recv(payload, src=rank)
            found |= _unpacked(payload)
        return found


class Leader(Team):
    """The run's own process, and the others that it started."""

    def __init__(self, data: int, shards: int, order: Mapping[str, Any]) -> None:
        """order: what a follower builds its loop from; raises MeshInvalid with more processes than devices."""
        size, most = data * shards, devices()
        if data < 1 or shards < 1 or size > most:
            raise MeshInvalid(
                f"A mesh of {data} x {shards} needs {size} devices; there are {most}.",
                fields={"devices": f"There are {most}."},
            )
        whole = torch.get_num_threads()
        threads = max(1, whole // size)
        folder = tempfile.TemporaryDirectory(prefix="mesh-")
        store = Path(folder.name) / "meeting"
        followers = []
        for rank in range(1, size):
            place = {"rank": rank, "size": size, "shards": shards, "store": str(store), "threads": threads}
            child = subprocess.Popen(
                [sys.executable, "-m", "models_core.training.torch.follower"], stdin=subprocess.PIPE
            )
            assert child.stdin is not None
            child.stdin.write(json.dumps({**order, **place}).encode() + b"\n")
            child.stdin.flush()
            followers.append(child)
        # Also when the run fails: a follower ends when its input does.
        weakref.finalize(self, _end, followers, folder, whole)
        try:
            super().__init__(0, size, shards, store, threads)
        except (RuntimeError, ValueError) as error:
            raise MeshLost(f"The {size} processes did not meet within {START_S:.0f} s.") from error

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Around what needs the others: raises MeshLost when one of them is gone."""
        try:
            yield
        except RuntimeError as error:
            raise MeshLost("A process of the mesh ended before its time, of memory perhaps.") from error


def _end(followers: Sequence[subprocess.Popen[bytes]], folder: tempfile.TemporaryDirectory[str], threads: int) -> None:
    torch.set_num_threads(threads)
    if dist.is_initialized():
        dist.destroy_process_group()
    for child in followers:
        if child.stdin is not None:
            child.stdin.close()
    for child in followers:
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    folder.cleanup()


def _packed(arrays: Mapping[str, np.ndarray]) -> torch.Tensor:
    return torch.frombuffer(
        bytearray(save({name: to_tensor(array) for name, array in arrays.items()})), dtype=torch.uint8
    )


def _unpacked(payload: torch.Tensor) -> dict[str, np.ndarray]:
    return {name: to_numpy(tensor) for name, tensor in load(payload.numpy().tobytes()).items()}
