"""`training.loop` in PyTorch: accumulation, clipping, schedule, moving average, precision, and a policy for NaN.

Deviates: under "mixed_bfloat16" products run under autocast, which keeps norms and the softmax in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from models_core.errors import CheckpointInvalid, NonFinite
from models_core.nn.torch.arrays import to_numpy, to_tensor
from models_core.optim import torch as twins
from models_core.optim._options import OptimizerOptions
from models_core.training.options import LoopOptions

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
    ) -> None:
        self.options, self.schedule, self._sums = options, schedule, sums_fn
        self.model = model.to(getattr(torch, options.precision.params))
        self.optimizer, self._decay = build_optimizer(optimizer, self.model.named_parameters())
        self.step_number = self.updates = self.skipped = self.in_a_row = 0
        self.bad_step = -1
        accumulate = getattr(torch, options.precision.accumulate)
        self.ema: dict[str, torch.Tensor] | None = None
        if options.ema_decay is not None:
            self.ema = {name: p.detach().to(accumulate, copy=True) for name, p in self.model.named_parameters()}

    def step(self, micro_batches: Sequence[Batch]) -> dict[str, float]:
        """One update from the micro-batches; metrics as those of `training.loop.compile_step`."""
        precision = self.options.precision
        accumulate = getattr(torch, precision.accumulate)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        sums: dict[str, torch.Tensor] = {}
        grads = [torch.zeros_like(p, dtype=accumulate) for p in parameters]
        for batch in micro_batches:
            with self._autocast():
                loss, count, extra = self._sums(self.model, batch)
            parts = torch.autograd.grad(loss.to(getattr(torch, precision.output)), parameters, allow_unused=True)
            for grad, part in zip(grads, parts, strict=True):
                if part is not None:
                    grad.add_(part.to(accumulate))
            for key, value in {"loss": loss, "valid": count, **extra}.items():
                sums[key] = sums.get(key, torch.zeros(())) + value.detach().float()
        count = sums.pop("valid")
        for grad in grads:
            grad.div_(count)
        metrics = {key: float(value / count) for key, value in sums.items()}
        norm = float(torch.sqrt(sum((g.float().square().sum() for g in grads), torch.zeros(()))))
        self.step_number += 1
        finite = bool(np.isfinite(metrics["loss"]) and np.isfinite(norm))
        if not finite:
            self.bad_step = self.step_number if self.bad_step < 0 else self.bad_step
        self.skipped += not finite
        self.in_a_row = 0 if finite else self.in_a_row + 1
        if finite or self.options.on_non_finite == "stop":
            clip = self.options.clip
            factor = 1.0 if clip is None else min(1.0, clip / max(norm, 1e-30))
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
        for index, slots in self.optimizer.state_dict()["state"].items():
            found |= {
                f"optimizer.{index}.{slot}": to_numpy(torch.as_tensor(value))
                for slot, value in slots.items()
                if value is not None
            }
        for name, mean in (self.ema or {}).items():
            found[f"ema.{name}"] = to_numpy(mean)
        return found | {"counters": np.array(self._counters(), np.int64)}

    @torch.no_grad()
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `arrays`; raises CheckpointInvalid that names what is missing, surplus or of another shape."""
        expected: dict[str, torch.Tensor] = {f"params.{name}": p for name, p in self.model.named_parameters()}
        expected |= {f"ema.{name}": mean for name, mean in (self.ema or {}).items()}
        slots = {name for name in arrays if name.startswith("optimizer.")}
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
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name in slots:
            _, index, slot = name.split(".", 2)
            state.setdefault(int(index), {})[slot] = to_tensor(arrays[name])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        numbers = [int(value) for value in arrays["counters"]]
        self.step_number, self.updates, self.bad_step, self.skipped, self.in_a_row = numbers

    def _counters(self) -> list[int]:
        return [self.step_number, self.updates, self.bad_step, self.skipped, self.in_a_row]

    @torch.no_grad()
    def _update(self, parameters: list[torch.nn.Parameter], grads: list[torch.Tensor], factor: float) -> None:
        rate = self.schedule(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = (grad * factor).to(parameter.dtype)
            if self._decay:
                parameter.mul_(1 - rate * self._decay)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
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
    """The optimizer for `options`, and the decoupled weight decay that the loop has to apply itself.

    parameters: with their names, as `named_parameters()` gives them. Adam and SGD are PyTorch's own, fused kernels and
    all; every other one is our class and sees to its decay itself.
    """
    fields: dict[str, Any] = options.model_dump(exclude={"kind"})
    decay = float(fields.get("weight_decay", 0.0))
    match options.kind:
        case "adam":
            betas = (fields["beta1"], fields["beta2"])
            return torch.optim.Adam(parameters, lr=options.lr, betas=betas, eps=fields["eps"]), decay
        case "sgd":
            # Without momentum PyTorch refuses nesterov, which then changes nothing.
            momentum = fields["momentum"]
            nesterov = fields["nesterov"] and momentum > 0
            return torch.optim.SGD(parameters, lr=options.lr, momentum=momentum, nesterov=nesterov), decay
        case other:
            classes = {cls.kind(): cls for name in twins.__all__ for cls in [getattr(twins, name)]}
            return classes[other](parameters, **fields), 0.0
