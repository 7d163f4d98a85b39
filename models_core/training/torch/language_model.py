"""A decoder in training on packed text, in PyTorch: the methods of `training.language_model.Engine`.

On a mesh this process leads the others (`training.torch.team`): it alone evaluates, samples and saves.
Deviates: with experts, their balance is that of each process's rows, as it is that of each micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from models_core.errors import CheckpointInvalid, MeshInvalid
from models_core.nn.configs import DecoderConfig
from models_core.nn.prompts import Sampling
from models_core.nn.torch import generation
from models_core.nn.torch.arrays import to_tensor
from models_core.nn.torch.decoder import Decoder
from models_core.nn.torch.loss import next_token_sum
from models_core.optim._options import OptimizerOptions
from models_core.training.options import LoopOptions
from models_core.training.precision import Precision
from models_core.training.torch import loop
from models_core.training.torch.schedules import Decay, warmup_then_decay
from models_core.training.torch.team import Leader, Team, Word


def sums(model: torch.nn.Module, batch: loop.Batch) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """As `training.language_model.build_sums`."""
    assert isinstance(model, Decoder)
    count = batch["valid"].sum()
    x, routing = model.routed_trunk(batch["inputs"], batch["positions"], None, batch["segments"])
    cap = model.config.logit_soft_cap
    total = next_token_sum(x, model.embedding, batch["targets"], batch["valid"], logit_soft_cap=cap)
    if routing is None:
        return total, count, {}
    found = {
        "nll": total,
        "experts/balance": routing.balance.mean() * count,
        "experts/load_entropy": routing.load_entropy().mean() * count,
        "experts/dropped": routing.dropped.mean() * count,
    }
    return total + routing.loss() * count, count, found


class Engine:
    """Model, optimizer and step."""

    def __init__(
        self,
        config: DecoderConfig,
        vocabulary: int,
        *,
        seed: int,
        optimizer: OptimizerOptions,
        steps: int,
        warmup_steps: int,
        decay: Decay,
        options: LoopOptions,
        weights: Mapping[str, np.ndarray] | None = None,
        mesh: tuple[int, int] = (1, 1),
    ) -> None:
        """weights: by the names of `export`, instead of fresh ones. mesh: processes, data x shards of the optimizer."""
        self._seed = seed
        order = {
            "config": {name: getattr(config, name) for name in DecoderConfig.model_fields},
            "vocabulary": vocabulary,
            "seed": seed,
            "optimizer": optimizer.model_dump(mode="json"),
            "schedule": {"steps": steps, "warmup_steps": warmup_steps, "decay": decay},
            "options": asdict(options),
        }
        self._team = None if mesh == (1, 1) else Leader(*mesh, order)
        self._device = self._team.device if self._team else "cuda" if torch.cuda.is_available() else "cpu"
        self._loop = build_loop(order, optimizer, self._device, self._team, average=True)
        if weights is not None:
            model = self._loop.model
            assert isinstance(model, Decoder)
            model.load_tree(_nested(weights, model))
            self._loop.restart_average()
        self._metrics: dict[str, float] = {}
        self._tell_state(self._loop.arrays())

    def step(self, micro_batches: Mapping[str, np.ndarray]) -> None:
        """One update; leaves of the batch are (micro-batches, rows, length)."""
        if self._team is None:
            self._metrics = self._loop.step(placed(micro_batches, self._device))
            return
        rows = micro_batches["inputs"].shape[1]
        if rows % self._team.size:
            raise MeshInvalid(
                f"A micro-batch of {rows} rows does not divide over {self._team.size} devices.",
                fields={"batch_size": f"Must be a multiple of {self._team.size} in each micro-batch."},
            )
        with self._team.watched():
            self._team.say(Word.STEP, micro_batches)
            self._metrics = self._loop.step(placed(micro_batches, self._device, self._team))

    def _tell_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        if self._team is not None:
            # The others average nothing.
            with self._team.watched():
                kept = {name: array for name, array in arrays.items() if not name.startswith("ema.")}
                self._team.say(Word.RESTORE, kept)

    def numbers(self) -> dict[str, float]:
        """Metrics of the last step."""
        return dict(self._metrics)

    def check(self) -> None:
        """Raise NonFinite, see `training.loop.check`."""
        self._loop.check()

    @property
    def skipped(self) -> int:
        """Updates left out so far."""
        return self._loop.skipped

    @torch.no_grad()
    def evaluate(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Sums of losses and numbers of valid targets by place in the row, of (rows, length) arrays."""
        with self._averaged():
            one = {key: torch.from_numpy(np.ascontiguousarray(part)).to(self._device) for key, part in batch.items()}
            losses = _losses(self._loop.model, one).sum(dim=0)
            return losses.cpu().numpy(), one["valid"].sum(dim=0).cpu().numpy()

    def sample(
        self, prompts: Sequence[Sequence[int]], *, max_new: int, sampling: Sampling, stop_tokens: Sequence[int] = ()
    ) -> list[list[int]]:
        """What the evaluated weights write after each prompt; see `nn.torch.generation.generate`."""
        model = self._loop.model
        assert isinstance(model, Decoder)
        generator = torch.Generator(self._device).manual_seed(self._seed + 1)
        with self._averaged():
            return generation.generate(
                model, prompts, max_new=max_new, sampling=sampling, stop_tokens=stop_tokens, generator=generator
            )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that a step changes, for a checkpoint."""
        if self._team is None:
            return self._loop.arrays()
        with self._team.watched():
            self._team.say(Word.GATHER)
            return self._loop.arrays() | self._team.collect()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `arrays`; raises CheckpointInvalid."""
        self._loop.restore(arrays)
        self._tell_state(arrays)

    def export(self) -> dict[str, np.ndarray]:
        """The evaluated weights by their names in `nn.decoder`."""
        model = self._loop.model
        assert isinstance(model, Decoder)
        with self._averaged():
            return _flat(model.tree())

    def _averaged(self) -> loop.Averaged:
        return loop.Averaged(self._loop)


def build_loop(
    order: Mapping[str, Any], optimizer: OptimizerOptions, device: str, team: Team | None, *, average: bool = False
) -> loop.Loop:
    """The loop that an order describes (`Engine` writes it), with fresh weights; without `average` none is kept."""
    config = DecoderConfig.parse(order["config"])
    given = dict(order["options"])
    options = LoopOptions(**given | {"precision": Precision(**given["precision"])})
    if not average:
        options = replace(options, ema_decay=None)
    generator = torch.Generator().manual_seed(order["seed"])
    model = Decoder(config, order["vocabulary"], generator=generator).to(device)
    schedule = warmup_then_decay(optimizer.lr, **order["schedule"])
    return loop.Loop(model, optimizer, schedule, options, sums, team)


def placed(arrays: Mapping[str, np.ndarray], device: str, team: Team | None = None) -> list[dict[str, torch.Tensor]]:
    """The micro-batches of (micro-batches, rows, length) arrays, of a team's member its rows of each."""
    own = arrays if team is None else {key: team.rows(part) for key, part in arrays.items()}
    count = len(arrays["inputs"])
    return [
        {key: torch.from_numpy(np.ascontiguousarray(part[index])).to(device) for key, part in own.items()}
        for index in range(count)
    ]


def _losses(model: torch.nn.Module, batch: loop.Batch) -> torch.Tensor:
    logits = model(batch["inputs"], batch["positions"], None, batch["segments"]).float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["targets"].long().flatten(), reduction="none"
    )
    return losses.view(batch["targets"].shape) * batch["valid"]


def _flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(tree, np.ndarray):
        return {prefix.removesuffix("."): tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {name: leaf for key, part in items for name, leaf in _flat(part, f"{prefix}{key}.").items()}


def _nested(weights: Mapping[str, np.ndarray], model: Decoder) -> dict[str, Any]:
    """The tree of `weights`; raises CheckpointInvalid unless it has the names and shapes of `model`."""
    expected = _flat(model.tree())
    for name in sorted(set(weights) ^ set(expected)):
        raise CheckpointInvalid(f"The array {name} is {'not expected' if name in weights else 'missing'} here.")
    for name, leaf in expected.items():
        if weights[name].shape != leaf.shape:
            raise CheckpointInvalid(f"The array {name} is {list(weights[name].shape)}, expected {list(leaf.shape)}.")
    tree: dict[str, Any] = {"layers": [{} for _ in model.layers]}
    for name, leaf in weights.items():
        *path, last = name.split(".")
        here: Any = tree
        for part in path:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        here[last] = to_tensor(leaf).float().numpy()
    return tree
