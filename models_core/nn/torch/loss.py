"""PyTorch twin of `nn.loss`: the gradient is taken in the forward pass, slice by slice.

For a second derivative it is taken once more in the backward pass, from all logits at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models_core.errors import InputInvalid
from models_core.nn.torch.linear import product

# Tokens whose logits exist at once: on a processor they should stay in its cache.
CHUNK = 512


def next_token_loss(
    x: Tensor,
    embedding: Tensor,
    targets: Tensor,
    valid: Tensor | None = None,
    *,
    chunk: int = CHUNK,
    logit_soft_cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean negative log-likelihood of `targets` in nats, and the number of valid tokens; see `nn.loss`."""
    weight = torch.ones(targets.shape, device=x.device) if valid is None else valid.float()
    count = weight.sum()
    total = next_token_sum(x, embedding, targets, weight, chunk=chunk, logit_soft_cap=logit_soft_cap)
    return total / count.clamp(min=1), count


def next_token_sum(
    x: Tensor,
    embedding: Tensor,
    targets: Tensor,
    weight: Tensor,
    *,
    chunk: int = CHUNK,
    logit_soft_cap: float | None = None,
) -> Tensor:
    """Sum of the weighted negative log-likelihoods; weights get no gradient."""
    if chunk < 1:
        raise InputInvalid("The loss needs a chunk.", fields={"chunk": "At least 1."})
    rows, wanted, counts = x.flatten(0, 1), targets.flatten().long(), weight.detach().float().flatten()
    kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else None
    if kind is not None:
        # The function below computes in the format that autocast would give its products.
        rows, embedding = rows.to(kind), embedding.to(kind)
    with torch.autocast(x.device.type, enabled=False):
        total: Tensor = _Total.apply(rows, embedding, wanted, counts, chunk, logit_soft_cap)  # type: ignore[no-untyped-call]
    return total


class _Total(torch.autograd.Function):
    """Sum over slices of rows."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, embedding: Tensor, wanted: Tensor, counts: Tensor, chunk: int, cap: float | None
    ) -> Tensor:
        total = rows.new_zeros((), dtype=torch.float32)
        d_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] or ctx.needs_input_grad[1] else None
        d_embedding = None if d_rows is None else torch.zeros(embedding.shape, device=rows.device)
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            logits = product(rows[part], embedding).float()
            bent = None
            if cap is not None:
                logits = torch.tanh(logits / cap) * cap
                bent = 1 - (logits / cap).square()
            log_z = logits.logsumexp(-1)
            right = logits.gather(1, wanted[part, None])[:, 0]
            # A place that does not count may hold infinity.
            total += torch.where(counts[part] > 0, (log_z - right) * counts[part], 0.0).sum()
            if d_rows is None or d_embedding is None:
                continue
            d_logits = logits.sub_(log_z[:, None]).exp_()
            d_logits.scatter_add_(1, wanted[part, None], -torch.ones_like(right)[:, None])
            d_logits.mul_(counts[part, None])
            d_logits = (d_logits if bent is None else d_logits.mul_(bent)).to(rows.dtype)
            d_rows[part] = product(d_logits, embedding.T)
            if d_embedding.dtype == d_logits.dtype:
                d_embedding.addmm_(d_logits.T, rows[part])
            else:
                d_embedding += (d_logits.T @ rows[part]).float()
        if d_rows is not None and d_embedding is not None:
            ctx.save_for_backward(d_rows, d_embedding.to(embedding.dtype), rows, embedding, wanted, counts)
            ctx.cap = cap
        return total

    @staticmethod
    def backward(ctx: Any, d_total: Tensor) -> Any:
        d_rows, d_embedding, rows, embedding, wanted, counts = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A graph of the gradient is wanted: what the forward pass left has none.
            d_rows, d_embedding = _gradients(rows, embedding, wanted, counts, ctx.cap)
        return d_rows * d_total.to(d_rows.dtype), d_embedding * d_total.to(d_embedding.dtype), None, None, None, None


def _gradients(
    rows: Tensor, embedding: Tensor, wanted: Tensor, counts: Tensor, cap: float | None
) -> tuple[Tensor, Tensor]:
    """As in the forward pass, differentiable."""
    logits = (rows @ embedding.T).float()
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    d_logits = (logits.softmax(-1) - torch.nn.functional.one_hot(wanted, len(embedding))) * counts[:, None]
    if cap is not None:
        d_logits = d_logits * (1 - (logits / cap).square())
    d_logits = d_logits.to(rows.dtype)
    return d_logits @ embedding, d_logits.T @ rows
