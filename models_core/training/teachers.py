"""A decoder trained on text as a phase of a run, and the identity that such training gives a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from models_core import optim
from models_core.data.order import BatchOrder
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.optim._options import OptimizerOptions
from models_core.training import schedules
from models_core.training.evaluation import build_evaluation
from models_core.training.phases import Phase
from models_core.training.step import TrainState, compile_step, start

METRICS = {"nll": "teacher/loss", "grad_norm": "optim/grad_norm"}


def next_token_losses(params: Any, config: DecoderConfig, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """-log probability of every token after a row's first, [batch, length]; and the experts' auxiliary losses, or 0."""
    run = decoder.run(params, config, decoder.embed(params, config, rows[:, :-1]))
    logits = decoder.unembed(params, run.x, config.logit_soft_cap).astype(jnp.float32)
    losses: Array = optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:])
    return losses, jnp.float32(0) if run.routing is None else run.routing.loss()


def text_evaluation(config: DecoderConfig, key: str, rows: np.ndarray) -> Callable[[Any], dict[str, float]]:
    """`evaluate(params)`: the mean loss per token of rows, under `key`."""

    def sums(params: Any, batch: jax.Array, valid: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        losses, _ = next_token_losses(params, config.dropless, batch)
        return {key: jnp.sum(losses * valid[:, None])}, jnp.sum(valid) * losses.shape[1]

    evaluate = build_evaluation(sums, batch_size=64)
    return lambda params: evaluate(params, rows)


def teacher_phase(
    config: DecoderConfig,
    optimizer: OptimizerOptions,
    *,
    rows: int,
    steps: int,
    warmup_steps: int,
    train: np.ndarray,
    validation: np.ndarray,
    order: BatchOrder,
    key: jax.Array,
    watch: Callable[[TrainState, int], None] = lambda state, updates: None,
    kept: Callable[[], dict[str, np.ndarray]] = dict,
) -> tuple[Phase, TrainState]:
    """The phase "teacher", the first of a run, and its state before the first step. rows: of the embedding."""
    schedule = schedules.warmup_then_decay(optimizer.lr, steps=steps, warmup_steps=warmup_steps, decay="cosine")
    transformation = optim.build(optimizer, schedule)
    state = start(decoder.init(key, config, rows), transformation)

    def loss(params: Any, batch: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        losses, auxiliary = next_token_losses(params, config, batch)
        nll = jnp.mean(losses)
        return nll + auxiliary, {"nll": nll}

    step = compile_step(loss, transformation, state, jnp.asarray(train[order.at(0)]))
    phase = Phase(
        name="teacher",
        offset=0,
        steps=steps,
        advance=lambda state, index: step(state, jnp.asarray(train[order.at(index)])),
        metrics=METRICS,
        evaluate=text_evaluation(config, "teacher/eval_nll", validation),
        tokens_per_step=len(order.at(0)) * (train.shape[1] - 1),
        watch=watch,
        kept=kept,
    )
    return phase, state


def weights_identity(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 over a model's weights by name, 64 hex digits."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\n{array.dtype.str}\n{array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def training_identity(**facts: Any) -> str:
    """sha256 over everything that decides a model's weights, 64 hex digits; facts: plain JSON values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
