"""Two federations that teach each other: a small model on all clients, a large one on some, and images without labels.

Source: the abstract of "Towards federated learning with on-device codistillation" and its title's two variants (arXiv
2310.02549, 2023), periodic and merged codistillation. Deviates: reconstructions; the paper's algorithm boxes were not
available. Never set their numbers beside published ones.

    KD(s, u; x) = T^2 KL( softmax(f_u(x)/T) || softmax(f_s(x)/T) ) ,  u fixed

    PCD   every round:      both servers take their usual step
          every P rounds:   u_S, u_L = frozen copies ;  B steps  w_S -= lr grad KD(w_S, u_L) ,  w_L -= lr grad KD(w_L,
          u_S)
    MCD   every round:      Q_S = (w_S after B such steps against w_L) - w_S , both from the round's start
                            w_S = ServerOpt(w_S, D_S + gamma Q_S) ,  the same for w_L

PCD leaves the servers' optimizer states as they are. In both, the frozen teachers make the order of the two irrelevant.
Reduces to: two independent federations at period 0 (never), gamma 0, or with no direction switched on.
Cost: 2 B forward and backward passes on the server's images for each distillation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from models_core.federated.simulation import engine
from models_core.federated.simulation.client import ClientData, Task
from models_core.federated.simulation.rule import norm

Params = Any


@dataclass(frozen=True, slots=True)
class Exchange:
    """variant: periodic or merged. period: rounds between distillations, 0 for never. warmup: rounds before the first.
    steps, lr, batch_size, temperature: of a distillation. gamma: of the merged change; normalised: whether that change
    is first scaled to the norm of the clients' change. to_small, to_large: which directions are taken.
    """

    variant: Literal["periodic", "merged"]
    period: int
    warmup: int
    steps: int
    lr: float
    batch_size: int
    temperature: float
    gamma: float = 1.0
    normalised: bool = True
    to_small: bool = True
    to_large: bool = True


class Pair(NamedTuple):
    """The states of both federations, and the raw key of the server's batches."""

    small: engine.ServerState
    large: engine.ServerState
    key: UInt32[Array, " 2"]


def distil(
    exchange: Exchange,
    student: tuple[Task, Params],
    teacher: tuple[Task, Params],
    images: Float[Array, " images *features"],
    key: Key[Array, ""],
) -> Params:
    """The student after `steps` of SGD towards the teacher's answers on random batches of the images."""
    student_task, params = student
    teacher_task, fixed = teacher

    def step(number: Array, params: Params) -> Params:
        rows = jax.random.randint(jax.random.fold_in(key, number), (exchange.batch_size,), 0, images.shape[0])
        x = images[rows]
        answers = teacher_task.logits(fixed, x)
        nobody = jnp.zeros(x.shape[0], jnp.int32)

        def loss(params: Params) -> Array:
            divergence = student_task.divergences(answers, student_task.logits(params, x), nobody, exchange.temperature)
            return jnp.mean(divergence)

        return jax.tree.map(lambda p, g: p - exchange.lr * g, params, jax.grad(loss)(params))

    distilled: Params = jax.lax.fori_loop(0, exchange.steps, step, params)
    return distilled


def build_advance(
    exchange: Exchange, small: engine.Plan, large: engine.Plan
) -> Callable[..., tuple[Pair, dict[str, Array]]]:
    """`advance(pair, small data, large data, images, small reports, large reports) -> pair, numbers`, a scan of rounds.

    Numbers have the prefixes "small/" and "large/"; "distil_norm" is the length of the way that distillation went.
    """
    small_step, large_step = engine.build_step(small), engine.build_step(large)

    def exchanged(pair: Pair, images: Array) -> tuple[Params, Params]:
        """Where both models are led, from frozen copies; the very parameters of a model that learns nothing."""
        weights = engine.current(pair.small), engine.current(pair.large)
        key = jax.random.fold_in(jax.random.wrap_key_data(pair.key), pair.small.step)
        led_small, led_large = weights
        if exchange.to_small:
            led_small = distil(exchange, (small.task, weights[0]), (large.task, weights[1]), images, key)
        if exchange.to_large:
            led_large = distil(exchange, (large.task, weights[1]), (small.task, weights[0]), images, key)
        return led_small, led_large

    def periodic(pair: Pair, images: Array) -> tuple[Pair, Array, Array]:
        led_small, led_large = exchanged(pair, images)
        norms = [
            norm(jax.tree.map(jnp.subtract, led, engine.current(state)))
            for led, state in ((led_small, pair.small), (led_large, pair.large))
        ]
        after = Pair(engine.replaced(pair.small, led_small), engine.replaced(pair.large, led_large), pair.key)
        return after, norms[0], norms[1]

    def round_of(
        pair: Pair, small_data: ClientData, large_data: ClientData, images: Array, rows: Any
    ) -> tuple[Pair, dict[str, Array]]:
        zero = jnp.zeros(())
        merges = exchange.variant == "merged" and exchange.gamma != 0
        extras: tuple[Params, Params] = (None, None)
        lengths = (zero, zero)
        if merges:
            begun = pair.small.step >= exchange.warmup
            led = exchanged(pair, images)
            way = [
                jax.tree.map(lambda a, b: jnp.where(begun, a - b, jnp.zeros_like(b)), to, engine.current(state))
                for to, state in zip(led, (pair.small, pair.large), strict=True)
            ]
            lengths = norm(way[0]), norm(way[1])
            extras = way[0], way[1]
        scale = {"factor": exchange.gamma, "to_length": exchange.normalised}
        small_state, small_numbers = small_step(pair.small, small_data, rows[0], extras[0], **scale)
        large_state, large_numbers = large_step(pair.large, large_data, rows[1], extras[1], **scale)
        after = Pair(small_state, large_state, pair.key)
        if exchange.variant == "periodic" and exchange.period > 0:
            count = small_state.step
            due = (count % exchange.period == 0) & (count > exchange.warmup)
            after, *found = jax.lax.cond(
                due, lambda pair: periodic(pair, images), lambda pair: (pair, zero, zero), after
            )
            lengths = found[0], found[1]
        numbers = {f"small/{name}": value for name, value in small_numbers.items()}
        numbers |= {f"large/{name}": value for name, value in large_numbers.items()}
        return after, numbers | {"small/distil_norm": lengths[0], "large/distil_norm": lengths[1]}

    def advance(
        pair: Pair,
        small_data: ClientData,
        large_data: ClientData,
        images: Array,
        small_reports: engine.Reports,
        large_reports: engine.Reports,
    ) -> tuple[Pair, dict[str, Array]]:
        def step(pair: Pair, rows: tuple[engine.Reports, engine.Reports]) -> tuple[Pair, dict[str, Array]]:
            shapes = jax.eval_shape(lambda p: round_of(p, small_data, large_data, images, rows)[1], pair)
            done: tuple[Pair, dict[str, Array]] = jax.lax.cond(
                rows[0].active,
                lambda pair: round_of(pair, small_data, large_data, images, rows),
                lambda pair: (pair, jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)),
                pair,
            )
            return done

        return jax.lax.scan(step, pair, (small_reports, large_reports))

    return advance


def compile_advance(exchange: Exchange, small: engine.Plan, large: engine.Plan, *, example: tuple[Any, ...]) -> Any:
    """`build_advance`, compiled; the old states' buffers are given away."""
    advance = build_advance(exchange, small, large)
    return partial(jax.jit, donate_argnums=0)(advance).lower(*example).compile()
