"""The Kronecker factors of gradients during training: their spectra, their sketches, and what noise would look like.

Source: Feinberg et al. (Sketchy), NeurIPS 2023 (arXiv 2302.03764), the section on spectral decay: the factor of axis n
of a tensor is the discounted sum of G_(n) G_(n)^T, with G_(n) the gradient unfolded along the axis,

    C = beta2 C + G_(n) G_(n)^T ;  share = sum of the largest quarter of its eigenvalues / trace(C)
    intrinsic dimension = trace(C) / largest eigenvalue ;  overlap = |U_before^T U_now|_F^2 / k , U the top k directions

An average over few gradients looks concentrated whatever they are. The control is the same sum over independent normal
gradients of the same shape, in the same steps: what lies above it is the data's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from models_core.optim._frequent_directions import Sketch, absorb, empty

# Smaller axes have no quarter of eigenvalues worth the name.
SMALLEST_AXIS = 8


class Factor(NamedTuple):
    """One axis of one tensor. factor, control: (d, d). sketch: of the factor, by frequent directions."""

    factor: Float[Array, "d d"]
    control: Float[Array, "d d"]
    sketch: Sketch


class Observed(NamedTuple):
    """seen: gradients so far. factors: by tensor and axis, the order of `places`."""

    seen: Int[Array, ""]
    factors: tuple[Factor, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """leaf: number of the tensor in the tree. axis: of its shape without unit axes. size: of the axis."""

    leaf: int
    name: str
    shape: tuple[int, ...]
    axis: int
    size: int


def places(params: Any, *, largest_axis: int) -> tuple[Place, ...]:
    """The axes worth watching: of tensors with two axes or more, from SMALLEST_AXIS to `largest_axis` long."""
    found = []
    for leaf, (path, array) in enumerate(jax.tree_util.tree_flatten_with_path(params)[0]):
        shape = tuple(size for size in array.shape if size != 1)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if len(shape) >= 2:
            found += [
                Place(leaf, name, shape, axis, size)
                for axis, size in enumerate(shape)
                if SMALLEST_AXIS <= size <= largest_axis
            ]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched, and how. beta2: decay of the sums. rank: of the sketches. key: of the control's noise."""

    places: tuple[Place, ...]
    beta2: float
    rank: int
    key: Key[Array, ""]

    def noise(self, seen: Int[Array, ""]) -> dict[int, Float[Array, ...]]:
        """Independent normal gradients for the control, by the number of their tensor: one for all axes of it.

        seen: gradients before.
        """
        key = jax.random.fold_in(self.key, seen)
        return {
            place.leaf: jax.random.normal(jax.random.fold_in(key, place.leaf), place.shape) for place in self.places
        }


def observe(watch: Watch) -> optax.GradientTransformation:
    """Passes gradients on unchanged and keeps `Observed`."""
    watched, beta2, rank = watch.places, watch.beta2, watch.rank

    def init(params: Any) -> Observed:
        def fresh(place: Place) -> Factor:
            # Two arrays, not one: the state's buffers are given away.
            return Factor(
                jnp.zeros((place.size, place.size)),
                jnp.zeros((place.size, place.size)),
                empty(place.size, rank, jnp.float32),
            )

        return Observed(jnp.zeros((), jnp.int32), tuple(fresh(place) for place in watched))

    def update(grads: Any, state: Observed, params: Any = None) -> tuple[Any, Observed]:
        leaves = jax.tree.leaves(grads)
        noise = watch.noise(state.seen)

        def following(place: Place, old: Factor) -> Factor:
            g = _unfolded(leaves[place.leaf].astype(jnp.float32), place)
            z = _unfolded(noise[place.leaf], place)
            return Factor(beta2 * old.factor + g @ g.T, beta2 * old.control + z @ z.T, absorb(old.sketch, g, beta2))

        factors = tuple(following(place, old) for place, old in zip(watched, state.factors, strict=True))
        return grads, Observed(state.seen + 1, factors)

    return optax.GradientTransformation(init, update)


def _unfolded(tensor: Array, place: Place) -> Array:
    front = jnp.moveaxis(tensor.reshape(place.shape), place.axis, 0)
    return front.reshape(place.size, -1)


@dataclass(frozen=True, slots=True)
class Measure:
    """What one factor looks like. All but the intrinsic dimension are shares in [0, 1].

    top_share: of the trace in the largest quarter of eigenvalues; control_share: the same of the control. captured: of
    the trace in the sketch; capturable: in as many leading directions; escaped: the sketch's escaped mass over the
    trace. overlap: of the leading quarter of directions with that of the measurement before, None at the first.
    """

    step: int
    factor: str
    size: int
    top_share: float
    control_share: float
    intrinsic_dimension: float
    control_dimension: float
    captured: float
    capturable: float
    escaped: float
    overlap: float | None

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        return asdict(self)


def measure(
    step: int, place: Place, factor: Factor, before: np.ndarray | None
) -> tuple[Measure, np.ndarray, np.ndarray]:
    """The measure, all eigenvalues over the trace (largest first), and the leading quarter of directions (d, k).

    before: those directions at the measurement before, or None. A factor of no gradient but zero has shares of 0.
    """
    size, rank = place.size, factor.sketch.roots.size
    top = -(-size // 4)
    values, vectors = _spectrum(factor.factor)
    control, _ = _spectrum(factor.control)
    trace = float(values.sum()) or 1.0
    roots = np.asarray(factor.sketch.roots, np.float64)
    leading = vectors[:, :top]
    found = Measure(
        step=step,
        factor=f"{place.name}/{place.axis}",
        size=size,
        top_share=float(values[:top].sum()) / trace,
        control_share=float(control[:top].sum() / control.sum()),
        intrinsic_dimension=trace / (float(values[0]) or 1.0),
        control_dimension=float(control.sum() / control[0]),
        captured=float((roots**2).sum()) / trace,
        capturable=float(values[:rank].sum()) / trace,
        escaped=float(factor.sketch.escaped) / trace,
        overlap=None if before is None else float(np.sum((before.T.astype(np.float64) @ leading) ** 2)) / top,
    )
    return found, values / trace, leading.astype(np.float32)


def _spectrum(matrix: Array) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, none below 0, largest first, and their vectors as columns; in float64."""
    values, vectors = np.linalg.eigh(np.asarray(matrix, np.float64))
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]
