"""What the PyTorch twins share: options checked by the same declaration, state that survives a save bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, NamedTuple, overload

import torch

from models_core.errors import CoreError
from models_core.optim._options import OptimizerOptions

State = dict[str, Any]


class Update(NamedTuple):
    """w -= lr scale tensor; weight decay is of the parameters before it, after it, or none (already in the tensor)."""

    tensor: torch.Tensor
    scale: float = 1.0
    decay: Literal["before", "after", "none"] = "before"


class UnsupportedParameter(CoreError):
    """A parameter or its gradient has a type that this optimizer does not take."""

    code = "optim.unsupported_parameter"


class Twin(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose parameter groups hold the fields of an optimizer's `Options`.

    Raises SpecInvalid that names the field for options out of range, UnsupportedParameter for complex parameters and
    sparse gradients. A schedule may set a group's "lr" to any value, 0 included.
    """

    options_type: ClassVar[type[OptimizerOptions]]

    def __init__(self, params: Iterable[Any], lr: float | None = None, **options: Any) -> None:
        given = options if lr is None else {"lr": lr, **options}
        parsed = self.options_type.parse({"kind": self.kind(), **given})
        super().__init__(params, parsed.model_dump(exclude={"kind"}))

    @classmethod
    def kind(cls) -> str:
        """The optimizer's name, that of its file."""
        return str(cls.options_type.model_fields["kind"].default)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in PyTorch; the group's options are checked first."""
        fields = set(self.options_type.model_fields) - {"kind"}
        own = {name: value for name, value in param_group.items() if name in fields}
        self.options_type.parse({"kind": self.kind(), **self.defaults, **own})
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            if parameter.is_complex():
                self.param_groups.pop()
                raise UnsupportedParameter(
                    f"{type(self).__name__} takes real parameters; view complex ones as real (torch.view_as_real).",
                    fields={"params": f"Is {parameter.dtype}."},
                )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient; `closure` is evaluated before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            options = self.options_type.model_construct(
                **{name: value for name, value in group.items() if name in self.options_type.model_fields}
            )
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise UnsupportedParameter(
                        f"{type(self).__name__} takes dense gradients.", fields={"params": "Has a sparse gradient."}
                    )
                self._advance(options, parameter)
        return loss

    def _advance(self, options: Any, parameter: torch.Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state: State = self.state[parameter]
        exact = gradient.to(torch.float64 if gradient.dtype == torch.float64 else torch.float32)
        if not state:
            state["step"] = 0
            if parameter.numel():
                self.begin(options, exact, state, parameter)
        state["step"] += 1
        if not parameter.numel():
            return
        update = self.direction(options, exact, state, parameter)
        shrink = 1 - options.lr * getattr(options, "weight_decay", 0.0)
        if update.decay == "before" and shrink != 1:
            parameter.mul_(shrink)
        parameter.add_(update.tensor.view_as(parameter).to(parameter.dtype), alpha=-options.lr * update.scale)
        if update.decay == "after" and shrink != 1:
            parameter.mul_(shrink)

    def begin(self, options: Any, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        """Put the tensors of a fresh state into `state`, in the gradient's dtype and on its device."""
        raise NotImplementedError

    def direction(self, options: Any, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        """Advance `state` and say where to go; `state["step"]` counts this update already."""
        raise NotImplementedError

    def name_of(self, parameter: torch.Tensor) -> str:
        """The name that came with a parameter (`model.named_parameters()`), or "" if none did."""
        for group in self.param_groups:
            for own, name in zip(group["params"], group.get("param_names", ()), strict=False):
                if own is parameter:
                    return str(name)
        return ""

    def state_bytes(self) -> int:
        """Memory of the tensors in the state, in bytes."""
        return sum(
            value.numel() * value.element_size()
            for state in self.state.values()
            for value in state.values()
            if torch.is_tensor(value)
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in PyTorch, but statistics keep the dtype they were saved in: a bfloat16 parameter's are float32."""
        super().load_state_dict(state_dict)
        saved = itertools.chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        own = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
        for name, parameter in zip(saved, own, strict=True):
            if name in state_dict["state"]:
                self.state[parameter] = {
                    key: value.detach().to(parameter.device, copy=True) if torch.is_tensor(value) else value
                    for key, value in state_dict["state"][name].items()
                }
                # Checkpoints that hold arrays only give the count back as one.
                self.state[parameter]["step"] = int(self.state[parameter]["step"])
