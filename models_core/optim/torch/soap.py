"""SOAP in PyTorch: see `models_core.optim.soap` for the rule, its source and what deviates."""

from __future__ import annotations

import torch

from models_core.optim.soap import Options, turned
from models_core.optim.torch._dense_roots import along, gram
from models_core.optim.torch._twin import State, Twin, Update


class SOAP(Twin):
    """Adam in the eigenbasis of Shampoo's factors."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["mean"] = torch.zeros_like(gradient)
        state["square"] = torch.zeros_like(gradient)
        shape, fits = turned(options, tuple(gradient.shape))
        for i, (d, fit) in enumerate(zip(shape, fits, strict=True)):
            if fit:
                state[f"factor{i}"] = gradient.new_zeros(d, d)
                state[f"basis{i}"] = torch.eye(d, dtype=gradient.dtype, device=gradient.device)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        shape, fits = turned(options, tuple(gradient.shape))
        axes = [i for i, fit in enumerate(fits) if fit]
        g, t = gradient.reshape(shape), state["step"] - 1
        beta = options.beta2 if options.shampoo_beta is None else options.shampoo_beta
        update = Update(torch.zeros_like(g), decay="none")
        if t > 0:
            update = self._moved(options, g, t, axes, state)
        for i in axes:
            state[f"factor{i}"].mul_(beta).add_(gram(g, i), alpha=1 - beta)
            if t == 0:
                state[f"basis{i}"] = _eigenbasis(state[f"factor{i}"])
        if t > 0 and t % options.update_every == 0:
            square = state["square"].reshape(shape)
            for i in axes:
                factor, basis = state[f"factor{i}"], state[f"basis{i}"]
                order = torch.argsort(-(basis * (factor @ basis)).sum(0), stable=True)
                square = square.index_select(i, order)
                state[f"basis{i}"] = determined(factor @ basis[:, order])
            state["square"] = square.reshape(gradient.shape)
        return update

    @staticmethod
    def _moved(options: Options, g: torch.Tensor, t: int, axes: list[int], state: State) -> Update:
        """The step, for update t after the first."""

        def turn(x: torch.Tensor, *, back: bool = False) -> torch.Tensor:
            for i in axes:
                x = along(x, state[f"basis{i}"] if back else state[f"basis{i}"].T, i)
            return x

        mean = state["mean"].view(g.shape).mul_(options.beta1).add_(g, alpha=1 - options.beta1)
        there = turn(g)
        square = state["square"].view(g.shape).mul_(options.beta2).addcmul_(there, there, value=1 - options.beta2)
        u = turn(turn(mean) / square.sqrt().add_(options.eps), back=True)
        if options.normalize:
            u = u / (1e-30 + (u * u).mean().sqrt())
        scale = (1 - options.beta2**t) ** 0.5 / (1 - options.beta1**t) if options.bias_correction else 1.0
        return Update(u, scale, decay="after")


def _eigenbasis(factor: torch.Tensor) -> torch.Tensor:
    """Eigenvectors by falling eigenvalue, completed where the factor says nothing."""
    values, vectors = torch.linalg.eigh(factor)
    tiny = torch.finfo(values.dtype).eps * values.numel() * values[-1]
    q: torch.Tensor = torch.linalg.qr((vectors * (values > tiny)).flip(1))[0]
    return q


def determined(columns: torch.Tensor) -> torch.Tensor:
    """As in JAX: the orthogonal factor, without what depends on rounding alone."""
    q, r = torch.linalg.qr(columns)
    size = r.diagonal().abs()
    sound = size > torch.finfo(size.dtype).eps * size.numel() * size.max()
    completed: torch.Tensor = torch.linalg.qr(q * sound)[0]
    return completed
