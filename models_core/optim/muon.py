"""Muon: momentum whose matrices are made nearly orthogonal; AdamW for everything that is no hidden matrix.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the "rms" scale: Liu et al.,
"Muon is scalable for LLM training", 2025 (arXiv 2502.16982). Per matrix (axes of a kernel beyond the outputs' count as
one), with f outputs and n inputs:

    m = momentum m + (1-momentum) g ;  x = (1-momentum) g + momentum m with `nesterov`, else m
    x /= ||x|| + 1e-7 ;  `iterations` times: A = x x^T, x = a x + (b A + c A^2) x       (on the shorter side)
    w -= lr ( s x + weight_decay w ) ,  s = sqrt(max(1, f/n)) "spectral", 0.2 sqrt(max(f, n)) "rms", 1 "none"

and for tensors of fewer than two axes, and those that `adam_for` names or `matrices` leaves to it, AdamW with the
learning rate `adam_scale` lr. The polynomial does not converge: singular values end near one, within [0.47, 1.21] for
those of at least 1e-3 of the norm, which is what its authors want of it.

Deviates: iterates in the statistics' precision unless `precision` says bfloat16, which the authors use.
Reduces to: AdamW, scaled, with matrices="adam".
Cost: one number a matrix's parameter, two for the others; each iteration three products of the shorter side.

>>> Options().iterations
5
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._stages import Rate, descend, flattened
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

# a, b, c of the authors: steep at zero, flat and wavy near one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# Keeps a zero matrix from 0 / 0; the authors' value.
NORM_EPS = 1e-7


class Options(OptimizerOptions, title="Muon"):
    """Momentum, orthogonalised."""

    kind: Literal["muon"] = kind_field("muon", "Momentum made nearly orthogonal; AdamW beside matrices (Muon).")
    lr: float = lr_field(0.02)
    momentum: float = decay_field(0.95, "Momentum", "Decay of the averaged gradient.")
    nesterov: bool = field(True, title="Nesterov", help="Look ahead.", section="Optimizer", advanced=True)
    iterations: int = field(
        5, title="Iterations", help="Newton-Schulz steps.", ge=1, le=20, section="Optimizer", advanced=True
    )
    precision: Literal["statistics", "bfloat16"] = field(
        "statistics",
        title="Precision of the iterations",
        help="That of the momentum, or bfloat16.",
        section="Optimizer",
        advanced=True,
    )
    scale: Literal["spectral", "rms", "none"] = field(
        "spectral", title="Scale", help="How a matrix's shape enters its step.", section="Optimizer", advanced=True
    )
    outputs: Literal["framework", "first", "last"] = field(
        "framework",
        title="Axis of the outputs",
        help="Last in JAX and first in PyTorch, unless said.",
        section="Optimizer",
        advanced=True,
    )
    matrices: Literal["muon", "adam"] = field(
        "muon",
        title="Matrices",
        help="Whose they are; a parameter group of heads and embeddings says adam.",
        section="Optimizer",
        advanced=True,
    )
    adam_for: str = field(
        "embed,head",
        title="AdamW for",
        help="Words, by commas: tensors whose name holds one are AdamW's.",
        max_length=200,
        section="Optimizer",
        advanced=True,
    )
    adam_scale: float = field(
        0.015,
        title="AdamW's learning rate",
        help="As a multiple of the learning rate.",
        gt=0,
        le=100,
        format="log",
        section="Optimizer",
    )
    beta1: float = decay_field(0.9, "Beta 1 of AdamW", "Decay of the mean gradient.")
    beta2: float = decay_field(0.95, "Beta 2 of AdamW", "Decay of the mean squared gradient.")
    eps: float = eps_field(1e-10, "Added to the root of AdamW's mean square.")
    weight_decay: float = weight_decay_field()


class MuonState(NamedTuple):
    """step: updates made. moments: for each tensor (m,) if it is Muon's, (mean, square) if it is AdamW's."""

    step: Array
    moments: Any


def is_matrix(options: Options, name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is Muon's. name: its path in the tree or its name in the module, "" if it has none."""
    words = [word for word in options.adam_for.lower().split(",") if word]
    return options.matrices == "muon" and len(shape) > 1 and not any(word in name.lower() for word in words)


def scale_of(options: Options, inputs: int, outputs: int) -> float:
    """s of the module's docstring."""
    match options.scale:
        case "spectral":
            return float(max(1.0, outputs / inputs) ** 0.5)
        case "rms":
            return float(0.2 * max(outputs, inputs) ** 0.5)
        case "none":
            return 1.0


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import jax
    import jax.numpy as jnp
    import optax

    def exact(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Any) -> MuonState:
        def moments(path: Any, leaf: Array) -> tuple[Array, ...]:
            count = 1 if is_matrix(options, jax.tree_util.keystr(path), leaf.shape) else 2
            return tuple(jnp.zeros(leaf.shape, exact(leaf)) for _ in range(count))

        return MuonState(jnp.zeros((), jnp.int32), jax.tree_util.tree_map_with_path(moments, params))

    def update(grads: Any, state: MuonState, params: Any = None) -> tuple[Any, MuonState]:
        step = optax.safe_increment(state.step)
        leaves, structure = flattened(grads)
        # Without decay the parameters are not asked for.
        weights = structure.flatten_up_to(params) if options.weight_decay > 0 else leaves
        results = [
            _advance(options, step, g, w, moments)
            for g, w, moments in zip(leaves, weights, structure.flatten_up_to(state.moments), strict=True)
        ]
        updates, moments = (structure.unflatten(part) for part in zip(*results, strict=True))
        return updates, MuonState(step, moments)

    return descend(optax.GradientTransformation(init, update), weight_decay=0.0, rate=learning_rate)


def _advance(
    options: Options, step: Array, gradient: Array, weight: Array, moments: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    """One tensor's direction, weight decay included, and its new moments."""
    import jax.numpy as jnp

    if gradient.size == 0:
        return gradient, moments
    g = gradient.astype(moments[0].dtype)
    kept: tuple[Array, ...]
    if len(moments) == 1:
        m = moments[0]
        m = options.momentum * m + (1 - options.momentum) * g
        ahead = (1 - options.momentum) * g + options.momentum * m if options.nesterov else m
        # Outputs first, one row each.
        rows = ahead.reshape(len(ahead), -1) if options.outputs == "first" else ahead.reshape(-1, ahead.shape[-1]).T
        u = orthogonalised(rows, options.iterations, options.precision) * scale_of(options, rows.shape[1], len(rows))
        u = (u if options.outputs == "first" else u.T).reshape(g.shape)
        kept, share = (m,), 1.0
    else:
        mean, square = moments
        t = step.astype(g.dtype)
        mean = options.beta1 * mean + (1 - options.beta1) * g
        square = options.beta2 * square + (1 - options.beta2) * g * g
        u = mean / (1 - options.beta1**t) / (jnp.sqrt(square / (1 - options.beta2**t)) + options.eps)
        kept, share = (mean, square), options.adam_scale
    if options.weight_decay > 0:
        u = u + options.weight_decay * weight.astype(u.dtype)
    return (share * u).astype(gradient.dtype), kept


def orthogonalised(x: Array, iterations: int, precision: str = "statistics") -> Array:
    """A matrix (f, n) with the singular vectors of `x` and singular values near one."""
    import jax.numpy as jnp

    dtype = x.dtype
    if precision == "bfloat16":
        x = x.astype(jnp.bfloat16)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (jnp.sqrt(jnp.sum(x * x)) + NORM_EPS)
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.T if tall else x).astype(dtype)
