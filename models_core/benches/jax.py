"""What a distillation recipe asks of its framework, in JAX; `models_core.benches.torch` has the same methods.

Models are what the methods hand out: parameter trees here, modules there. Random streams are folds of the run's seed: 0
the teacher's weights, 1 the student's, 2 samples, 3 sparse targets, 4 written text, 5 projections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models_core import optim
from models_core.distill import calibration, features, quantise, salt
from models_core.distill.lessons import Lessons
from models_core.distill.objective import Objective
from models_core.distill.options import Sparse
from models_core.distill.plan import Assignment, Format
from models_core.distill.targets import build_draw
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.nn.sampling import sample
from models_core.training import schedules, snapshot, teachers
from models_core.training.evaluation import build_evaluation
from models_core.training.phases import Keeping, Phase
from models_core.training.step import compile_step, start

ROWS_AT_ONCE = 64


class Bench:
    """seed: of the run."""

    keeping = Keeping()

    def __init__(self, seed: int) -> None:
        self._root = jax.random.key(seed)

    def teacher_phase(self, config: DecoderConfig, optimizer: Any, **how: Any) -> tuple[Phase, Any]:
        """See `training.teachers.teacher_phase`."""
        return teachers.teacher_phase(config, optimizer, key=jax.random.fold_in(self._root, 0), **how)

    def arrays(self, model: Any, prefix: str) -> dict[str, np.ndarray]:
        """A model for a checkpoint; none: nothing."""
        return snapshot.to_arrays(model, prefix)

    def restored(self, arrays: Mapping[str, np.ndarray], state: Any, prefix: str) -> Any:
        """The inverse; state: of the phase that trains such a model. Raises CheckpointInvalid."""
        return snapshot.from_arrays(arrays, state.params, prefix)

    def loaded(self, config: DecoderConfig, rows: int, arrays: Mapping[str, np.ndarray]) -> Any:
        """A model of weights by their names in `nn.decoder`. Raises CheckpointInvalid."""
        return snapshot.from_arrays(arrays, jax.eval_shape(partial(decoder.init, self._root, config, rows)))

    def draw(self, options: Sparse, config: DecoderConfig, *, vocabulary: int, temperature: float) -> Any:
        """`draw(teacher, rows, step)`: sparse targets from a live teacher."""
        key = jax.random.fold_in(self._root, 3)
        return build_draw(options, config, key, vocabulary=vocabulary, temperature=temperature)

    def to_numpy(self, targets: Any) -> tuple[np.ndarray, ...]:
        """What `draw` gave, as a cache takes it."""
        return tuple(np.asarray(part) for part in targets)

    def lessons(self, work: Assignment) -> tuple[Lessons, Any]:
        """The student's steps, compiled, and its state before the first; state.params is what `student` takes."""
        objective = Objective(
            work.divergence,
            work.student,
            work.teacher,
            sparse=work.sparse,
            features=work.features,
            micro_batch=work.micro_batch,
            chunk=work.chunk,
            same_tokens=work.same_tokens,
            quantise=work.quantise,
            teacher_temperature=work.teacher_temperature,
        )
        lessons = Lessons(
            objective,
            schedule=work.schedule,
            steps=work.steps,
            rows=work.rows,
            vocabulary=work.vocabulary,
            seed=work.seed,
            key=jax.random.fold_in(self._root, 4),
            teacher=work.teacher_model,
            sequences=work.sequences,
            targets=work.targets,
            translate=work.translate,
        )
        schedule = schedules.warmup_then_decay(
            work.optimizer.lr, steps=work.steps, warmup_steps=work.warmup_steps, decay="cosine"
        )
        optimizer = optim.build(work.optimizer, schedule)
        projections = []
        if work.features is not None:
            projections = features.init(jax.random.fold_in(self._root, 5), work.features, work.student, work.teacher)
        model = decoder.init(jax.random.fold_in(self._root, 1), work.student, work.own_rows)
        if work.start is not None:
            # A copy: the first step gives the student's buffers away.
            model = jax.tree.map(jnp.array, work.start)
        state = start({"model": model, "projections": projections}, optimizer)
        lessons.compile(compile_step, optimizer, state)
        return lessons, state

    def student(self, params: Any, kind: Format | None = None) -> Any:
        """The student as it is used: without projections, rounded where it is quantised."""
        model = params["model"]
        return model if kind is None else quantise.rounded_kernels(model, kind)

    def bytes_of(self, params: Any, kind: Format | None) -> float:
        """Size of the student's weights, see `quantise.model_bytes`."""
        return float(quantise.model_bytes(params["model"], kind))

    def evaluation(
        self, config: DecoderConfig, rows: np.ndarray, thirds: np.ndarray | None = None
    ) -> Callable[[Any], dict[str, float]]:
        """`evaluate(model)`: "eval/nll", "eval/accuracy" and "eval/calibration_error" over rows [rows, length + 1].

        thirds: 0, 1 or 2 for every target; adds "eval/nll_easy", "eval/nll_medium" and "eval/nll_hard".
        """
        groups = np.zeros((len(rows), rows.shape[1] - 1), np.int32) if thirds is None else thirds
        share = np.bincount(groups.reshape(-1), minlength=3) / groups.size

        def sums(model: Any, batch: Any, places: Any, valid: Any) -> tuple[dict[str, Any], Any]:
            logits = decoder.apply(model, config.dropless, batch[:, :-1]).astype(jnp.float32)
            chosen = jnp.take_along_axis(logits, batch[:, 1:, None], axis=-1)[..., 0]
            losses = (jax.nn.logsumexp(logits, axis=-1) - chosen) * valid[:, None]
            right = (jnp.argmax(logits, axis=-1) == batch[:, 1:]).astype(jnp.float32) * valid[:, None]
            found = {"eval/nll": jnp.sum(losses), "eval/accuracy": jnp.sum(right)}
            found |= calibration.confidence_gaps(logits, batch[:, 1:], jnp.broadcast_to(valid[:, None], losses.shape))
            if thirds is not None:
                for place, name in enumerate(("easy", "medium", "hard")):
                    scale = np.float32(1 / share[place])
                    found[f"eval/nll_{name}"] = jnp.sum(jnp.where(places == place, losses, 0.0)) * scale
            return found, jnp.sum(valid) * losses.shape[1]

        evaluate = build_evaluation(sums, batch_size=ROWS_AT_ONCE)
        return lambda model: calibration.error_of(evaluate(model, rows, groups), "eval/calibration_error")

    def judge_rows(
        self, model: Any, config: DecoderConfig, rows: np.ndarray, *, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Loss of every token after the first, and whether it is among the model's k most probable."""
        return salt.judge_rows(model, config, rows, k=k)

    def write(
        self, model: Any, config: DecoderConfig, prompt: np.ndarray, *, count: int, temperature: float
    ) -> np.ndarray:
        """The prompt continued by sampling to `count` tokens."""
        key = jax.random.fold_in(self._root, 2)
        return np.asarray(sample(model, config.dropless, jnp.asarray(prompt), count, key, jnp.float32(temperature)))

    def exported(self, model: Any) -> bytes:
        """The weights as one safetensors file, by their names in `nn.decoder`."""
        return snapshot.to_safetensors(model)
