"""A decoder trained on text as a phase of a run, in PyTorch: `training.teachers.teacher_phase`, step for step.

Weights begin as JAX draws them, so that a run is the same run in either framework, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import torch

from models_core.data.order import BatchOrder
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.nn.torch.decoder import Decoder
from models_core.optim._options import OptimizerOptions
from models_core.training.options import LoopOptions
from models_core.training.phases import Keeping, Phase
from models_core.training.teachers import METRICS
from models_core.training.torch.loop import Batch, Loop, SumsFn
from models_core.training.torch.schedules import warmup_then_decay

ROWS_AT_ONCE = 64


class State:
    """A loop as the state of a phase: steps change it in place."""

    def __init__(
        self, model: torch.nn.Module, optimizer: OptimizerOptions, *, steps: int, warmup_steps: int, sums: SumsFn
    ) -> None:
        schedule = warmup_then_decay(optimizer.lr, steps=steps, warmup_steps=warmup_steps, decay="cosine")
        self.loop = Loop(model, optimizer, schedule, LoopOptions(), sums)

    @property
    def params(self) -> Any:
        """The module in training."""
        return self.loop.model


def _restored(arrays: Mapping[str, np.ndarray], state: State) -> State:
    own = {name.removeprefix("state."): array for name, array in arrays.items() if name.startswith("state.")}
    state.loop.restore(own)
    return state


KEEPING = Keeping(
    wait=lambda state: None,
    check=lambda state, what: state.loop.check(what),
    arrays=lambda state: {f"state.{name}": array for name, array in state.loop.arrays().items()},
    restored=_restored,
)


def device() -> str:
    """Where modules and batches are."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fresh(key: jax.Array, config: DecoderConfig, rows: int) -> Decoder:
    """A decoder with the weights that `nn.decoder.init` draws."""
    return Decoder(config, rows).load_tree(jax.device_get(decoder.init(key, config, rows))).to(device())


def dropless(model: Decoder) -> Decoder:
    """The model with room for every token in its experts, see `DecoderConfig.dropless`; the same parameters."""
    if model.config.expert_capacity is None:
        return model
    roomy = Decoder(model.config.dropless, model.embedding.shape[0], device="meta")
    roomy.load_state_dict({name: value.detach() for name, value in model.state_dict().items()}, assign=True)
    return roomy.requires_grad_(False)


def next_token_losses(model: Decoder, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float]:
    """-log probability of every token after a row's first, [batch, length]; and the experts' auxiliary losses, or 0."""
    x, routing = model.routed_trunk(rows[:, :-1])
    logits = model.unembed(x).float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    return losses.view(rows.shape[0], -1), 0.0 if routing is None else routing.loss()


def placed(rows: np.ndarray) -> torch.Tensor:
    """Tokens as a tensor on the device."""
    return torch.from_numpy(np.array(rows)).long().to(device())


def text_evaluation(key: str, rows: np.ndarray) -> Callable[[Decoder], dict[str, float]]:
    """`evaluate(model)`: the mean loss per token of rows, under `key`."""

    @torch.no_grad()
    def evaluate(model: Decoder) -> dict[str, float]:
        total, model = 0.0, dropless(model)
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            total += float(next_token_losses(model, placed(rows[begin : begin + ROWS_AT_ONCE]))[0].sum())
        return {key: total / (len(rows) * (rows.shape[1] - 1))}

    return evaluate


def teacher_phase(
    config: DecoderConfig,
    optimizer: OptimizerOptions,
    *,
    rows: int,
    steps: int,
    warmup_steps: int,
    train: np.ndarray,
    validation: np.ndarray,
    order: BatchOrder,
    key: jax.Array,
    watch: Callable[[Any, int], None] = lambda state, updates: None,
    kept: Callable[[], dict[str, np.ndarray]] = dict,
) -> tuple[Phase, State]:
    """As `training.teachers.teacher_phase`; the state's `params` is the module."""

    def sums(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        assert isinstance(model, Decoder)
        losses, auxiliary = next_token_losses(model, batch["rows"])
        nll, count = losses.sum(), losses.numel()
        return nll + auxiliary * count, torch.tensor(float(count), device=losses.device), {"nll": nll}

    def advance(state: State, index: int) -> tuple[State, dict[str, float]]:
        return state, state.loop.step([{"rows": placed(train[order.at(index)])}])

    phase = Phase(
        name="teacher",
        offset=0,
        steps=steps,
        advance=advance,
        metrics=METRICS,
        evaluate=text_evaluation("teacher/eval_nll", validation),
        tokens_per_step=len(order.at(0)) * (train.shape[1] - 1),
        watch=watch,
        kept=kept,
        keeping=KEEPING,
    )
    model = fresh(key, config, rows)
    return phase, State(model, optimizer, steps=steps, warmup_steps=warmup_steps, sums=sums)
