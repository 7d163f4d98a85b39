"""What a client does: some epochs of SGD over its own examples, with whatever terms the algorithm adds to its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, Shaped

Params = Any


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """A first layer that is linear in the examples: logits(params, x) = after(rest, x @ kernel).

    split(params) -> kernel, rest; join(kernel, rest) -> params.
    """

    split: Callable[[Params], tuple[Float[Array, "features width"], Params]]
    join: Callable[[Array, Params], Params]
    after: Callable[[Params, Float[Array, "batch width"]], Array]


@dataclass(frozen=True, slots=True)
class Task:
    """logits(params, x): [batch, classes] or [batch, time, classes]. valid(y): 1 where a target counts, None for
    all. first: what `dual` needs to train faster, None where the first layer is no matrix product with the example.
    """

    logits: Callable[[Params, Array], Array]
    valid: Callable[[Array], Array] | None = None
    first: FirstLayer | None = None

    def losses(self, logits: Array, y: Array) -> Float[Array, " batch"]:
        """Cross-entropy of every example in nats, the mean over its targets."""
        return self._mean(optax.softmax_cross_entropy_with_integer_labels(logits, y), y)

    def divergences(self, teacher: Array, student: Array, y: Array, temperature: float) -> Float[Array, " batch"]:
        """T^2 KL(softmax(teacher / T) || softmax(student / T)) of every example; no gradient reaches the teacher."""
        log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature)
        log_q = jax.nn.log_softmax(student / temperature)
        return self._mean(temperature**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1), y)

    def hits(self, logits: Array, y: Array) -> Float[Array, " batch"]:
        """The share of an example's targets that have the largest logit."""
        return self._mean((jnp.argmax(logits, axis=-1) == y).astype(jnp.float32), y)

    def _mean(self, values: Array, y: Array) -> Array:
        if values.ndim == 1:
            return values
        counts = jnp.ones(y.shape) if self.valid is None else self.valid(y).astype(jnp.float32)
        return jnp.sum(values * counts, axis=-1) / jnp.maximum(jnp.sum(counts, axis=-1), 1.0)


class ClientData(NamedTuple):
    """The examples, and which of them belong to whom: client i owns rows[begin[i] : begin[i] + size[i]].

    Nothing is padded or copied: a fleet of ten thousand ragged clients takes the memory of its examples.
    gram: the inner products of each client's examples, where `dual.remember` put them.
    """

    x: Shaped[Array, " examples *features"]
    y: Int[Array, " examples *times"]
    rows: Int[Array, " dealt"]
    begin: Int[Array, " clients"]
    size: Int[Array, " clients"]
    gram: Float[Array, "clients longest longest"] | None = None


@dataclass(frozen=True, slots=True)
class LocalTraining:
    """`epochs` of SGD with rate `lr` on shuffled batches of `batch_size`, the last one smaller.

    lengths: of the buckets by size, rising; the last is at least the largest client. A client is shuffled in the
    smallest bucket that holds it; which one changes no result.
    """

    lr: float
    epochs: int
    batch_size: int
    lengths: tuple[int, ...]


class Terms(NamedTuple):
    """Static weights of what is added to a client's loss; 0 leaves a term out altogether."""

    prox_mu: float = 0.0
    distill_weight: float = 0.0
    temperature: float = 1.0


def gather_clients(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray]) -> ClientData:
    """The clients' examples; parts: the indices of each client's."""
    sizes = np.array([len(part) for part in parts], np.int32)
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    rows = np.concatenate(parts).astype(np.int32)
    return ClientData(jnp.asarray(x), jnp.asarray(y), jnp.asarray(rows), jnp.asarray(begins), jnp.asarray(sizes))


def bucket_lengths(sizes: list[int], batch_size: int, buckets: int = 3) -> tuple[int, ...]:
    """At most `buckets` lengths, whole batches each: equal shares of the clients fall below the first, the second,
    ...
    """
    ordered = np.sort(np.asarray(sizes))
    edges = [int(ordered[-(-len(ordered) * number // buckets) - 1]) for number in range(1, buckets + 1)]
    return tuple(sorted({-(-edge // batch_size) * batch_size for edge in edges}))


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
    correction: Params = None,
) -> tuple[Params, Float[Array, ""], Int[Array, ""]]:
    """The client's model after its epochs, its mean batch loss on the way, and the number of its steps.

    teacher: a model, counted when `taught` is 1. correction: added to every gradient (SCAFFOLD's c - c_i).
    """
    begin, size = data.begin[client], data.size[client]
    batches = -(-size // local.batch_size)
    sent = params

    def batch_loss(params: Params, rows: Array, valid: Array) -> Array:
        x, y = data.x[rows], data.y[rows]
        told = None if teacher is None else task.logits(teacher, x)
        mean = mean_loss(task, terms, task.logits(params, x), y, valid, told=told, taught=taught)
        if terms.prox_mu:
            squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, sent)
            mean = mean + terms.prox_mu / 2 * sum(jax.tree.leaves(squares))
        return mean

    def epoch(number: Array, carry: tuple[Params, Array]) -> tuple[Params, Array]:
        order = shuffle(jax.random.fold_in(key, number), size, local.lengths)

        def batch(index: Array, carry: tuple[Params, Array]) -> tuple[Params, Array]:
            params, total = carry
            first = index * local.batch_size
            places = jax.lax.dynamic_slice(order, (first,), (local.batch_size,))
            valid = (first + jnp.arange(local.batch_size) < size).astype(jnp.float32)
            # Places past the client's end are masked; they are read from its first example.
            rows = data.rows[begin + jnp.where(valid > 0, places, 0)]
            loss, grads = jax.value_and_grad(batch_loss)(params, rows, valid)
            if correction is not None:
                grads = jax.tree.map(jnp.add, grads, correction)
            return jax.tree.map(lambda p, g: p - local.lr * g, params, grads), total + loss

        after: tuple[Params, Array] = jax.lax.fori_loop(0, batches, batch, carry)
        return after

    trained, total = jax.lax.fori_loop(0, local.epochs, epoch, (params, jnp.zeros(())))
    steps = local.epochs * batches
    return trained, total / jnp.maximum(steps, 1).astype(jnp.float32), steps


def mean_loss(
    task: Task,
    terms: Terms,
    logits: Array,
    y: Array,
    valid: Float[Array, " batch"],
    *,
    told: Array | None,
    taught: Float[Array, ""] | None,
) -> Float[Array, ""]:
    """Over the valid examples: cross-entropy, and the divergence from `told`, the teacher's logits, where `taught`."""
    losses = task.losses(logits, y)
    if terms.distill_weight and told is not None and taught is not None:
        losses = losses + terms.distill_weight * taught * task.divergences(told, logits, y, terms.temperature)
    return jnp.sum(losses * valid) / jnp.sum(valid)


def shuffle(key: Key[Array, ""], size: Int[Array, ""], lengths: tuple[int, ...]) -> Int[Array, " longest"]:
    """A random order of 0 .. size - 1, padded to the longest bucket."""

    def ordered(length: int) -> Callable[[], Array]:
        def draw() -> Array:
            draws = jax.random.uniform(key, (length,))
            order = jnp.argsort(jnp.where(jnp.arange(length) < size, draws, 2.0)).astype(jnp.int32)
            return jnp.pad(order, (0, lengths[-1] - length))

        return draw

    if len(lengths) == 1:
        return ordered(lengths[0])()
    bucket = sum((size > length).astype(jnp.int32) for length in lengths[:-1])
    chosen: Array = jax.lax.switch(bucket, [ordered(length) for length in lengths])
    return chosen
