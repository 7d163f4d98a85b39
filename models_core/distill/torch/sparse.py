"""Sparse teacher targets in PyTorch: see `models_core.distill.sparse`. Draws differ from jax's, their laws do not.

A target may also come from a cache: `slots` turns what the reader gives into tensors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from models_core.distill.options import Gumbel, Sampled, SampledUnique, Sparse, TopK
from models_core.errors import SpecInvalid
from models_core.nn.torch.arrays import to_tensor


class SparseTargets(NamedTuple):
    """k slots a token, see `models_core.distill.sparse.SparseTargets`."""

    ids: torch.Tensor
    values: torch.Tensor
    tail: torch.Tensor


def slots(ids: Any, values: Any, tail: Any) -> SparseTargets:
    """Targets from numpy arrays."""
    return SparseTargets(*(to_tensor(part) for part in (ids, values, tail)))


def draw(
    options: Sparse, generator: torch.Generator, logits: torch.Tensor, *, temperature: float = 1.0
) -> SparseTargets:
    """Sparse targets of every token of logits [tokens, vocabulary]; raises SpecInvalid when k is too large."""
    vocabulary = logits.shape[-1]
    if options.k > vocabulary and isinstance(options, Gumbel | TopK):
        raise SpecInvalid(
            f"{options.k} different ids cannot be taken from a vocabulary of {vocabulary}.",
            fields={"targets.k": f"Must be at most {vocabulary}."},
        )
    log_p = torch.log_softmax(logits.detach().float() / temperature, dim=-1)
    match options:
        case Sampled() | SampledUnique():
            ids, counts = _with_replacement(generator, log_p, options.k)
            if isinstance(options, Sampled):
                return SparseTargets(ids, counts, torch.zeros(ids.shape[:-1], device=ids.device))
            used = counts > 0
        case _:
            noise = torch.zeros_like(log_p)
            if isinstance(options, Gumbel):
                noise = noise.exponential_(generator=generator).log().neg()
            # A stable descending sort gives ties to the smaller id, as jax does; torch.topk promises nothing.
            order = torch.sort(log_p + noise, dim=-1, descending=True, stable=True).indices
            ids = order[:, : options.k].sort(dim=-1).values.to(torch.int32)
            used = torch.ones_like(ids, dtype=torch.bool)
    dtype = getattr(torch, options.precision)
    kept = log_p.gather(-1, ids.long()).masked_fill(~used, -torch.inf)
    tail = (1 - kept.exp().sum(dim=-1)).clamp(0, 1)
    return SparseTargets(ids, kept.to(dtype), tail.to(dtype))


def _with_replacement(generator: torch.Generator, log_p: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.multinomial(log_p.exp(), k, replacement=True, generator=generator).sort(dim=-1).values
    fresh = torch.ones_like(ids, dtype=torch.bool)
    fresh[:, 1:] = ids[:, 1:] != ids[:, :-1]
    slot = fresh.long().cumsum(dim=-1) - 1
    unique = torch.zeros_like(ids).scatter_(-1, slot, ids)
    counts = torch.zeros_like(ids).scatter_add_(-1, slot, torch.ones_like(ids))
    return unique.to(torch.int32), counts.to(torch.int32)


def probabilities(options: Sparse, targets: SparseTargets) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights of the slots and of everything else; together they sum to 1."""
    if isinstance(options, Sampled):
        return targets.values.float() / options.k, torch.zeros_like(targets.tail, dtype=torch.float32)
    weights, tail = targets.values.float().exp(), targets.tail.float()
    if getattr(options, "missing", "zero") == "zero":
        tail = torch.zeros_like(tail)
    total = weights.sum(dim=-1) + tail
    return weights / total[..., None], tail / total


def sparse_tokens(
    options: Sparse,
    targets: SparseTargets,
    student: torch.Tensor,
    *,
    temperature: float = 1.0,
    t_squared: bool = True,
) -> torch.Tensor:
    """KL(targets || student) of every token, the student over its whole vocabulary."""
    scaled = student.float() / temperature
    norm = scaled.logsumexp(dim=-1)
    weights, tail = probabilities(options, targets)
    used = weights > 0
    log_q = (scaled.gather(-1, targets.ids.long()) - norm[:, None]).masked_fill(~used, 0.0)
    log_w = weights.masked_fill(~used, 1.0).log()
    value = (weights * (log_w - log_q)).sum(dim=-1)
    missing = getattr(options, "missing", "zero")
    if missing != "zero":
        some = tail > 0
        log_tail = tail.masked_fill(~some, 1.0).log()
        if missing == "rest":
            inside = torch.zeros_like(scaled, dtype=torch.int32)
            inside.scatter_reduce_(-1, targets.ids.long(), used.to(torch.int32), "amax")
            full = inside.bool().all(dim=-1)
            outside = scaled.masked_fill(inside.bool() & ~full[:, None], -torch.inf).logsumexp(dim=-1)
            term = log_tail - (outside - norm)
        else:
            others = (scaled.shape[-1] - used.sum(dim=-1)).clamp(min=1).float()
            term = log_tail - others.log() - ((scaled - norm[:, None]).sum(dim=-1) - log_q.sum(dim=-1)) / others
        value = value + torch.where(some, tail * term, torch.zeros_like(tail))
    return value * temperature**2 if t_squared else value


def dense(options: Sparse, targets: SparseTargets, vocabulary: int) -> torch.Tensor:
    """The distribution that the student is asked for, written out; mass in a rest bucket is spread evenly."""
    weights, tail = probabilities(options, targets)
    ids = targets.ids.long()
    spread = torch.zeros(len(ids), vocabulary, device=ids.device)
    # Unused slots have id 0 and weight 0, as a used one with id 0 may have as well: the larger decides.
    inside = spread.scatter_reduce(-1, ids, (weights > 0).float(), "amax")
    count = (1 - inside).sum(dim=-1, keepdim=True).clamp(min=1)
    return spread.scatter_add(-1, ids, weights) + (1 - inside) * tail[:, None] / count
