"""PyTorch twin of `nn.loss`: next-token loss over chunks of tokens, each chunk's logits computed again going back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from models_core.errors import InputInvalid


def next_token_loss(
    x: Tensor,
    embedding: Tensor,
    targets: Tensor,
    valid: Tensor | None = None,
    *,
    chunk: int = 1024,
    logit_soft_cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean negative log-likelihood of `targets` in nats, and the number of valid tokens; see `nn.loss`."""
    if chunk < 1:
        raise InputInvalid("The loss needs a chunk.", fields={"chunk": "At least 1."})
    rows, wanted = x.flatten(0, 1), targets.flatten()
    if valid is not None:
        wanted = wanted.masked_fill(~valid.flatten(), -100)

    def part(rows: Tensor, wanted: Tensor) -> Tensor:
        logits = F.linear(rows, embedding).float()
        if logit_soft_cap is not None:
            logits = torch.tanh(logits / logit_soft_cap) * logit_soft_cap
        return F.cross_entropy(logits, wanted, reduction="sum")

    count = (wanted != -100).sum()
    if len(wanted) <= chunk:
        return part(rows, wanted) / count.clamp(min=1), count
    total = rows.new_zeros((), dtype=torch.float32)
    for some, right in zip(torch.split(rows, chunk), torch.split(wanted, chunk), strict=True):
        total = total + checkpoint(part, some, right, use_reentrant=False)
    return total / count.clamp(min=1), count
