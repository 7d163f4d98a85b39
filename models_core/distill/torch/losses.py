"""Distillation losses in PyTorch: see `models_core.distill.losses` for formulas and sources, which are the same.

Shapes: logits [..., vocabulary], token values [...]. All in float32; no gradient reaches the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from models_core.distill.options import (
    Divergence,
    ForwardKL,
    JensenShannon,
    Mapped,
    ReverseKL,
    SkewedKL,
    SymmetricKL,
    TotalVariation,
)

# See `models_core.distill.losses.ROUNDING`.
ROUNDING = 4e-6


def divergence_tokens(divergence: Divergence, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """The divergence of every token, from logits, temperature included."""
    temperature = divergence.temperature
    log_p = torch.log_softmax(teacher.detach().float() / temperature, dim=-1)
    log_q = torch.log_softmax(student.float() / temperature, dim=-1)
    values = _of_log_probabilities(divergence, log_p, log_q)
    return values * temperature**2 if divergence.t_squared else values


def _of_log_probabilities(divergence: Divergence, log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    match divergence:
        case ForwardKL():
            return kl(log_p, log_q)
        case ReverseKL():
            return kl(log_q, log_p)
        case SymmetricKL():
            return 0.5 * (kl(log_p, log_q) + kl(log_q, log_p))
        case JensenShannon(beta=beta):
            if beta in (0, 1):
                return kl(log_p, log_q) if beta == 0 else kl(log_q, log_p)
            log_m = mixture(log_p, log_q, beta)
            return beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m)
        case SkewedKL(alpha=alpha):
            return kl(log_p, log_q if alpha == 0 else mixture(log_p, log_q, alpha))
        case TotalVariation():
            return 0.5 * absolute_distance(log_p.exp(), log_q.exp())
        case Mapped():
            return sorted_distance(log_p.exp(), log_q.exp())


def kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """sum p (log p - log q); entries with p = 0 count 0."""
    p = log_p.exp()
    some = p > 0
    return (p * (log_p.masked_fill(~some, 0.0) - log_q.masked_fill(~some, 0.0))).sum(dim=-1)


def mixture(log_p: torch.Tensor, log_q: torch.Tensor, share: float) -> torch.Tensor:
    """log(share p + (1 - share) q), 0 < share < 1."""
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))


def absolute_distance(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """sum |p - q|; differences of the size of rounding count 0, so that it decides no sign of the gradient."""
    difference = (p - q).abs()
    return difference.masked_fill(difference <= ROUNDING * (p + q), 0.0).sum(dim=-1)


def sorted_distance(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """sum |p_(i) - q_(i)| over ranks; the smaller vocabulary is padded with zeros."""
    rows = max(p.shape[-1], q.shape[-1])
    p, q = (torch.nn.functional.pad(x.sort(dim=-1, descending=True).values, (0, rows - x.shape[-1])) for x in (p, q))
    return absolute_distance(p, q)


def fit_rows(divergence: Divergence, teacher: torch.Tensor, student: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits over the same ids, see `models_core.distill.vocabularies.fit_rows`."""
    excess = student.shape[-1] - teacher.shape[-1]
    if isinstance(divergence, Mapped) or excess == 0:
        return teacher, student
    if excess < 0:
        return teacher[..., : student.shape[-1]], student
    if isinstance(divergence, ReverseKL | SymmetricKL) or getattr(divergence, "beta", 0.5) == 1:
        return teacher, student[..., : teacher.shape[-1]]
    return torch.nn.functional.pad(teacher, (0, excess), value=-torch.inf), student


def divergence_mean(
    divergence: Divergence, teacher: torch.Tensor, student: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Mean divergence per valid token."""
    return token_mean(divergence_tokens(divergence, teacher, student), valid)


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log softmax(logits)[target] of every token."""
    return -torch.log_softmax(logits.float(), dim=-1).gather(-1, targets[..., None].long())[..., 0]


def token_mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over valid tokens; 0 when there is none."""
    return (values * valid).sum() / valid.sum().clamp(min=1.0)


def token_sums(
    body: Callable[..., tuple[torch.Tensor, ...]], tokens: tuple[torch.Tensor, ...], *, chunk: int
) -> tuple[torch.Tensor, ...]:
    """What `body(*pieces)` returns for pieces of `chunk` tokens, added up; backward computes every piece again.

    tokens: tensors [tokens, ...]. chunk: 0 for one piece.
    """
    count = tokens[0].shape[0]
    if chunk <= 0 or chunk >= count:
        return body(*tokens)
    sums: tuple[torch.Tensor, ...] | None = None
    for begin in range(0, count, chunk):
        part = checkpoint(body, *(x[begin : begin + chunk] for x in tokens), use_reentrant=False)
        sums = part if sums is None else tuple(a + b for a, b in zip(sums, part, strict=True))
    assert sums is not None
    return sums
