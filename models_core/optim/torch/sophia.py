"""Sophia in PyTorch: see `models_core.optim.sophia` for the rule, its source and what deviates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, overload

import torch

from models_core.optim._probes import places
from models_core.optim.sophia import LossNeeded, Options
from models_core.optim.torch._curvature import GraphKept, products, twice_differentiable
from models_core.optim.torch._probes import signs
from models_core.optim.torch._twin import State, Twin, Update


class Sophia(Twin):
    """Momentum over the Hessian's diagonal, clipped.

    `step` takes a closure as that of torch.optim.LBFGS: it clears the gradients, computes the loss, calls `backward()`
    on it and returns it. Where curvature is due, every `update_every` steps from the first on, that backward pass keeps
    its graph and is differentiated; in other steps the closure may be left out. Gradients of tensors that are not this
    optimizer's keep the graph too, until they are cleared. Raises LossNeeded that names the closure.

    Random signs go by the place of a parameter: that of its name in a tree if names are given
    (`Sophia(model.named_parameters())`), then the same as in JAX, else that among all parameters.
    """

    options_type: ClassVar[type[Options]] = Options

    def __init__(self, params: Iterable[Any], lr: float | None = None, **options: Any) -> None:
        # Estimates for the next step, by parameter.
        self._given: dict[torch.Tensor, torch.Tensor] = {}
        super().__init__(params, lr, **options)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns the closure's loss."""
        wanted = {parameter: probe for parameter, probe in self._wanted() if parameter not in self._given}
        if closure is None:
            if any(parameter.grad is not None for parameter in wanted):
                raise LossNeeded(
                    "Sophia differentiates the loss once more: call step(closure), where closure() clears the "
                    "gradients, computes the loss, calls backward() on it and returns it.",
                    fields={"closure": "Is missing in a step where curvature is due."},
                )
            return self._stepped(None)
        if not wanted:
            return self._stepped(closure)
        with twice_differentiable(), GraphKept() as kept:
            loss = closure()
        if not kept.called:
            raise LossNeeded(
                "Sophia's closure computed a loss without its gradient.",
                fields={"closure": "Must call loss.backward()."},
            )
        self.learn(self._estimates(wanted))
        self._stepped(None)
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._given = {}

    def learn(self, estimates: Mapping[torch.Tensor, torch.Tensor]) -> None:
        """Take estimates of the Hessian's diagonal for the next step, which then needs no closure.

        For loops that see a batch in parts, or by several processes. estimates: by parameter.
        """
        self._given.update(estimates)

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["mean"] = torch.zeros_like(gradient)
        state["curvature"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        mean = state["mean"].lerp_(gradient, 1 - options.beta1)
        if options.convention == "paper":
            self._absorb(options, state, parameter)
        u = mean / (options.gamma * state["curvature"]).clamp_(min=options.eps)
        if options.convention == "optax":
            u /= 1 - options.beta1 ** state["step"]
            self._absorb(options, state, parameter)
        return Update(u.clamp_(-options.rho, options.rho))

    def _absorb(self, options: Options, state: State, parameter: torch.Tensor) -> None:
        if _due(state["step"] - 1, options.update_every):
            h = state["curvature"]
            estimate = self._given.pop(parameter).to(h.dtype)
            h.lerp_(torch.where(estimate.isfinite(), estimate, h), 1 - options.beta2)

    def _stepped(self, closure: Any) -> Any:
        try:
            return super().step(closure)
        finally:
            # An estimate is of this step, also where its parameter had no gradient.
            self._given.clear()

    def _wanted(self) -> Iterable[tuple[torch.Tensor, Callable[[], torch.Tensor]]]:
        """The parameters whose curvature is due, and what makes their signs."""
        names = [name for group in self.param_groups for name in group.get("param_names", ())]
        numbers = iter(places(names)) if names else itertools.count()
        for group in self.param_groups:
            for parameter, place in zip(group["params"], numbers, strict=False):
                count = self.state[parameter]["step"] if parameter in self.state else 0
                if parameter.numel() and _due(count, group["update_every"]):
                    yield parameter, _probe(group["seed"], count, place, parameter)

    def _estimates(self, wanted: Mapping[torch.Tensor, Callable[[], torch.Tensor]]) -> dict[torch.Tensor, torch.Tensor]:
        """From gradients with a graph, which they lose."""
        parameters = [parameter for parameter in wanted if parameter.grad is not None]
        probes = [wanted[parameter]() for parameter in parameters]
        found = products([parameter.grad for parameter in parameters], parameters, probes)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = parameter.grad.detach()
        return {parameter: s * product for parameter, s, product in zip(parameters, probes, found, strict=True)}


def _due(updates: int, every: int) -> bool:
    return updates % every == 0


def _probe(seed: int, count: int, place: int, parameter: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: signs(seed, count, place, parameter)
