"""`client.train` for networks whose first layer is a matrix product, without ever writing its weights between steps.

SGD only adds multiples of a client's own examples X to the first kernel. So it is enough to know the multiples A:

    kernel after k steps = kernel - X^T A_k ,   x_b @ kernel after k steps = (X kernel)_b - (X X^T)_b A_k

X kernel is computed once a participation, X X^T once a run (`remember`) or, where that would take too much memory, once
a participation; a step touches [examples, width] numbers instead of [features, width], and the kernel is written once
at the end. Each further epoch over the same examples costs next to nothing.
Deviates: sums are taken in another order, so that results agree with `client.train` up to rounding.
Cost: [examples, examples] numbers for every client, at most as many as the examples themselves have, or for the client
at work alone. `pays` says where that is worth it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from models_core.federated.simulation import client as clients
from models_core.federated.simulation.client import ClientData, FirstLayer, LocalTraining, Params, Task, Terms
from models_core.nn import mlp

# Products in whose time a weight is read, changed and written, the step's product of few examples for its gradient
# included, which is far below full speed. Measured on a CPU with AVX-512: 50 us for a kernel of 784 x 64 and ten
# examples, whose forward product of as many operations takes 16 us.
_WRITING = 10.0


def mlp_task() -> Task:
    """The classifier of flat examples, ready for this way of training."""

    def after(rest: Params, z: Float[Array, "batch width"]) -> Array:
        z = z + rest[0]["bias"][None, :]
        return mlp.apply(rest[1:], jax.nn.relu(z)) if len(rest) > 1 else z

    return Task(
        mlp.apply,
        first=FirstLayer(
            split=lambda params: (params[0]["kernel"], [{"bias": params[0]["bias"]}, *params[1:]]),
            join=lambda kernel, rest: [{"kernel": kernel, **rest[0]}, *rest[1:]],
            after=after,
        ),
    )


def remember(task: Task, local: LocalTraining, data: ClientData) -> ClientData:
    """The same with the inner products of each client's examples, where the task can use them and there is room.

    Places past a client's end repeat its first example.
    """
    clients, longest = data.size.shape[0], local.lengths[-1]
    if task.first is None or clients * longest**2 > data.x.size:
        return data

    @jax.jit
    def products(data: ClientData) -> Float[Array, "clients longest longest"]:
        def of_client(client: Array) -> Array:
            x = data.x[_rows(local, data, client)]
            return x @ x.T

        found: Array = jax.lax.map(of_client, jnp.arange(clients))
        return found

    return data._replace(gram=products(data))


def pays(task: Task, local: LocalTraining, terms: Terms, params: Params, data: ClientData) -> bool:
    """Whether this way takes fewer operations, and the loss has no term in the weights themselves.

    Per feature, for clients of n examples: the usual way multiplies n width numbers twice an epoch, and writes width
    numbers once a step; this way multiplies n width numbers twice in all, and n n once where they are not remembered,
    always for the longest client.
    """
    if task.first is None or terms.prox_mu:
        return False
    width, longest = task.first.split(params)[0].shape[1], local.lengths[-1]
    typical = sum(local.lengths) / len(local.lengths)
    usual = local.epochs * typical * width * (2 + _WRITING / local.batch_size)
    return longest * (2 * width + (longest if data.gram is None else 0)) < usual


def train(
    task: Task,
    local: LocalTraining,
    terms: Terms,
    params: Params,
    data: ClientData,
    client: Int[Array, ""],
    key: Key[Array, ""],
    *,
    teacher: Params = None,
    taught: Float[Array, ""] | None = None,
) -> tuple[Params, Float[Array, ""], Int[Array, ""]]:
    """As `client.train`, without a proximal term and a correction."""
    assert task.first is not None
    first = task.first
    size = data.size[client]
    batches = -(-size // local.batch_size)
    rows = _rows(local, data, client)
    x, y = data.x[rows], data.y[rows]
    kernel, rest = first.split(params)
    products, gram = x @ kernel, x @ x.T if data.gram is None else data.gram[client]
    told = None if teacher is None else task.logits(teacher, x)

    def epoch(number: Array, carry: tuple[Params, Array, Array]) -> tuple[Params, Array, Array]:
        order = clients.shuffle(jax.random.fold_in(key, number), size, local.lengths)

        def batch(index: Array, carry: tuple[Params, Array, Array]) -> tuple[Params, Array, Array]:
            rest, multiples, total = carry
            start = index * local.batch_size
            places = jax.lax.dynamic_slice(order, (start,), (local.batch_size,))
            valid = (start + jnp.arange(local.batch_size) < size).astype(jnp.float32)
            places = jnp.where(valid > 0, places, 0)

            def batch_loss(rest: Params, z: Array) -> Array:
                told_here = None if told is None else told[places]
                return clients.mean_loss(
                    task, terms, first.after(rest, z), y[places], valid, told=told_here, taught=taught
                )

            z = products[places] - gram[places] @ multiples
            loss, (of_rest, of_z) = jax.value_and_grad(batch_loss, argnums=(0, 1))(rest, z)
            # Masked places have gradient 0, so that it does not matter whose row they point at.
            multiples = multiples.at[places].add(local.lr * of_z)
            return jax.tree.map(lambda p, g: p - local.lr * g, rest, of_rest), multiples, total + loss

        after: tuple[Params, Array, Array] = jax.lax.fori_loop(0, batches, batch, carry)
        return after

    begun = (rest, jnp.zeros(products.shape), jnp.zeros(()))
    rest, multiples, total = jax.lax.fori_loop(0, local.epochs, epoch, begun)
    # The barrier keeps a transposed copy: the CPU's fast products do not take a transposed first factor.
    kept: Any = jax.lax.optimization_barrier
    trained = first.join(kernel - kept(x.T) @ multiples, rest)
    steps = local.epochs * batches
    return trained, total / jnp.maximum(steps, 1).astype(jnp.float32), steps


def _rows(local: LocalTraining, data: ClientData, client: Int[Array, ""]) -> Int[Array, " longest"]:
    """Of a client's examples; places past its end hold the first, which no step draws."""
    places = jnp.arange(local.lengths[-1])
    return data.rows[data.begin[client] + jnp.where(places < data.size[client], places, 0)]
