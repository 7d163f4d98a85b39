"""What the server does with the averaged change D = mean(delta): the adaptive federated optimizers.

Source: Reddi et al., "Adaptive federated optimization", ICLR 2021, algorithm 2; server momentum: Hsu et al., 2019.
D points downhill, so that steps are added.

    average    w += lr D
    momentum   m = b m + D ;  w += lr m
    adam       m = b1 m + (1-b1) D ;  v = b2 v + (1-b2) D^2              ;  w += lr m / (sqrt(v) + eps)
    yogi       m as adam           ;  v = v - (1-b2) D^2 sign(v - D^2)   ;  same step
    adagrad    m as adam           ;  v = v + D^2                        ;  same step

Deviates: v starts at 0, and bias correction (optax and Keras have it, the paper's algorithm 2 has not) is an option.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from models_core.spec import Spec, field


def beta1_field(default: float) -> Any:
    """Decay of the mean change."""
    return field(default, title="Beta 1", help="Decay of the mean change.", ge=0, lt=1, section="Algorithm")


def beta2_field(default: float) -> Any:
    """Decay of the mean squared change."""
    return field(default, title="Beta 2", help="Decay of the mean squared change.", ge=0, lt=1, section="Algorithm")


def eps_field(default: float) -> Any:
    """Degree of adaptivity."""
    return field(
        default,
        title="Epsilon",
        help="Added to the root: large means less adaptive.",
        gt=0,
        le=1e6,
        format="log",
        section="Algorithm",
    )


def bias_field() -> Any:
    """Whether moments are corrected."""
    return field(
        False,
        title="Bias correction",
        help="Of the moments; the published algorithm has none.",
        section="Algorithm",
        advanced=True,
    )


def momentum_field(default: float) -> Any:
    """Decay of the velocity."""
    return field(default, title="Momentum", help="Decay of the summed changes.", ge=0, lt=1, section="Algorithm")


class Average(Spec, title="Server average"):
    """The averaged change itself."""

    kind: Literal["average"] = field("average", title="Server optimizer", help="The change.", section="Algorithm")


class Momentum(Spec, title="Server momentum"):
    """FedAvgM's rule."""

    kind: Literal["momentum"] = field("momentum", title="Server optimizer", help="FedAvgM's.", section="Algorithm")
    momentum: float = momentum_field(0.9)


class Adam(Spec, title="Server Adam"):
    """FedAdam's rule."""

    kind: Literal["adam"] = field("adam", title="Server optimizer", help="FedAdam's.", section="Algorithm")
    beta1: float = beta1_field(0.9)
    beta2: float = beta2_field(0.99)
    eps: float = eps_field(1e-3)
    bias_correction: bool = bias_field()


class Yogi(Spec, title="Server Yogi"):
    """FedYogi's rule."""

    kind: Literal["yogi"] = field("yogi", title="Server optimizer", help="FedYogi's.", section="Algorithm")
    beta1: float = beta1_field(0.9)
    beta2: float = beta2_field(0.99)
    eps: float = eps_field(1e-3)


class Adagrad(Spec, title="Server Adagrad"):
    """FedAdagrad's rule."""

    kind: Literal["adagrad"] = field("adagrad", title="Server optimizer", help="FedAdagrad's.", section="Algorithm")
    beta1: float = beta1_field(0.0)
    eps: float = eps_field(1e-3)


ServerOptions = Average | Momentum | Adam | Yogi | Adagrad
AnyServer = Annotated[ServerOptions, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class ServerOptimizer:
    """init(params) -> state; apply(params, state, change) -> params, state."""

    init: Callable[[Any], Any]
    apply: Callable[[Any, Any, Any], tuple[Any, Any]]


def build(options: ServerOptions, lr: float) -> ServerOptimizer:
    """The rule of `options` with step size `lr` > 0."""
    match options:
        case Average():
            return _average(lr)
        case Momentum(momentum=decay):
            return _momentum(lr, decay)
        case Adam(beta1=b1, beta2=b2, eps=eps, bias_correction=correct):
            return _adaptive(lr, b1, eps, lambda v, d: b2 * v + (1 - b2) * d * d, b2 if correct else None)
        case Yogi(beta1=b1, beta2=b2, eps=eps):
            return _adaptive(lr, b1, eps, lambda v, d: _yogi(v, d, b2), None)
        case Adagrad(beta1=b1, eps=eps):
            return _adaptive(lr, b1, eps, lambda v, d: v + d * d, None)


def _average(lr: float) -> ServerOptimizer:
    import jax

    def apply(params: Any, state: Any, change: Any) -> tuple[Any, Any]:
        return jax.tree.map(lambda w, d: w + lr * d, params, change), state

    return ServerOptimizer(lambda params: (), apply)


def _momentum(lr: float, decay: float) -> ServerOptimizer:
    import jax
    import jax.numpy as jnp

    def apply(params: Any, velocity: Any, change: Any) -> tuple[Any, Any]:
        velocity = jax.tree.map(lambda m, d: decay * m + d, velocity, change)
        return jax.tree.map(lambda w, m: w + lr * m, params, velocity), velocity

    return ServerOptimizer(lambda params: jax.tree.map(jnp.zeros_like, params), apply)


def _yogi(v: Any, d: Any, b2: float) -> Any:
    import jax.numpy as jnp

    return v - (1 - b2) * d * d * jnp.sign(v - d * d)


def _adaptive(
    lr: float, b1: float, eps: float, second: Callable[[Any, Any], Any], corrected_b2: float | None
) -> ServerOptimizer:
    import jax
    import jax.numpy as jnp

    def init(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return {"m": zeros, "v": zeros, "count": jnp.zeros((), jnp.int32)}

    def apply(params: Any, state: Any, change: Any) -> tuple[Any, Any]:
        count = state["count"] + 1
        m = jax.tree.map(lambda m, d: b1 * m + (1 - b1) * d, state["m"], change)
        v = jax.tree.map(second, state["v"], change)
        power = count.astype(jnp.float32)
        m_scale = 1 / (1 - b1**power) if corrected_b2 is not None else jnp.ones(())
        v_scale = 1 / (1 - corrected_b2**power) if corrected_b2 is not None else jnp.ones(())
        moved = jax.tree.map(lambda w, m, v: w + lr * (m * m_scale) / (jnp.sqrt(v * v_scale) + eps), params, m, v)
        return moved, {"m": m, "v": v, "count": count}

    return ServerOptimizer(init, apply)
