"""A decoder in training on packed text, in JAX: what the language model recipe drives.

`training.torch.language_model.Engine` has the same methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models_core import optim
from models_core.nn import decoder, generation
from models_core.nn.configs import DecoderConfig
from models_core.nn.loss import next_token_sum
from models_core.nn.prompts import Sampling
from models_core.optim._options import OptimizerOptions
from models_core.training import loop, schedules, sharding, snapshot
from models_core.training.options import LoopOptions
from models_core.training.schedules import Decay


def build_sums(config: DecoderConfig) -> loop.SumsFn:
    """Sum of next-token losses in nats, and number of valid targets, of a batch as `data.packing.Packed` names it.

    With experts the sum holds their balance and z losses as well, for each valid target; "nll" is then the sum without
    them, and "experts/..." tell how the router did, means over layers.
    """

    def sums(params: Any, batch: Any) -> tuple[Any, Any, dict[str, Any]]:
        count = jnp.sum(batch["valid"])
        x = decoder.embed(params, config, batch["inputs"])
        run = decoder.run(params, config, x, batch["positions"], segments=batch["segments"])
        total = next_token_sum(
            run.x, params["embedding"], batch["targets"], batch["valid"], logit_soft_cap=config.logit_soft_cap
        )
        if run.routing is None:
            return total, count, {}
        routing = run.routing
        found = {
            "nll": total,
            "experts/balance": jnp.mean(routing.balance) * count,
            "experts/load_entropy": jnp.mean(routing.load_entropy()) * count,
            "experts/dropped": jnp.mean(routing.dropped) * count,
        }
        return total + routing.loss() * count, count, found

    return sums


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
        """weights: by the names of `export`, instead of fresh ones. mesh: devices, data x fsdp."""
        self._config, self._options = config, options
        self._root = jax.random.key(seed)
        params = decoder.init(jax.random.fold_in(self._root, 0), config, vocabulary)
        if weights is not None:
            params = snapshot.from_arrays(weights, params)
        schedule = schedules.warmup_then_decay(optimizer.lr, steps=steps, warmup_steps=warmup_steps, decay=decay)
        self._optimizer = optim.build(optimizer, schedule)
        self._mesh = sharding.make_mesh(*mesh)
        self.state = sharding.shard_state(loop.start(params, self._optimizer, options), self._mesh)
        self._step: loop.StepFn | None = None
        self._metrics: dict[str, Any] = {}
        self._evaluate = jax.jit(partial(_position_sums, config=config))

    def step(self, micro_batches: Mapping[str, np.ndarray]) -> None:
        """One update; leaves of the batch are (micro-batches, rows, length). Does not wait for the device."""
        batch = sharding.shard_batch({key: jnp.asarray(part) for key, part in micro_batches.items()}, self._mesh)
        if self._step is None:
            sums = build_sums(self._config)
            self._step = loop.compile_step(sums, self._optimizer, self._options, self.state, batch)
        self.state, self._metrics = self._step(self.state, batch)

    def numbers(self) -> dict[str, float]:
        """Metrics of the last step; waits for the device."""
        return {key: float(value) for key, value in self._metrics.items()}

    def check(self) -> None:
        """Raise NonFinite, see `loop.check`."""
        loop.check(self.state, self._options)

    @property
    def skipped(self) -> int:
        """Updates left out so far."""
        return int(self.state.skipped)

    def evaluate(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Sums of losses and numbers of valid targets by place in the row, of (rows, length) arrays."""
        params = self.state.params if self.state.ema is None else self.state.ema
        sums, counts = self._evaluate(params, {key: jnp.asarray(part) for key, part in batch.items()})
        return np.asarray(sums), np.asarray(counts)

    def sample(
        self, prompts: Sequence[Sequence[int]], *, max_new: int, sampling: Sampling, stop_tokens: Sequence[int] = ()
    ) -> list[list[int]]:
        """What the evaluated weights write after each prompt; see `nn.generation.generate`."""
        params = self.state.params if self.state.ema is None else self.state.ema
        key = jax.random.fold_in(self._root, 2)
        return generation.generate(
            params, self._config, prompts, max_new=max_new, sampling=sampling, stop_tokens=stop_tokens, key=key
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that a step changes, for a checkpoint."""
        return snapshot.to_arrays(self.state)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `arrays`; raises CheckpointInvalid."""
        self.state = sharding.shard_state(snapshot.from_arrays(arrays, self.state), self._mesh)

    def export(self) -> dict[str, np.ndarray]:
        """The evaluated weights by their names in `nn.decoder`."""
        return snapshot.to_arrays(self.state.params if self.state.ema is None else self.state.ema)


def _losses(params: Any, config: DecoderConfig, batch: Any) -> Any:
    logits = decoder.apply(params, config, batch["inputs"], batch["positions"], segments=batch["segments"])
    log_q = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_q, batch["targets"][..., None], axis=-1)[..., 0] * batch["valid"]


def _position_sums(params: Any, batch: Any, config: DecoderConfig) -> tuple[Any, Any]:
    return jnp.sum(_losses(params, config, batch), axis=0), jnp.sum(batch["valid"], axis=0)
