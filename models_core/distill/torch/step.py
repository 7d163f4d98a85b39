"""One distillation step of the PyTorch decoder: the loss of `models_core.distill.objective`, backward, update.

    loss = (1 - w) hard + w soft, each a mean over valid tokens

Micro-batches are weighed by their tokens, so that they give the gradient of the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models_core.distill.options import Divergence, HardLabels, Sparse
from models_core.distill.torch import losses, sparse
from models_core.distill.torch.sparse import SparseTargets
from models_core.nn.torch.decoder import Decoder


@dataclass(frozen=True)
class Objective:
    """How one step's loss comes about. sparse: how `targets` were drawn; None for a live teacher. micro_batch, chunk:
    sequences and tokens at once, 0 for all."""

    divergence: Divergence | HardLabels
    sparse: Sparse | None = None
    micro_batch: int = 0
    chunk: int = 0

    def backward(
        self,
        student: Decoder,
        rows: torch.Tensor,
        valid: torch.Tensor,
        *,
        weight: float,
        teacher: Decoder | None = None,
        targets: SparseTargets | None = None,
    ) -> dict[str, float]:
        """Add the loss's gradient to the student's; returns "loss", "hard_loss" and, with a teacher, "soft_loss".

        rows (batch, length + 1) tokens; valid (batch, length); targets (batch, length, k).
        """
        count = valid.sum().clamp(min=1.0)
        size = self.micro_batch or rows.shape[0]
        totals: dict[str, float] = {"loss": 0.0}
        for begin in range(0, rows.shape[0], size):
            piece = slice(begin, begin + size)
            cut = None if targets is None else SparseTargets(*(part[piece] for part in targets))
            sums = self._sums(student, rows[piece], valid[piece], teacher, cut)
            loss = sums["hard_loss"]
            if "soft_loss" in sums:
                loss = (1 - weight) * loss + weight * sums["soft_loss"]
            (loss / count).backward()  # type: ignore[no-untyped-call]
            for name, value in {**sums, "loss": loss}.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach() / count)
        return totals

    def _sums(
        self,
        student: Decoder,
        rows: torch.Tensor,
        valid: torch.Tensor,
        teacher: Decoder | None,
        targets: SparseTargets | None,
    ) -> dict[str, torch.Tensor]:
        tokens = [student.trunk(rows[:, :-1]), rows[:, 1:], valid]
        soft = not isinstance(self.divergence, HardLabels) and (teacher is not None or targets is not None)
        if soft and targets is not None:
            tokens += [*targets]
        elif soft and teacher is not None:
            with torch.no_grad():
                tokens += [teacher.trunk(rows[:, :-1])]

        def body(
            x: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor, *given: torch.Tensor
        ) -> tuple[torch.Tensor, ...]:
            logits = student.unembed(x)
            hard = (losses.token_losses(logits, labels) * valid).sum()
            if not given or isinstance(self.divergence, HardLabels):
                return (hard,)
            if self.sparse is not None:
                values = sparse.sparse_tokens(
                    self.sparse,
                    SparseTargets(*given),
                    logits,
                    temperature=self.divergence.temperature,
                    t_squared=self.divergence.t_squared,
                )
            else:
                assert teacher is not None
                with torch.no_grad():
                    wanted = teacher.unembed(given[0])
                values = losses.divergence_tokens(self.divergence, wanted, logits)
            return hard, (values * valid).sum()

        flat = tuple(part.flatten(0, 1) for part in tokens)
        return dict(zip(("hard_loss", "soft_loss"), losses.token_sums(body, flat, chunk=self.chunk), strict=False))


def step(
    objective: Objective,
    student: Decoder,
    optimizer: torch.optim.Optimizer,
    rows: torch.Tensor,
    valid: torch.Tensor,
    *,
    weight: float,
    teacher: Decoder | None = None,
    targets: SparseTargets | None = None,
) -> dict[str, float]:
    """One update of the student; see `Objective.backward` for arguments and result."""
    optimizer.zero_grad(set_to_none=True)
    numbers = objective.backward(student, rows, valid, weight=weight, teacher=teacher, targets=targets)
    optimizer.step()
    return numbers
