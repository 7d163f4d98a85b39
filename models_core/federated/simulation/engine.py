"""Carries out a schedule: one compiled scan over server steps, inside it a scan over the reports of a step.

Past models lie in a ring buffer, so that a report starts from the model it was sent. Clients of unequal size are padded
and masked; a client makes as many steps as its own examples need, padding costs memory only. A scan, not vmap: on a CPU
vmap turns matrix products with a client's own weights into many small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from models_core.federated.simulation.schedule import Schedule

Params = Any
# (params, x, y) -> loss of every example.
LossFn = Callable[[Params, Array, Array], Array]


class ClientData(NamedTuple):
    """Every client's examples, padded to the same multiple of the batch size; size: how many are real."""

    x: Float[Array, "clients padded *features"]
    y: Int[Array, "clients padded"]
    size: Int[Array, " clients"]


@dataclass(frozen=True, slots=True)
class LocalTraining:
    """What a client does: `epochs` of SGD with rate `lr` on shuffled batches of `batch_size`, the last one smaller."""

    lr: float
    epochs: int
    batch_size: int


class ServerState(NamedTuple):
    """ring: the last models, the current one at step % history. step: server steps made."""

    ring: Params
    step: Int[Array, ""]


class Reports(NamedTuple):
    """A stretch of a schedule, padded to the engine's length; steps that are not `active` do nothing."""

    client: Int[Array, "steps reports"]
    version: Int[Array, "steps reports"]
    participation: Int[Array, "steps reports"]
    weight: Float[Array, "steps reports"]
    active: Bool[Array, " steps"]


Advance = Callable[[ServerState, ClientData, Reports], tuple[ServerState, dict[str, Array]]]


def stack_clients(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], batch_size: int) -> ClientData:
    """Gather every client's examples; parts: example indices of each."""
    counts = np.array([len(part) for part in parts], np.int32)
    padded = -(-int(counts.max()) // batch_size) * batch_size
    rows = np.stack([np.concatenate([part, np.zeros(padded - len(part), part.dtype)]) for part in parts])
    return ClientData(jnp.asarray(x[rows]), jnp.asarray(y[rows]), jnp.asarray(counts))


def start(params: Params, history: int) -> ServerState:
    """The state before the first server step; `history` models are kept."""
    return ServerState(jax.tree.map(lambda leaf: jnp.stack([leaf] * history), params), jnp.zeros((), jnp.int32))


def current(state: ServerState) -> Params:
    """The server's model."""
    return jax.tree.map(lambda ring: ring[state.step % ring.shape[0]], state.ring)


def stretch(schedule: Schedule, first: int, last: int, length: int) -> Reports:
    """Server steps first .. last - 1, at most `length` of them."""
    rows = np.arange(first, first + length)
    active = rows < last
    rows = np.where(active, rows, first)
    return Reports(
        client=jnp.asarray(schedule.client[rows]),
        version=jnp.asarray(schedule.version[rows]),
        participation=jnp.asarray(schedule.participation[rows]),
        weight=jnp.asarray(schedule.weight[rows].astype(np.float32)),
        active=jnp.asarray(active),
    )


def compile_advance(
    loss_fn: LossFn,
    local: LocalTraining,
    *,
    server_lr: float,
    key: Key[Array, ""],
    example: tuple[ServerState, ClientData, Reports],
) -> Advance:
    """`advance(state, data, reports) -> state, numbers of each step`, compiled; the old state's buffers are given away.

    example: arguments of the shapes to compile for.

    Numbers: "loss", the clients' mean loss while training, weighted as their deltas; "update_norm", of the server's
    step. The randomness of a report depends on (key, client, participation) alone, never on its place in the step.
    """

    @partial(jax.jit, donate_argnums=0)
    def advance(state: ServerState, data: ClientData, reports: Reports) -> tuple[ServerState, dict[str, Array]]:
        def server_step(state: ServerState, row: Reports) -> tuple[ServerState, dict[str, Array]]:
            params = current(state)

            def add_report(total: tuple[Params, Array], report: tuple[Array, ...]) -> tuple[tuple[Params, Array], None]:
                client, version, participation, weight = report
                begin = jax.tree.map(lambda ring: ring[version % ring.shape[0]], state.ring)
                client_key = jax.random.fold_in(jax.random.fold_in(key, client), participation)
                end, loss = _train_client(
                    loss_fn, local, begin, data.x[client], data.y[client], data.size[client], client_key
                )
                delta = jax.tree.map(lambda s, b, e: s + weight * (e - b), total[0], begin, end)
                return (delta, total[1] + weight * loss), None

            nothing = (jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))
            (delta, loss), _ = jax.lax.scan(
                add_report, nothing, (row.client, row.version, row.participation, row.weight)
            )
            following = state.step + 1
            ring = jax.tree.map(
                lambda ring, w, d: ring.at[following % ring.shape[0]].set(w + server_lr * d), state.ring, params, delta
            )
            norm = server_lr * jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(delta)))
            return ServerState(ring, following), {"loss": loss / jnp.sum(row.weight), "update_norm": norm}

        def idle(state: ServerState, row: Reports) -> tuple[ServerState, dict[str, Array]]:
            return state, {"loss": jnp.zeros(()), "update_norm": jnp.zeros(())}

        return jax.lax.scan(lambda s, row: jax.lax.cond(row.active, server_step, idle, s, row), state, reports)

    compiled: Advance = advance.lower(*example).compile()
    return compiled


def _train_client(
    loss_fn: LossFn,
    local: LocalTraining,
    params: Params,
    x: Float[Array, " padded *features"],
    y: Int[Array, " padded"],
    size: Int[Array, ""],
    key: Key[Array, ""],
) -> tuple[Params, Float[Array, ""]]:
    """The client's model after its epochs, and its mean batch loss on the way."""
    batches = -(-size // local.batch_size)

    def epoch(number: Array, carry: tuple[Params, Array]) -> tuple[Params, Array]:
        draws = jax.random.uniform(jax.random.fold_in(key, number), (y.shape[0],))
        # Real examples first, in random order; padding behind them.
        order = jnp.argsort(jnp.where(jnp.arange(y.shape[0]) < size, draws, 2.0))

        def batch(index: Array, carry: tuple[Params, Array]) -> tuple[Params, Array]:
            params, total = carry
            begin = index * local.batch_size
            rows = jax.lax.dynamic_slice(order, (begin,), (local.batch_size,))
            valid = (begin + jnp.arange(local.batch_size) < size).astype(jnp.float32)

            def mean_loss(params: Params) -> Array:
                return jnp.sum(loss_fn(params, x[rows], y[rows]) * valid) / jnp.sum(valid)

            loss, grads = jax.value_and_grad(mean_loss)(params)
            return jax.tree.map(lambda p, g: p - local.lr * g, params, grads), total + loss

        after: tuple[Params, Array] = jax.lax.fori_loop(0, batches, batch, carry)
        return after

    trained, total = jax.lax.fori_loop(0, local.epochs, epoch, (params, jnp.zeros(())))
    return trained, total / (local.epochs * batches).astype(jnp.float32)
