"""`training.loop` in PyTorch: accumulation, clipping, schedule, moving average, precision, and a policy for NaN.

Deviates: under "mixed_bfloat16" products run under autocast, which keeps norms and the softmax in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from models_core.errors import CheckpointInvalid, NonFinite, SpecInvalid
from models_core.nn.torch.arrays import to_numpy, to_tensor
from models_core.optim._options import OptimizerOptions
from models_core.optim._probes import places
from models_core.optim.torch._curvature import products, twice_differentiable
from models_core.optim.torch._probes import signs
from models_core.optim.torch.sophia import Sophia
from models_core.training.options import LoopOptions
from models_core.training.torch.optimizers import AVAILABLE, SLOTS, load_state, state_arrays, twin
from models_core.training.torch.team import Team

Batch = Mapping[str, torch.Tensor]
# sums_fn(model, batch) -> (sum of losses over valid tokens, their number, further sums).
SumsFn = Callable[[torch.nn.Module, Batch], tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]]


class Loop:
    """A model in training and everything that a step changes."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: OptimizerOptions,
        schedule: Callable[[int], float],
        options: LoopOptions,
        sums_fn: SumsFn,
        team: Team | None = None,
    ) -> None:
        """team: the processes whose sums are one gradient; this one then updates the parameters that it owns."""
        self._team = team
        self.options, self.schedule, self._sums = options, schedule, sums_fn
        self.model = model.to(getattr(torch, options.precision.params))
        named = list(self.model.named_parameters())
        self._owned = [index for index in range(len(named)) if team is None or team.owns(index)]
        among = places([name for name, _ in named])
        self._places = [among[index] for index, (_, parameter) in enumerate(named) if parameter.requires_grad]
        self.optimizer, self._decay = build_optimizer(optimizer, [named[index] for index in self._owned])
        self.step_number = self.updates = self.skipped = self.in_a_row = 0
        self.bad_step = -1
        self.ema: dict[str, torch.Tensor] | None = None
        self.restart_average()

    def restart_average(self) -> None:
        """Let the moving average, if there is one, begin at the parameters as they are."""
        if self.options.ema_decay is not None:
            accumulate = getattr(torch, self.options.precision.accumulate)
            self.ema = {name: p.detach().to(accumulate, copy=True) for name, p in self.model.named_parameters()}

    def step(self, micro_batches: Sequence[Batch]) -> dict[str, float]:
        """One update from the micro-batches; metrics as those of `training.loop.compile_step`."""
        precision = self.options.precision
        accumulate = getattr(torch, precision.accumulate)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        probes = self._probes(parameters)
        sums: dict[str, torch.Tensor] = {}
        grads: list[torch.Tensor] = []
        curvature: list[torch.Tensor] = []
        for batch in micro_batches:
            with self._autocast(), twice_differentiable() if probes else contextlib.nullcontext():
                loss, count, extra = self._sums(self.model, batch)
            parts = torch.autograd.grad(
                loss.to(getattr(torch, precision.output)), parameters, allow_unused=True, create_graph=bool(probes)
            )
            if probes:
                curvature = _added(curvature, _own(products(parts, parameters, probes), parameters, accumulate))
                parts = tuple(None if part is None else part.detach() for part in parts)
            grads = _added(grads, _own(parts, parameters, accumulate))
            for key, value in {"loss": loss, "valid": count, **extra}.items():
                held = value.detach().float()
                sums[key] = sums[key] + held if key in sums else held
        if self._team is not None:
            grads = self._team.sum(grads)
            curvature = self._team.sum(curvature) if probes else curvature
            sums = dict(zip(sums, self._team.sum(list(sums.values())), strict=True))
        count = sums.pop("valid")
        torch._foreach_div_(grads, count)
        metrics = {key: float(value / count) for key, value in sums.items()}
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)).float()))
        self.step_number += 1
        finite = bool(np.isfinite(metrics["loss"]) and np.isfinite(norm))
        if not finite:
            self.bad_step = self.step_number if self.bad_step < 0 else self.bad_step
        self.skipped += not finite
        self.in_a_row = 0 if finite else self.in_a_row + 1
        if finite or self.options.on_non_finite == "stop":
            clip = self.options.clip
            factor = 1.0 if clip is None else min(1.0, clip / max(norm, 1e-30))
            if isinstance(self.optimizer, Sophia) and probes:
                estimates = [s * product / count for s, product in zip(probes, curvature, strict=True)]
                self.optimizer.learn(dict(zip(parameters, estimates, strict=True)))
            self._update(parameters, grads, factor)
        return {**metrics, "grad_norm": norm, "valid": float(count)}

    def check(self, what: str = "Training") -> None:
        """Raise NonFinite as `training.loop.check` does."""
        if self.options.on_non_finite == "stop" and self.bad_step >= 0:
            raise NonFinite(
                f"{what} met NaN or infinity at step {self.bad_step}. A smaller learning rate, clipping or a longer "
                "warm-up may help."
            )
        if self.in_a_row > self.options.most_skips:
            raise NonFinite(
                f"{what} met NaN or infinity in {self.in_a_row} steps in a row, the last at step {self.step_number}, "
                f"and leaves out at most {self.options.most_skips}."
            )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint: parameters, optimizer state, moving average, counters."""
        found = {f"params.{name}": to_numpy(p) for name, p in self.model.named_parameters()}
        found |= self.optimizer_arrays()
        for name, mean in (self.ema or {}).items():
            found[f"ema.{name}"] = to_numpy(mean)
        return found | {"counters": np.array(self._counters(), np.int64)}

    def optimizer_arrays(self) -> dict[str, np.ndarray]:
        """The optimizer's state, by the numbers of the parameters that this process owns."""
        return state_arrays(self.optimizer, self._owned)

    @torch.no_grad()
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `arrays`; raises CheckpointInvalid that names what is missing, surplus or of another shape."""
        expected: dict[str, torch.Tensor] = {f"params.{name}": p for name, p in self.model.named_parameters()}
        expected |= {f"ema.{name}": mean for name, mean in (self.ema or {}).items()}
        slots = {name for name in arrays if name.startswith(SLOTS)}
        for name in sorted((set(arrays) - slots - {"counters"}) ^ set(expected)):
            raise CheckpointInvalid(f"The array {name} is {'not expected' if name in arrays else 'missing'} here.")
        if "counters" not in arrays or arrays["counters"].shape != (len(self._counters()),):
            raise CheckpointInvalid("The array counters is missing or of another shape.")
        for name, target in expected.items():
            value = to_tensor(arrays[name])
            if value.shape != target.shape or value.dtype != target.dtype:
                raise CheckpointInvalid(
                    f"The array {name} is {value.dtype}{list(value.shape)}, "
                    f"expected {target.dtype}{list(target.shape)}."
                )
            target.copy_(value)
        load_state(self.optimizer, self._owned, arrays)
        numbers = [int(value) for value in arrays["counters"]]
        self.step_number, self.updates, self.bad_step, self.skipped, self.in_a_row = numbers

    def _probes(self, parameters: list[torch.nn.Parameter]) -> list[torch.Tensor]:
        """Random signs by parameter where the next update wants curvature along them; the same in every process."""
        if not isinstance(self.optimizer, Sophia):
            return []
        group = self.optimizer.param_groups[0]
        if self.updates % group["update_every"]:
            return []
        return [signs(group["seed"], self.updates, *pair) for pair in zip(self._places, parameters, strict=True)]

    def _counters(self) -> list[int]:
        return [self.step_number, self.updates, self.bad_step, self.skipped, self.in_a_row]

    @torch.no_grad()
    def _update(self, parameters: list[torch.nn.Parameter], grads: list[torch.Tensor], factor: float) -> None:
        rate = self.schedule(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if factor != 1.0:
            torch._foreach_mul_(grads, factor)
        for index, (parameter, grad) in enumerate(zip(parameters, grads, strict=True)):
            if self._team is not None and not self._team.owns(index):
                continue
            parameter.grad = grad.to(parameter.dtype)
            if self._decay:
                parameter.mul_(1 - rate * self._decay)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self._team is not None:
            self._team.share(parameters)
        self.updates += 1
        if self.ema is not None and self.options.ema_decay is not None:
            decay = self.options.ema_decay
            for name, parameter in self.model.named_parameters():
                self.ema[name].mul_(decay).add_(parameter.to(self.ema[name].dtype), alpha=1 - decay)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        precision = self.options.precision
        if precision.compute == precision.params:
            return contextlib.nullcontext()
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, dtype=getattr(torch, precision.compute))


class Averaged:
    """While entered, the model has its moving average for parameters, if there is one."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._kept: dict[str, torch.Tensor] = {}

    def __enter__(self) -> None:
        self._swap({name: mean.clone() for name, mean in (self._loop.ema or {}).items()})

    def __exit__(self, *_: object) -> None:
        self._swap(self._kept)

    @torch.no_grad()
    def _swap(self, values: Mapping[str, torch.Tensor]) -> None:
        if not values:
            return
        named = dict(self._loop.model.named_parameters())
        self._kept = {name: parameter.detach().clone() for name, parameter in named.items()}
        for name, parameter in named.items():
            parameter.copy_(values[name])


def build_optimizer(options: OptimizerOptions, parameters: Any) -> tuple[torch.optim.Optimizer, float]:
    """The optimizer for `options`, and the decoupled weight decay that the loop applies itself.

    parameters: with their names, as `named_parameters()` gives them. PyTorch's own, fused, for adam and sgd; for the
    others the classes of `models_core.optim.torch`, which see to their decay themselves.
    """
    fields: dict[str, Any] = options.model_dump(exclude={"kind"})
    decay = float(fields.get("weight_decay", 0.0))
    match options.kind:
        case "adam":
            betas = (fields["beta1"], fields["beta2"])
            adam = torch.optim.AdamW(
                parameters, lr=options.lr, betas=betas, eps=fields["eps"], weight_decay=decay, fused=True
            )
            return adam, 0.0
        case "sgd":
            # Without momentum PyTorch refuses nesterov, which then changes nothing.
            momentum = fields["momentum"]
            nesterov = fields["nesterov"] and momentum > 0
            sgd = torch.optim.SGD(parameters, lr=options.lr, momentum=momentum, nesterov=nesterov, fused=True)
            return sgd, decay
        case kind:
            found = twin(kind)
            if found is None:
                raise SpecInvalid(
                    f"The optimizer {kind} is not available in PyTorch here.",
                    fields={"optimizer.kind": f"With PyTorch: {', '.join(AVAILABLE)}."},
                )
            return found(parameters, **fields), 0.0


def _added(sums: list[torch.Tensor], more: list[torch.Tensor]) -> list[torch.Tensor]:
    if sums:
        torch._foreach_add_(sums, more)
    return sums or more


def _own(
    parts: Sequence[torch.Tensor | None], parameters: Sequence[torch.nn.Parameter], dtype: torch.dtype
) -> list[torch.Tensor]:
    """Gradients that may be changed in place: none missing, none shared, in the format of sums."""
    own: list[torch.Tensor] = []
    for part, parameter in zip(parts, parameters, strict=True):
        if part is None:
            own.append(torch.zeros_like(parameter, dtype=dtype))
            continue
        cast = part.to(dtype).contiguous()
        # autograd hands out one tensor for several parameters where their gradients are the same.
        own.append(cast.clone() if any(cast.data_ptr() == other.data_ptr() for other in own) else cast)
    return own
