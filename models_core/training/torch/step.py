"""`training.step` in PyTorch: one update after the other, in place, and the watch for numbers that are none.

Nothing waits for the device: loss, norm and the step that first met NaN stay on it until somebody reads them.
An optimizer gets its tensors as JAX has them, so that rules which see a whole tensor see the same one: joined kernels
are cut into views, and rules that take PyTorch's first axis for the outputs get the last one turned to the front.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models_core.nn.torch.arrays import fill, to_numpy
from models_core.optim._options import OptimizerOptions
from models_core.optim._probes import places
from models_core.optim.torch import Sophia
from models_core.optim.torch._curvature import products, twice_differentiable
from models_core.optim.torch._probes import signs
from models_core.training.torch.loop import build_optimizer
from models_core.training.torch.optimizers import NATIVE, SLOTS, load_state, state_arrays, state_bytes

# leaves(module, value): what `value` gives for each parameter, as views by the names and in the layouts that JAX has.
Leaves = Callable[[nn.Module, Callable[[nn.Parameter], Tensor]], dict[str, Tensor]]

See = Callable[[Mapping[str, Tensor]], None]


def plain_leaves(module: nn.Module, value: Callable[[nn.Parameter], Tensor]) -> dict[str, Tensor]:
    """Of a module whose parameters are those of JAX."""
    return {name: value(parameter) for name, parameter in module.named_parameters()}


class TrainState:
    """A module in training and everything that a step changes.

    step: updates made. bad_step: the first step whose loss or gradient was not finite, -1 if none. grad_norm: the last
    finite one.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: OptimizerOptions,
        rates: Sequence[float],
        leaves: Leaves = plain_leaves,
    ) -> None:
        """rates: the learning rate of each update."""
        self.module, self._rates, self._options = module, rates, optimizer
        self._parameters = list(module.parameters())
        self._all_leaves = leaves
        # PyTorch's own look at one number at a time: where a kernel ends is nothing to them.
        self._own_leaves = plain_leaves if optimizer.kind in NATIVE else leaves
        # They share their memory with the module's parameters.
        self._views = {name: nn.Parameter(view) for name, view in self._cut(nn.Parameter.detach).items()}
        self.optimizer, self._decay = build_optimizer(optimizer, list(self._views.items()))
        self.step = 0
        device = self._parameters[0].device
        self.bad_step = torch.full((), -1, device=device)
        self.grad_norm = torch.zeros((), device=device)

    def advance(self, loss_of: Callable[[nn.Module], Tensor], see: See | None = None) -> dict[str, Tensor]:
        """One update by the gradient of `loss_of(module)`; returns "loss" and "grad_norm".

        see: gets the gradient, by the names and in the layouts that JAX has.
        """
        twice = isinstance(self.optimizer, Sophia) and self.step % self.optimizer.param_groups[0]["update_every"] == 0
        with twice_differentiable() if twice else contextlib.nullcontext():
            loss = loss_of(self.module)
        grads = torch.autograd.grad(loss, self._parameters, materialize_grads=True, create_graph=twice)
        if twice:
            self._learn_curvature(grads)
            grads = tuple(grad.detach() for grad in grads)
        if see is not None:
            see(self._all_leaves(self.module, dict(zip(self._parameters, grads, strict=True)).__getitem__))
        loss = loss.detach()
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        self._update(grads, self._rates[self.step])
        self.step += 1
        unbroken = self.bad_step < 0
        healthy = torch.isfinite(loss) & torch.isfinite(norm) & unbroken
        self.bad_step = torch.where(healthy | ~unbroken, self.bad_step, self.step)
        self.grad_norm = torch.where(healthy, norm, self.grad_norm)
        return {"loss": loss, "grad_norm": norm}

    def state_bytes(self) -> int:
        """Memory of the optimizer's state. PyTorch makes it with the first update: before it, that of a rehearsal."""
        if self.step:
            return state_bytes(self.optimizer)
        stand_ins = {name: nn.Parameter(view.detach().clone()) for name, view in self._views.items()}
        for parameter in stand_ins.values():
            parameter.grad = torch.zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device)
        rehearsal, _ = build_optimizer(self._options, list(stand_ins.items()))
        if isinstance(rehearsal, Sophia):
            rehearsal.learn({parameter: torch.zeros_like(parameter) for parameter in stand_ins.values()})
        rehearsal.step()
        return state_bytes(rehearsal)

    def params(self) -> dict[str, np.ndarray]:
        """The parameters by the names and in the layouts that JAX has."""
        return {name: to_numpy(view) for name, view in self._all_leaves(self.module, nn.Parameter.detach).items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        found = {f"params.{name}": array for name, array in self.params().items()}
        found |= state_arrays(self.optimizer, range(len(self._views)))
        return found | {
            "step": np.array(self.step),
            "bad_step": to_numpy(self.bad_step),
            "grad_norm": to_numpy(self.grad_norm),
        }

    @torch.no_grad()
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `arrays`; raises CheckpointInvalid that names what is missing, surplus or of another shape."""
        step = torch.zeros((), dtype=torch.int64)
        tensors = {f"params.{name}": x for name, x in self._all_leaves(self.module, nn.Parameter.detach).items()}
        tensors |= {"step": step, "bad_step": self.bad_step, "grad_norm": self.grad_norm}
        fill(tensors, {name: array for name, array in arrays.items() if not name.startswith(SLOTS)})
        self.step = int(step)
        load_state(self.optimizer, range(len(self._views)), arrays)

    def _cut(self, value: Callable[[nn.Parameter], Tensor]) -> dict[str, Tensor]:
        """What `value` gives for the parameters, as the optimizer has them."""
        found = self._own_leaves(self.module, value)
        if not outputs_first(self._options):
            return found
        return {name: leaf.movedim(-1, 0) if leaf.ndim > 1 else leaf for name, leaf in found.items()}

    def _learn_curvature(self, grads: Sequence[Tensor]) -> None:
        """Give the optimizer what it wants to know of the loss beside its gradient, which has a graph."""
        assert isinstance(self.optimizer, Sophia)
        probes = [torch.empty_like(parameter) for parameter in self._parameters]
        cut = self._cut(dict(zip(self._parameters, probes, strict=True)).__getitem__)
        seed = self.optimizer.param_groups[0]["seed"]
        for place, view in zip(places(list(cut)), cut.values(), strict=True):
            view.copy_(signs(seed, self.step, place, view))
        found = zip(probes, products(grads, self._parameters, probes), strict=True)
        estimates = dict(zip(self._parameters, (s * product for s, product in found), strict=True))
        by_name = self._cut(estimates.__getitem__)
        self.optimizer.learn({view: by_name[name] for name, view in self._views.items()})

    @torch.no_grad()
    def _update(self, grads: Sequence[Tensor], rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        cut = self._cut(dict(zip(self._parameters, grads, strict=True)).__getitem__)
        for view, grad in zip(self._views.values(), cut.values(), strict=True):
            # One layout whatever made it, so that statistics have it too and a resumed run rounds as before.
            view.grad = grad.contiguous()
            if self._decay:
                view.mul_(1 - rate * self._decay)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def outputs_first(options: OptimizerOptions) -> bool:
    """Whether the class of these options takes the first axis for the outputs where JAX takes the last."""
    return getattr(options, "order", "") == "fan_in" or getattr(options, "outputs", "") == "framework"
