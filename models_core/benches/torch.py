"""What a distillation recipe asks of its framework, in PyTorch: the methods of `models_core.benches.jax.Bench`.

Models are modules. Weights begin as JAX draws them, so that a run is the same run in either framework, up to rounding
and to what is drawn while training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import torch

from models_core.benches.torch_lessons import Lessons, build_draw, continued, generator_of
from models_core.distill import features, quantise
from models_core.distill.calibration import expected_error
from models_core.distill.options import Sparse
from models_core.distill.plan import Assignment, Format
from models_core.distill.torch.quantise import rounded_parameters
from models_core.distill.torch.sparse import SparseTargets
from models_core.distill.torch.step import Student
from models_core.nn import decoder as original
from models_core.nn.configs import DecoderConfig
from models_core.nn.torch.arrays import to_numpy, to_tensor
from models_core.nn.torch.decoder import Decoder
from models_core.training import snapshot
from models_core.training.phases import Phase
from models_core.training.torch import teachers
from models_core.training.torch.teachers import KEEPING, ROWS_AT_ONCE, placed


class Bench:
    """seed: of the run."""

    keeping = KEEPING

    def __init__(self, seed: int) -> None:
        self._seed, self._root = seed, jax.random.key(seed)

    def teacher_phase(self, config: DecoderConfig, optimizer: Any, **how: Any) -> tuple[Phase, Any]:
        """See `training.torch.teachers.teacher_phase`."""
        return teachers.teacher_phase(config, optimizer, key=jax.random.fold_in(self._root, 0), **how)

    def arrays(self, model: Decoder | None, prefix: str) -> dict[str, np.ndarray]:
        """A model for a checkpoint, by its names in `nn.decoder`; none: nothing."""
        return {} if model is None else snapshot.to_arrays(model.tree(), prefix)

    def restored(self, arrays: Mapping[str, np.ndarray], state: Any, prefix: str) -> Decoder:
        """The inverse; state: of the phase that trains such a model. Raises CheckpointInvalid."""
        like: Decoder = state.params
        model = Decoder(like.config, like.embedding.shape[0]).to(teachers.device())
        return model.load_tree(jax.device_get(snapshot.from_arrays(arrays, like.tree(), prefix)))

    def loaded(self, config: DecoderConfig, rows: int, arrays: Mapping[str, np.ndarray]) -> Decoder:
        """A model of weights by their names in `nn.decoder`. Raises CheckpointInvalid."""
        like = jax.eval_shape(partial(original.init, self._root, config, rows))
        model = Decoder(config, rows).load_tree(jax.device_get(snapshot.from_arrays(arrays, like)))
        return model.to(teachers.device())

    def draw(self, options: Sparse, config: DecoderConfig, *, vocabulary: int, temperature: float) -> Any:
        """`draw(teacher, rows, step)`: sparse targets from a live teacher."""
        return build_draw(options, seed=self._seed, vocabulary=vocabulary, temperature=temperature)

    def to_numpy(self, targets: SparseTargets) -> tuple[np.ndarray, ...]:
        """What `draw` gave, as a cache takes it."""
        return tuple(to_numpy(part) for part in targets)

    def lessons(self, work: Assignment) -> tuple[Lessons, Any]:
        """The student's steps, and its state before the first; state.params is what `student` takes."""
        model = teachers.fresh(jax.random.fold_in(self._root, 1), work.student, work.own_rows)
        if work.start is not None:
            model.load_tree(work.start.tree())
        projections = []
        if work.features is not None:
            drawn = features.init(jax.random.fold_in(self._root, 5), work.features, work.student, work.teacher)
            projections = [to_tensor(np.asarray(projection)) for projection in drawn]
        if work.teacher_model is not None:
            work = replace(work, teacher_model=teachers.dropless(work.teacher_model.requires_grad_(False)))
        lessons = Lessons(work)
        return lessons, lessons.start(Student(model, projections).to(teachers.device()))

    def student(self, params: Student, kind: Format | None = None) -> Decoder:
        """The student as it is used: without projections, rounded where it is quantised."""
        decoder = params.decoder
        if kind is None:
            return decoder
        copy = Decoder(decoder.config, decoder.embedding.shape[0]).to(teachers.device())
        copy.load_state_dict({name: p.detach() for name, p in rounded_parameters(decoder, kind).items()})
        return copy

    def bytes_of(self, params: Student, kind: Format | None) -> float:
        """Size of the student's weights, see `quantise.model_bytes`."""
        return float(quantise.model_bytes(params.decoder.tree(), kind))

    def evaluation(
        self, config: DecoderConfig, rows: np.ndarray, thirds: np.ndarray | None = None
    ) -> Callable[[Decoder], dict[str, float]]:
        """As in JAX."""

        @torch.no_grad()
        def evaluate(model: Decoder) -> dict[str, float]:
            losses, right, confidence = (np.concatenate(parts) for parts in zip(*_looked(model, rows), strict=True))
            found = {"eval/nll": losses.mean(), "eval/accuracy": right.mean()}
            found["eval/calibration_error"] = expected_error(confidence, right)
            if thirds is not None:
                for third, name in enumerate(("easy", "medium", "hard")):
                    found[f"eval/nll_{name}"] = losses[thirds == third].mean()
            return {key: float(value) for key, value in found.items()}

        return evaluate

    @torch.no_grad()
    def judge_rows(
        self, model: Decoder, config: DecoderConfig, rows: np.ndarray, *, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Loss of every token after the first, and whether it is among the model's k most probable."""
        losses, kept = [], []
        model = teachers.dropless(model)
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            batch = placed(rows[begin : begin + ROWS_AT_ONCE])
            logits = model(batch[:, :-1]).float()
            chosen = logits.gather(-1, batch[:, 1:, None])
            losses.append((logits.logsumexp(dim=-1) - chosen[..., 0]).cpu().numpy())
            kept.append(((logits > chosen).sum(dim=-1) < k).cpu().numpy())
        return np.concatenate(losses), np.concatenate(kept)

    def write(
        self, model: Decoder, config: DecoderConfig, prompt: np.ndarray, *, count: int, temperature: float
    ) -> np.ndarray:
        """The prompt continued by sampling to `count` tokens."""
        rows = torch.zeros(1, count, dtype=torch.long)
        rows[0, : len(prompt)] = placed(prompt)
        rows = rows.to(teachers.device())
        written = continued(
            teachers.dropless(model),
            rows,
            generator_of(self._seed, 2, 0, rows.device),
            prompt=len(prompt),
            vocabulary=model.embedding.shape[0],
            temperature=temperature,
        )
        return written[0].cpu().numpy()

    def exported(self, model: Decoder) -> bytes:
        """The weights as one safetensors file, by their names in `nn.decoder`."""
        return snapshot.to_safetensors(model.tree())


def _looked(model: Decoder, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Loss, correctness of the id ranked first, and its probability, of every token of every batch; float64."""
    found, model = [], teachers.dropless(model)
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        batch = placed(rows[begin : begin + ROWS_AT_ONCE])
        log_q = torch.log_softmax(model(batch[:, :-1]).float(), dim=-1)
        best = log_q.max(dim=-1)
        parts = (-log_q.gather(-1, batch[:, 1:, None])[..., 0], best.indices == batch[:, 1:], best.values.exp())
        losses, right, confidence = (part.double().cpu().numpy() for part in parts)
        found.append((losses, right, confidence))
    return found
