"""What may be compared when teacher and student do not have the same vocabulary.

Two models of one family often differ by padding rows (151,936 against 152,064): the ids mean the same, and the shorter
one is filled up. Two tokenizers give different meanings to one id: every loss but that over sorted probabilities
would be silently wrong and is refused.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models_core.distill.options import Divergence, HardLabels, Mapped, ReverseKL, SymmetricKL
from models_core.errors import SpecInvalid


def check_tokenizers(teacher: str, student: str, objective: Divergence | HardLabels) -> None:
    """Raise SpecInvalid unless both use one tokenizer, or the loss does not need that. teacher, student: identities."""
    if teacher != student and not isinstance(objective, Mapped | HardLabels):
        raise SpecInvalid(
            f"The teacher's tokenizer is {teacher} and the student's {student}: an id means different things to them. "
            "Only the loss over sorted probabilities compares across tokenizers.",
            fields={"distillation.mode": "Must be sorted, or one tokenizer for both."},
        )


def fit_rows(
    objective: Divergence,
    teacher: Float[Array, "*tokens teacher_rows"],
    student: Float[Array, "*tokens rows"],
) -> tuple[Float[Array, "*tokens fitted_teacher_rows"], Float[Array, "*tokens fitted_rows"]]:
    """Logits over the same ids, for two models with one tokenizer and different numbers of rows.

    For sorted probabilities, which compare ranks and not ids, both stay as they are.
    A teacher with more rows is cut to the student's and so renormalised; one with fewer rows gives the student's
    further ids no probability. Reverse and symmetric KL would be infinite there: the student is cut instead.
    """
    excess = student.shape[-1] - teacher.shape[-1]
    if isinstance(objective, Mapped) or excess == 0:
        return teacher, student
    if excess < 0:
        return teacher[..., : student.shape[-1]], student
    infinite = isinstance(objective, ReverseKL | SymmetricKL) or getattr(objective, "beta", 0.5) == 1
    if infinite:
        return teacher, student[..., : teacher.shape[-1]]
    return jnp.pad(teacher, [(0, 0)] * (teacher.ndim - 1) + [(0, excess)], constant_values=-jnp.inf), student
