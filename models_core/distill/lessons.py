"""A student's training in JAX, step by step; `plan` says which batch, which weight and whether a teacher.

A step without a teacher (weight 0) is another compiled function, to which the teacher is not even given; what baseline
and second stages run is therefore the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models_core.distill import on_policy
from models_core.distill.objective import Objective
from models_core.distill.options import FromText, OnPolicy, TeacherWritten
from models_core.distill.plan import Plan, Rows
from models_core.distill.schedules import AnySchedule
from models_core.distill.targets import as_batch

Compile = Callable[..., Callable[..., tuple[Any, dict[str, Any]]]]


class Lessons:
    """The steps of one student.

    rows(index): tokens [batch, length + 1] of update `index`, counted from 0. teacher: parameters, or None.
    targets(rows, index): sparse targets, where the objective has them. translate: the student's tokens for the
    teacher's. seed, key: of the choice of own batches and of what is written. vocabulary: ids that exist.
    weights, own, asks_teacher, counted: see `plan.Plan`.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        schedule: AnySchedule,
        steps: int,
        rows: Rows,
        vocabulary: int,
        seed: int,
        key: jax.Array,
        teacher: Any = None,
        sequences: FromText | OnPolicy | TeacherWritten | None = None,
        targets: Callable[[np.ndarray, int], Any] | None = None,
        translate: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._objective, self._rows, self._teacher = objective, rows, teacher
        self._sequences = sequences or FromText()
        self._targets, self._translate, self._key = targets, translate, key
        plan = Plan(
            objective.divergence,
            objective.student,
            objective.teacher,
            schedule=schedule,
            steps=steps,
            batch=rows(0).shape,
            vocabulary=vocabulary,
            seed=seed,
            has_teacher=teacher is not None,
            sequences=self._sequences,
        )
        self.weights, self.own, self.asks_teacher = plan.weights, plan.own, plan.asks_teacher
        self.counted = plan.counted
        self._steps: dict[bool, Callable[..., tuple[Any, dict[str, Any]]]] = {}
        self._write = {}
        if not isinstance(self._sequences, FromText):
            for writer, config in (("student", objective.student), ("teacher", objective.teacher)):
                self._write[writer] = jax.jit(
                    partial(
                        _continued,
                        config=config.dropless,
                        prompt=self._sequences.prompt,
                        vocabulary=vocabulary,
                        temperature=self._sequences.sampling_temperature,
                    )
                )

    def compile(self, compile_step: Compile, optimizer: Any, state: Any) -> None:
        """Compile what will be needed: the step with a teacher, the one without, or both.

        compile_step: `training.step.compile_step`; state: the one before the first step.
        """
        for asks in sorted({bool(asks) for asks in self.asks_teacher}):
            loss = self._soft_loss if asks else self._hard_loss
            first = int(np.argmax(self.asks_teacher == asks))
            example = self._batch(self._text_rows(first), first, asks=asks)
            arguments = (example, jnp.float32(0), self._given) if asks else (example,)
            self._steps[asks] = compile_step(loss, optimizer, state, *arguments)

    def advance(self, state: Any, index: int) -> tuple[Any, dict[str, Any]]:
        """Update number `index`, counted from 0."""
        rows = self._text_rows(index)
        if self._write:
            key = jax.random.fold_in(self._key, index)
            if isinstance(self._sequences, TeacherWritten):
                rows = self._write["teacher"](self._teacher, rows, key)
            elif self.own[index]:
                rows = self._write["student"](state.params["model"], rows, key)
        asks = bool(self.asks_teacher[index])
        batch = self._batch(rows, index, asks=asks)
        if asks:
            return self._steps[True](state, batch, jnp.float32(self.weights[index]), self._given)
        return self._steps[False](state, batch)

    @property
    def _given(self) -> Any:
        """What the compiled step with a teacher gets: nothing when its distribution is in the batch already."""
        return None if self._objective.sparse is not None else self._teacher

    def _text_rows(self, index: int) -> jax.Array:
        return jnp.asarray(self._rows(index))

    def _batch(self, rows: jax.Array, index: int, *, asks: bool) -> dict[str, Any]:
        size, length = rows.shape[0], rows.shape[1] - 1
        batch: dict[str, Any] = {"rows": rows, "valid": jnp.ones((size, length))}
        if isinstance(self._sequences, TeacherWritten) or self.own[index]:
            batch["valid"] = on_policy.written_mask(size, length, self._sequences.prompt)  # type: ignore[union-attr]
        if self._translate is not None:
            batch["rows"] = jnp.asarray(self._translate(np.asarray(rows)))
            if asks:
                batch["teacher_rows"] = rows
        if asks and self._targets is not None:
            batch["targets"] = as_batch(self._targets(np.asarray(rows), index), size)
        return batch

    def _soft_loss(self, params: Any, batch: Any, weight: Any, teacher: Any) -> tuple[Any, dict[str, Any]]:
        return self._objective.loss(params, batch, weight, teacher)

    def _hard_loss(self, params: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        return self._objective.loss(params, batch, jnp.float32(0), None)


def _continued(params: Any, rows: Any, key: Any, **settings: Any) -> Any:
    return on_policy.continued(params, settings.pop("config"), rows, key, **settings)
