"""The student's residual stream after a learned projection, compared with the teacher's.

Source: Romero et al., "FitNets", ICLR 2015 (arXiv 1412.6550), for the learned regressor; Sun et al., "Patient knowledge
distillation", EMNLP 2019, for the normalised form.

    mse: mean over the width of (h_s W - h_t)^2 ;  cosine: 1 - cos(h_s W, h_t)

W (student width, teacher width) is trained along and thrown away. States are those after the embedding (0) and after
each block, before the final norm. Reduces to: 0 where h_s W = h_t.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models_core.distill.options import Features
from models_core.errors import SpecInvalid
from models_core.nn.configs import DecoderConfig

Projections = list[Float[Array, "student_width teacher_width"]]


def check_layers(options: Features, student: DecoderConfig, teacher: DecoderConfig) -> None:
    """Raise SpecInvalid when a pair names a layer that a model does not have."""
    for mine, theirs in options.layers:
        if mine > student.n_layers or theirs > teacher.n_layers:
            raise SpecInvalid(
                f"The pair ({mine}, {theirs}) names a layer past the student's {student.n_layers} or the teacher's "
                f"{teacher.n_layers}.",
                fields={"features.layers": "A layer that there is not."},
            )


def init(key: Key[Array, ""], options: Features, student: DecoderConfig, teacher: DecoderConfig) -> Projections:
    """One projection a pair; the identity where the widths agree, else of variance 1 / student width.

    Raises SpecInvalid as `check_layers` does.
    """
    check_layers(options, student, teacher)
    same = student.d_model == teacher.d_model
    shape = (student.d_model, teacher.d_model)
    keys = jax.random.split(key, len(options.layers))
    return [jnp.eye(shape[0]) if same else jax.random.normal(k, shape) * shape[0] ** -0.5 for k in keys]


def distance_tokens(
    options: Features,
    projections: Projections,
    student: list[Float[Array, "*tokens student_width"]],
    teacher: list[Float[Array, "*tokens teacher_width"]],
) -> Float[Array, " *tokens"]:
    """The mean distance over the pairs, of every token. No gradient reaches the teacher."""
    total: Array = jnp.zeros(student[0].shape[:-1])
    for (mine, theirs), projection in zip(options.layers, projections, strict=True):
        ours = student[mine].astype(jnp.float32) @ projection
        wanted = jax.lax.stop_gradient(teacher[theirs]).astype(jnp.float32)
        if options.distance == "mse":
            total = total + jnp.mean(jnp.square(ours - wanted), axis=-1)
        else:
            norms = jnp.sqrt(jnp.sum(ours * ours, axis=-1) * jnp.sum(wanted * wanted, axis=-1) + 1e-12)
            total = total + 1 - jnp.sum(ours * wanted, axis=-1) / norms
    return total / len(projections)
