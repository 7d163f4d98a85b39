"""`training.spectra` in PyTorch: the same factors, sketches and noise."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from models_core.nn.torch.arrays import fill, to_numpy, to_tensor
from models_core.optim._frequent_directions import Sketch
from models_core.optim.torch._frequent_directions import absorb, empty
from models_core.training.spectra import Factor, Place, Watch


class Observer:
    """Looks at gradients; state: `training.spectra.Observed`, changed in place."""

    def __init__(self, watch: Watch, device: torch.device) -> None:
        self._watch, self._draw = watch, jax.jit(watch.noise)
        self._seen = 0
        like = torch.zeros((), device=device)
        self._factors = [like.new_zeros(place.size, place.size) for place in watch.places]
        self._controls = [torch.zeros_like(factor) for factor in self._factors]
        self._sketches = [empty(place.size, watch.rank, like) for place in watch.places]

    @torch.no_grad()
    def take(self, grads: Mapping[str, Tensor]) -> None:
        """One more gradient, by the names and in the layouts that JAX has."""
        # As JAX draws it, so that the control is the same one.
        drawn = self._draw(jnp.asarray(self._seen, jnp.int32))
        noise = {leaf: to_tensor(array).to(self._factors[0].device) for leaf, array in drawn.items()}
        beta2 = self._watch.beta2
        for index, place in enumerate(self._watch.places):
            g, z = _unfolded(grads[place.name].float(), place), _unfolded(noise[place.leaf], place)
            self._factors[index].mul_(beta2).add_(g @ g.T)
            self._controls[index].mul_(beta2).add_(z @ z.T)
            self._sketches[index] = absorb(self._sketches[index], g, beta2)
        self._seen += 1

    def factors(self) -> list[Factor]:
        """One for each place, as JAX's."""
        return [
            Factor(_array(factor), _array(control), Sketch(*map(_array, sketch)))
            for factor, control, sketch in zip(self._factors, self._controls, self._sketches, strict=True)
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        return {"seen": np.array(self._seen), **{name: to_numpy(x) for name, x in self._tensors().items()}}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse; raises CheckpointInvalid that names what is missing, surplus or of another shape."""
        seen = torch.zeros((), dtype=torch.int64)
        fill({"seen": seen, **self._tensors()}, arrays)
        self._seen = int(seen)

    def _tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for index, (factor, control, sketch) in enumerate(
            zip(self._factors, self._controls, self._sketches, strict=True)
        ):
            parts = {"factor": factor, "control": control, **sketch._asdict()}
            found |= {f"{index}.{name}": part for name, part in parts.items()}
        return found


def _unfolded(tensor: Tensor, place: Place) -> Tensor:
    return tensor.reshape(place.shape).movedim(place.axis, 0).reshape(place.size, -1)


def _array(tensor: Tensor) -> jax.Array:
    return jnp.asarray(to_numpy(tensor))
