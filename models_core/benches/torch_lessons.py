"""A student's training in PyTorch, step by step: the same plan, batches and weights as `models_core.distill.lessons`.

What is drawn while training (sparse targets, written text) follows the same laws as in JAX and differs in its draws;
everything else is equal up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models_core.distill.options import FromText, Sparse, TeacherWritten
from models_core.distill.plan import Assignment, Plan
from models_core.distill.torch import sparse
from models_core.distill.torch.step import Objective, Student
from models_core.nn.torch.decoder import Decoder
from models_core.training.torch.loop import Batch
from models_core.training.torch.teachers import State, dropless, placed


class Lessons:
    """The steps of one student; weights, own, asks_teacher, counted: see `plan.Plan`."""

    def __init__(self, work: Assignment) -> None:
        self._work, self._sequences = work, work.sequences or FromText()
        plan = Plan(
            work.divergence,
            work.student,
            work.teacher,
            schedule=work.schedule,
            steps=work.steps,
            batch=work.rows(0).shape,
            vocabulary=work.vocabulary,
            seed=work.seed,
            has_teacher=work.teacher_model is not None,
            sequences=self._sequences,
        )
        self.weights, self.own, self.asks_teacher = plan.weights, plan.own, plan.asks_teacher
        self.counted = plan.counted
        self._objective = Objective(
            work.divergence,
            sparse=work.sparse,
            chunk=work.chunk,
            features=work.features,
            same_tokens=work.same_tokens,
            quantise=work.quantise,
            teacher_temperature=work.teacher_temperature,
        )

    def start(self, student: Student) -> State:
        """The state before the first step."""
        work = self._work
        return State(student, work.optimizer, steps=work.steps, warmup_steps=work.warmup_steps, sums=self._loss)

    def advance(self, state: State, index: int) -> tuple[State, dict[str, float]]:
        """Update number `index`, counted from 0."""
        batch = self._batch(state.params.decoder, index)
        size = self._work.micro_batch or len(batch["rows"])
        parts = [
            {name: part[begin : begin + size] for name, part in batch.items()}
            for begin in range(0, len(batch["rows"]), size)
        ]
        numbers = state.loop.step(parts)
        return state, numbers

    def _batch(self, student: Decoder, index: int) -> dict[str, torch.Tensor]:
        rows = placed(self._work.rows(index))
        size, length = rows.shape[0], rows.shape[1] - 1
        valid = torch.ones(size, length, device=rows.device)
        own = bool(self.own[index])
        sequences = self._sequences
        if not isinstance(sequences, FromText) and (own or isinstance(sequences, TeacherWritten)):
            writer = self._work.teacher_model if isinstance(sequences, TeacherWritten) else student
            rows = continued(
                dropless(writer),
                rows,
                generator_of(self._work.seed, 1, index, rows.device),
                prompt=sequences.prompt,
                vocabulary=self._work.vocabulary,
                temperature=sequences.sampling_temperature,
            )
            valid[:, : sequences.prompt - 1] = 0
        batch = {"rows": rows, "valid": valid, "weight": torch.full((size,), float(self.weights[index]))}
        if self._work.translate is not None:
            batch["rows"] = placed(self._work.translate(rows.cpu().numpy()))
            if self.asks_teacher[index]:
                batch["teacher_rows"] = rows
        if self.asks_teacher[index]:
            batch["asks"] = torch.ones(size)
            if self._work.targets is not None:
                targets = self._work.targets(rows.cpu().numpy(), index)
                for name, part in zip(sparse.SparseTargets._fields, targets, strict=True):
                    held = torch.as_tensor(np.array(part) if not torch.is_tensor(part) else part).to(rows.device)
                    batch[f"targets.{name}"] = held.reshape(size, length, *held.shape[1:])
        return batch

    def _loss(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        assert isinstance(model, Student)
        targets = None
        if "targets.ids" in batch:
            targets = sparse.SparseTargets(*(batch[f"targets.{name}"] for name in sparse.SparseTargets._fields))
        live = "asks" in batch and targets is None
        loss, sums = self._objective.sums(
            model,
            batch["rows"],
            batch["valid"],
            float(batch["weight"][0]),
            teacher=self._work.teacher_model if live else None,
            targets=targets,
            teacher_rows=batch.get("teacher_rows"),
        )
        return loss, batch["valid"].sum(), sums


def build_draw(options: Sparse, *, seed: int, vocabulary: int, temperature: float) -> Any:
    """`draw(teacher, rows, step)`: as `models_core.distill.targets.build_draw`; a function of (seed, step)."""

    @torch.no_grad()
    def draw(teacher: Decoder, rows: np.ndarray, step: int) -> sparse.SparseTargets:
        read = placed(rows)
        logits = dropless(teacher)(read[:, :-1])[..., :vocabulary].reshape(-1, vocabulary)
        return sparse.draw(options, generator_of(seed, 0, step, read.device), logits, temperature=temperature)

    return draw


@torch.no_grad()
def continued(
    model: Decoder,
    rows: torch.Tensor,
    generator: torch.Generator,
    *,
    prompt: int,
    vocabulary: int,
    temperature: float,
) -> torch.Tensor:
    """The first `prompt` tokens of every row, continued by sampling; see `models_core.distill.on_policy.continued`."""
    written = rows[:, :prompt]
    while written.shape[1] < rows.shape[1]:
        logits = model.unembed(model.trunk(written)[:, -1])[:, :vocabulary].float() / temperature
        written = torch.cat([written, torch.multinomial(logits.softmax(-1), 1, generator=generator)], dim=1)
    return written


def generator_of(seed: int, stream: int, index: int, device: torch.device) -> torch.Generator:
    """Random numbers that are a function of the run's seed, what they are for, and the step."""
    mixed = int(np.random.SeedSequence([seed, stream, index]).generate_state(1, np.uint64)[0])
    # PyTorch takes 64 bits; the sign bit is left out.
    return torch.Generator(device).manual_seed(mixed >> 1)
