"""Feature matching in PyTorch: see `models_core.distill.features`, whose projections and distances these are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models_core.distill.options import Features


def distance_tokens(
    options: Features,
    projections: Sequence[torch.Tensor],
    student: Sequence[torch.Tensor],
    teacher: Sequence[torch.Tensor],
) -> torch.Tensor:
    """The mean distance over the pairs, of every token; states (..., width), projections (student width, teacher's)."""
    total = torch.zeros(student[0].shape[:-1], device=student[0].device)
    for (mine, theirs), projection in zip(options.layers, projections, strict=True):
        ours, wanted = student[mine].float() @ projection, teacher[theirs].detach().float()
        if options.distance == "mse":
            total = total + (ours - wanted).square().mean(dim=-1)
        else:
            norms = (ours.square().sum(dim=-1) * wanted.square().sum(dim=-1) + 1e-12).sqrt()
            total = total + 1 - (ours * wanted).sum(dim=-1) / norms
    return total / len(projections)
