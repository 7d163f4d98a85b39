"""Second derivatives in PyTorch: what a forward pass needs so that its gradient can be differentiated."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Around a forward pass: attention by its written-out form, the fused ones have no second derivative."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


class GraphKept(TorchFunctionMode):
    """While entered, `loss.backward()` makes gradients that can be differentiated; `called`: whether it was."""

    called = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is not torch.Tensor.backward:
            return func(*args, **given)
        self.called = True
        # In the order of Tensor.backward: (self, gradient, retain_graph, create_graph, inputs).
        named = dict(zip(("gradient", "retain_graph", "create_graph", "inputs"), args[1:], strict=False))
        with warnings.catch_warnings():
            # The cycle between parameters and gradients that it warns of ends where gradients are detached.
            warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
            return func(args[0], **{**named, **given, "create_graph": True})  # type: ignore[no-untyped-call]


def products(
    gradients: Sequence[torch.Tensor | None], parameters: Sequence[torch.Tensor], probes: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """H s: the derivative of the gradients' product with the probes, by each parameter; frees the graph.

    gradients: made with create_graph; None, or one without a graph, depends on nothing.
    """
    kept = [(g, s) for g, s in zip(gradients, probes, strict=True) if g is not None and g.requires_grad]
    if not kept:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found = torch.autograd.grad(
        [g for g, _ in kept], parameters, [s.to(g.dtype) for g, s in kept], allow_unused=True, materialize_grads=True
    )
    return list(found)
