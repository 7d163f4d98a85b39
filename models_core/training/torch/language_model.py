"""A decoder in training on packed text, in PyTorch: the methods of `training.language_model.Engine`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from models_core.errors import CheckpointInvalid, SpecInvalid
from models_core.nn.configs import DecoderConfig
from models_core.nn.prompts import Sampling
from models_core.nn.torch import generation
from models_core.nn.torch.arrays import to_tensor
from models_core.nn.torch.decoder import Decoder
from models_core.nn.torch.loss import next_token_sum
from models_core.optim._options import OptimizerOptions
from models_core.training.options import LoopOptions
from models_core.training.torch import loop
from models_core.training.torch.schedules import Decay, warmup_then_decay


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
        """weights: by the names of `export`, instead of fresh ones. mesh: only (1, 1)."""
        if mesh != (1, 1):
            raise SpecInvalid("Several devices are used with JAX only.", fields={"devices": "With PyTorch: 1."})
        self._seed = seed
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        generator = torch.Generator().manual_seed(seed)
        model = Decoder(config, vocabulary, generator=generator)
        if weights is not None:
            model.load_tree(_nested(weights, model))
        schedule = warmup_then_decay(optimizer.lr, steps=steps, warmup_steps=warmup_steps, decay=decay)
        self._loop = loop.Loop(model.to(self._device), optimizer, schedule, options, sums)
        self._metrics: dict[str, float] = {}

    def step(self, micro_batches: Mapping[str, np.ndarray]) -> None:
        """One update; leaves of the batch are (micro-batches, rows, length)."""
        count = len(micro_batches["inputs"])
        parts = [self._batch({key: part[index] for key, part in micro_batches.items()}) for index in range(count)]
        self._metrics = self._loop.step(parts)

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
            placed = self._batch(batch)
            losses = _losses(self._loop.model, placed).sum(dim=0)
            return losses.cpu().numpy(), placed["valid"].sum(dim=0).cpu().numpy()

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
        return self._loop.arrays()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `arrays`; raises CheckpointInvalid."""
        self._loop.restore(arrays)

    def export(self) -> dict[str, np.ndarray]:
        """The evaluated weights by their names in `nn.decoder`."""
        model = self._loop.model
        assert isinstance(model, Decoder)
        with self._averaged():
            return _flat(model.tree())

    def _batch(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(np.ascontiguousarray(part)).to(self._device) for key, part in arrays.items()}

    def _averaged(self) -> loop.Averaged:
        return loop.Averaged(self._loop)


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
