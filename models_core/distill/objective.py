"""What a student minimises, put together: hard loss, soft loss, features; per valid token, in pieces.

    loss = (1 - w) hard + w soft + features.weight distance + the experts' balance and z losses

All of it is sums over valid tokens divided by their number once, at the end: micro-batches and pieces of tokens, full
or not, give the same loss and gradient as the whole batch. Only the experts' losses are of each micro-batch, weighed by
its tokens: balance is a product of means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models_core.distill import features as feature_matching
from models_core.distill import losses, quantise, sparse
from models_core.distill.chunked import Sums, flatten_tokens, token_sums
from models_core.distill.options import Divergence, Features, ForwardKL, HardLabels, Sparse
from models_core.distill.vocabularies import fit_rows
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig

Numbers = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class Objective:
    """How one step's loss comes about.

    sparse: how the batch's "targets" were drawn; None for a live teacher. micro_batch, chunk: sequences and tokens at
    once, 0 for all. same_tokens: whether teacher and student share ids, so that their KL means anything.
    quantise: the format to whose values the student's matrices are rounded, gradients straight through. teacher: its
    experts have room for every token, whatever their capacity in training.
    teacher_temperature: of the live teacher alone, before the divergence's own, which is of both.
    """

    divergence: Divergence | HardLabels
    student: DecoderConfig
    teacher: DecoderConfig
    sparse: Sparse | None = None
    features: Features | None = None
    micro_batch: int = 0
    chunk: int = 0
    same_tokens: bool = True
    quantise: quantise.Format | None = None
    teacher_temperature: float = 1.0

    def loss(
        self, params: Any, batch: dict[str, Any], weight: Float[Array, ""], teacher: Any
    ) -> tuple[Float[Array, ""], Numbers]:
        """The loss, and the numbers a report shows: hard and soft loss, KL at temperature 1, teacher's own loss.

        params: {"model": ..., "projections": [...]}. batch: "rows" [batch, length + 1], "valid" [batch, length] and,
        where sparse, "targets"; "teacher_rows" where the teacher reads other ids. weight: w in [0, 1]. teacher: its
        parameters, None to leave it out (then w plays no part).
        """
        sums = token_sums(lambda piece: self._sums(params, piece, teacher), batch, chunk=self.micro_batch)
        count = jnp.maximum(sums.pop("count"), 1.0)
        numbers = {key: value / count for key, value in sums.items()}
        value = numbers["hard_loss"]
        if "soft_loss" in numbers:
            value = losses.mixed(value, numbers["soft_loss"], soft_weight=weight)
            if self.features is not None:
                value = value + self.features.weight * numbers["feature_loss"]
        if "router_loss" in numbers:
            value = value + numbers["router_loss"]
        return value, numbers

    def _sums(self, params: Any, batch: dict[str, Any], teacher: Any) -> Sums:
        """Sums over the valid tokens of some sequences."""
        inputs, valid = batch["rows"][:, :-1], batch["valid"]
        model, collect = params["model"], self.features is not None
        if self.quantise is not None:
            model = quantise.rounded_kernels(model, self.quantise)
        ours = decoder.run(model, self.student, decoder.embed(model, self.student, inputs), collect=collect)
        tokens = {
            "x": ours.x,
            "labels": batch["rows"][:, 1:],
            "valid": valid,
        }
        live = teacher is not None and self.sparse is None
        extra: Sums = {}
        if ours.routing is not None:
            extra["router_loss"] = ours.routing.loss() * jnp.sum(valid)
        if live:
            frozen = jax.lax.stop_gradient(teacher)
            read = batch.get("teacher_rows", batch["rows"])[:, :-1]
            sizes = self.teacher.dropless
            wanted = decoder.run(frozen, sizes, decoder.embed(frozen, sizes, read), collect=collect)
            tokens["teacher_x"] = wanted.x
            if self.features is not None:
                distance = feature_matching.distance_tokens(
                    self.features, params["projections"], ours.states, wanted.states
                )
                extra["feature_loss"] = jnp.sum(distance * valid)
        if "targets" in batch:
            tokens["targets"] = batch["targets"]
        embedding = model["embedding"]
        teacher_embedding = frozen["embedding"] if live else None
        sums = token_sums(
            lambda piece: self._token_sums(piece, embedding, teacher_embedding),
            flatten_tokens(tokens),
            chunk=self.chunk,
        )
        return {**sums, **extra}

    def _token_sums(self, tokens: dict[str, Any], embedding: Array, teacher_embedding: Array | None) -> Sums:
        logits, valid = _unembed(embedding, tokens["x"], self.student), tokens["valid"]
        sums = {"hard_loss": jnp.sum(losses.token_losses(logits, tokens["labels"]) * valid), "count": jnp.sum(valid)}
        if isinstance(self.divergence, HardLabels):
            return sums
        if "targets" in tokens and self.sparse is not None:
            soft = sparse.sparse_tokens(
                self.sparse,
                tokens["targets"],
                logits,
                temperature=self.divergence.temperature,
                t_squared=self.divergence.t_squared,
            )
            return {**sums, "soft_loss": jnp.sum(soft * valid)}
        if teacher_embedding is None:
            return sums
        wanted = _unembed(teacher_embedding, tokens["teacher_x"], self.teacher)
        theirs, ours = fit_rows(self.divergence, wanted / self.teacher_temperature, logits)
        sums["soft_loss"] = jnp.sum(losses.divergence_tokens(self.divergence, theirs, ours) * valid)
        if self.same_tokens:
            theirs, ours = fit_rows(_PLAIN, wanted, jax.lax.stop_gradient(logits))
            sums["forward_kl"] = jnp.sum(losses.divergence_tokens(_PLAIN, theirs, ours) * valid)
            sums["teacher_loss"] = jnp.sum(losses.token_losses(wanted, tokens["labels"]) * valid)
        return sums


_PLAIN = ForwardKL(t_squared=False)


def _unembed(embedding: Array, x: Array, config: DecoderConfig) -> Array:
    return decoder.unembed({"embedding": embedding}, x, config.logit_soft_cap)
