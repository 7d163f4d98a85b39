"""One distillation step of the PyTorch decoder: the loss of `models_core.distill.objective`, backward, update.

    loss = (1 - w) hard + w soft + features.weight distance + the experts' losses, each a mean over valid tokens

Micro-batches are weighed by their tokens, so that they give the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models_core.distill.options import Divergence, Features, ForwardKL, HardLabels, Sparse
from models_core.distill.plan import Format
from models_core.distill.torch import features as feature_matching
from models_core.distill.torch import losses, quantise, sparse
from models_core.distill.torch.sparse import SparseTargets
from models_core.nn.torch.decoder import Decoder
from models_core.nn.torch.moe import Routing, stacked

_PLAIN = ForwardKL(t_squared=False)


class Student(torch.nn.Module):
    """A decoder in training, and the projections of its states that are trained along."""

    def __init__(self, decoder: Decoder, projections: Sequence[torch.Tensor] = ()) -> None:
        super().__init__()
        self.decoder = decoder
        self.projections = torch.nn.ParameterList(torch.nn.Parameter(p) for p in projections)

    def forward(self, inputs: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, Routing | None]:
        """Residual stream by layer, normalised output (batch, time, D), the embedding that it was computed with, and
        what the experts' routers did.
        """
        decoder = self.decoder
        routing: list[Routing] = []
        states = decoder.run(decoder.embed(inputs), routing=routing)
        return states, decoder.final_norm(states[-1]), decoder.embedding, stacked(routing)


@dataclass(frozen=True)
class Objective:
    """How one step's loss comes about.

    sparse: how `targets` were drawn; None for a live teacher. micro_batch, chunk: sequences and tokens at once, 0 for
    all. same_tokens: whether both share ids. quantise: the format to whose values the student's matrices are rounded.
    teacher_temperature: of the live teacher alone.
    """

    divergence: Divergence | HardLabels
    sparse: Sparse | None = None
    micro_batch: int = 0
    chunk: int = 0
    features: Features | None = None
    same_tokens: bool = True
    quantise: Format | None = None
    teacher_temperature: float = 1.0

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

        rows (batch, length + 1) tokens; valid (batch, length); targets (batch, length, k). Without features.
        """
        count = valid.sum().clamp(min=1.0)
        size = self.micro_batch or rows.shape[0]
        totals: dict[str, float] = {}
        for begin in range(0, rows.shape[0], size):
            piece = slice(begin, begin + size)
            cut = None if targets is None else SparseTargets(*(part[piece] for part in targets))
            loss, sums = self.sums(Student(student), rows[piece], valid[piece], weight, teacher=teacher, targets=cut)
            (loss / count).backward()  # type: ignore[no-untyped-call]
            for name, value in {**sums, "loss": loss}.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach() / count)
        return totals

    def sums(
        self,
        student: Student,
        rows: torch.Tensor,
        valid: torch.Tensor,
        weight: float | torch.Tensor,
        *,
        teacher: Decoder | None = None,
        targets: SparseTargets | None = None,
        teacher_rows: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The sum of the loss over the valid tokens of some sequences, and the sums that a report shows.

        teacher_rows: what the teacher reads, where its ids are others.
        """
        given = {} if self.quantise is None else quantise.rounded_parameters(student, self.quantise)
        states, x, embedding, routing = torch.func.functional_call(student, given, (rows[:, :-1],))
        tokens = [x, rows[:, 1:], valid]
        soft = not isinstance(self.divergence, HardLabels) and (teacher is not None or targets is not None)
        distance = None
        if soft and targets is not None:
            tokens += [*targets]
        elif soft and teacher is not None:
            with torch.no_grad():
                read = rows if teacher_rows is None else teacher_rows
                theirs = teacher.run(teacher.embed(read[:, :-1]))
                tokens += [teacher.final_norm(theirs[-1])]
            if self.features is not None:
                distances = feature_matching.distance_tokens(self.features, list(student.projections), states, theirs)
                distance = (distances * valid).sum()

        def body(*pieces: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self._token_sums(student.decoder, embedding, teacher, *pieces)

        flat = tuple(part.flatten(0, 1) for part in tokens)
        names = ("hard_loss", "soft_loss", "forward_kl", "teacher_loss")
        sums = dict(zip(names, losses.token_sums(body, flat, chunk=self.chunk), strict=False))
        loss = sums["hard_loss"]
        if "soft_loss" in sums:
            loss = (1 - weight) * loss + weight * sums["soft_loss"]
        if distance is not None and self.features is not None:
            loss, sums["feature_loss"] = loss + self.features.weight * distance, distance
        if routing is not None:
            sums["router_loss"] = routing.loss() * valid.sum()
            loss = loss + sums["router_loss"]
        return loss, sums

    def _token_sums(
        self,
        student: Decoder,
        embedding: torch.Tensor,
        teacher: Decoder | None,
        x: torch.Tensor,
        labels: torch.Tensor,
        valid: torch.Tensor,
        *given: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        logits = _capped(torch.nn.functional.linear(x, embedding), student)
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
            return hard, (values * valid).sum()
        assert teacher is not None
        with torch.no_grad():
            wanted = teacher.unembed(given[0])
        theirs, ours = losses.fit_rows(self.divergence, wanted / self.teacher_temperature, logits)
        values = losses.divergence_tokens(self.divergence, theirs, ours)
        found = [hard, (values * valid).sum()]
        if self.same_tokens:
            with torch.no_grad():
                plain = losses.divergence_tokens(_PLAIN, *losses.fit_rows(_PLAIN, wanted, logits))
                found += [(plain * valid).sum(), (losses.token_losses(wanted, labels) * valid).sum()]
        return tuple(found)


def _capped(logits: torch.Tensor, decoder: Decoder) -> torch.Tensor:
    cap = decoder.config.logit_soft_cap
    return logits if cap is None else torch.tanh(logits / cap) * cap


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
    numbers: dict[str, float] = {}

    def closure() -> float:
        optimizer.zero_grad(set_to_none=True)
        numbers.update(objective.backward(student, rows, valid, weight=weight, teacher=teacher, targets=targets))
        return numbers["loss"]

    # Not before it: some optimizers differentiate the loss once more.
    optimizer.step(closure)
    return numbers
