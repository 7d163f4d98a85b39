"""Plain models in JAX; `models_core.benches.plain.torch` has the same methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models_core import optim
from models_core.distill import losses, sparse
from models_core.nn import image_models
from models_core.training import schedules, snapshot
from models_core.training.phases import Keeping
from models_core.training.step import compile_step, start

Update = Callable[[Any, Mapping[str, Any]], tuple[Any, Mapping[str, Any]]]


class Bench:
    """seed: of the run."""

    keeping = Keeping()
    xp: Any = jnp
    losses, sparse = losses, sparse

    def __init__(self, seed: int) -> None:
        self._root = jax.random.key(seed)

    def image_model(self, options: Any, stream: int, shape: tuple[int, int, int], classes: int) -> tuple[Any, Any]:
        """Fresh parameters, and `apply(params, images)`: see `nn.image_models.build`. stream: of random numbers."""
        return image_models.build(options, jax.random.fold_in(self._root, stream), shape, classes)

    def table(self, tree: Mapping[str, Any]) -> Any:
        """A model that is a few named arrays; its parts are taken by these names."""
        return {name: jnp.asarray(array) for name, array in tree.items()}

    def log_softmax(self, x: Any) -> Any:
        """Over the last axis."""
        return jax.nn.log_softmax(x)

    def source(self, index: Any) -> Any:
        """Random numbers that are a function of the run's seed and of `index`, for `sparse.draw`."""
        return jax.random.fold_in(self._root, index)

    def training(
        self,
        loss: Callable[..., tuple[Any, dict[str, Any]]],
        params: Any,
        optimizer: Any,
        *,
        steps: int,
        warmup_steps: int,
        example: Mapping[str, Any],
        given: Any = None,
    ) -> tuple[Any, Update]:
        """A state, and `update(state, batch)`: one step by the gradient of `loss(params, batch, given)`.

        loss: a scalar and further ones to report. example: a batch, arrays by name. given: what is not trained. The
        learning rate rises over the warm-up and falls to 0 as a cosine.
        """
        schedule = schedules.warmup_then_decay(optimizer.lr, steps=steps, warmup_steps=warmup_steps, decay="cosine")
        transformation = optim.build(optimizer, schedule)
        state = start(params, transformation)
        step = compile_step(loss, transformation, state, example, given)
        return state, lambda state, batch: step(state, batch, given)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function without gradients."""
        return jax.jit(function)

    def to_numpy(self, array: Any) -> np.ndarray:
        """On the host."""
        return np.asarray(array)

    def to_device(self, array: np.ndarray) -> Any:
        """As the framework's own."""
        return jnp.asarray(array)

    def frozen(self, model: Any) -> Any:
        """A model that only judges from now on."""
        return model

    def count(self, model: Any) -> int:
        """Its parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(model))

    def arrays(self, model: Any, prefix: str) -> dict[str, np.ndarray]:
        """A model for a checkpoint; none: nothing."""
        return snapshot.to_arrays(model, prefix)

    def restored(self, arrays: Mapping[str, np.ndarray], state: Any, prefix: str) -> Any:
        """The inverse; state: of the phase that trains such a model. Raises CheckpointInvalid."""
        return snapshot.from_arrays(arrays, state.params, prefix)

    def exported(self, model: Any) -> bytes:
        """The weights as one safetensors file."""
        return snapshot.to_safetensors(model)
