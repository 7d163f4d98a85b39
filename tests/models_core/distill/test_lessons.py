"""A student's steps: when the teacher is asked, what pieces change (nothing), SALT's reductions, PyTorch's step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from models_core import optim
from models_core.benches.torch_lessons import Lessons as TorchLessons
from models_core.catalog import recipe
from models_core.data import stdlib_text
from models_core.distill import flops, salt, schedules, sparse
from models_core.distill.lessons import Lessons
from models_core.distill.objective import Objective
from models_core.distill.options import (
    Constant,
    CosineWeight,
    ForwardKL,
    HardLabels,
    LinearWeight,
    OnPolicy,
    StepWeight,
    TopK,
)
from models_core.distill.plan import Assignment
from models_core.distill.targets import as_batch
from models_core.distill.torch import sparse as torch_sparse
from models_core.distill.torch import step as torch_step
from models_core.errors import SpecInvalid
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.nn.torch.decoder import Decoder
from models_core.optim.adam import Options as Adam
from models_core.training import step as training

CONFIG = DecoderConfig(n_layers=1, d_model=12, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16, window=4)
VOCABULARY, STEPS = 20, 4
ROWS = np.random.default_rng(0).integers(0, VOCABULARY, (STEPS, 3, 7)).astype(np.int32)


def model(seed: int) -> Any:
    return decoder.init(jax.random.key(seed), CONFIG, VOCABULARY)


def trained(schedule: Any, calls: list[bool] | None = None, **soft: Any) -> tuple[Any, Lessons]:
    objective = Objective(ForwardKL(**soft), CONFIG, CONFIG)
    lessons = Lessons(
        objective,
        schedule=schedule,
        steps=STEPS,
        rows=lambda index: ROWS[index],
        vocabulary=VOCABULARY,
        seed=0,
        key=jax.random.key(0),
        teacher=model(1),
    )
    optimizer = optim.build(Adam(lr=0.01))
    state = training.start({"model": model(2), "projections": []}, optimizer)

    def compile_counted(loss: Any, optimizer: Any, state: Any, *example: Any) -> Any:
        step = training.compile_step(loss, optimizer, state, *example)

        def counted(*arguments: Any) -> Any:
            calls.append(len(arguments) == 4)  # type: ignore[union-attr]
            return step(*arguments)

        return counted if calls is not None else step

    lessons.compile(compile_counted, optimizer, state)
    for index in range(STEPS):
        state, _ = lessons.advance(state, index)
    return state, lessons


def assert_same(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_salts_ends_are_the_baseline_and_distillation_throughout_bit_for_bit() -> None:
    baseline, _ = trained(StepWeight(until=0.0))
    assert_same(trained(Constant(), soft_weight=0.0)[0], baseline)
    assert_same(trained(LinearWeight(until=0.0))[0], baseline)
    throughout, _ = trained(Constant())
    assert_same(trained(StepWeight(until=1.0))[0], throughout)
    assert not np.array_equal(baseline.params["model"]["embedding"], throughout.params["model"]["embedding"])


def test_the_teacher_is_not_asked_after_the_switch_and_the_optimizer_runs_through() -> None:
    calls: list[bool] = []
    state, lessons = trained(StepWeight(until=0.5), calls)
    assert calls == [True, True, False, False]
    assert [lessons.counted(n)["distill/taught_batches"] for n in (1, 2, 3, 4)] == [1, 2, 2, 2]
    counts = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.dtype == jnp.int32]
    assert counts
    assert {int(count) for count in counts} == {int(state.step)} == {STEPS}
    flops = np.diff([0, *(lessons.counted(n)["train/flops"] for n in (1, 2, 3, 4))])
    assert flops[0] == flops[1] > flops[2] == flops[3]


def test_in_pytorch_the_teacher_is_not_asked_after_the_switch_and_the_optimizer_runs_through() -> None:
    teacher, student = (Decoder(CONFIG, VOCABULARY).load_tree(jax.device_get(model(seed))) for seed in (1, 2))
    calls: list[int] = []
    teacher.embedding.requires_grad_(False)
    teacher.layers[0].register_forward_hook(lambda *_: calls.append(len(calls)))
    lessons = TorchLessons(
        Assignment(
            divergence=ForwardKL(),
            student=CONFIG,
            teacher=CONFIG,
            teacher_model=teacher,
            own_rows=VOCABULARY,
            optimizer=Adam(lr=0.01),
            warmup_steps=0,
            steps=STEPS,
            schedule=StepWeight(until=0.5),
            rows=lambda index: ROWS[index],
            vocabulary=VOCABULARY,
            seed=0,
        )
    )
    state = lessons.start(torch_step.Student(student))
    asked, rates, moments = [], [], []
    for index in range(STEPS):
        before = len(calls)
        state, numbers = lessons.advance(state, index)
        asked.append(len(calls) - before)
        assert ("soft_loss" in numbers) == (index < 2)
        rates.append(state.loop.optimizer.param_groups[0]["lr"])
        moments.append({int(slots["step"]) for slots in state.loop.optimizer.state.values()})
    assert asked == [1, 1, 0, 0]
    # One schedule over all steps, and one state: nothing starts anew at the switch.
    np.testing.assert_allclose(rates, [0.01 * 0.5 * (1 + np.cos(np.pi * step / STEPS)) for step in range(STEPS)])
    assert moments == [{1}, {2}, {3}, {4}]


@pytest.mark.parametrize(
    ("schedule", "weights"),
    [
        (Constant(), [0.8, 0.8, 0.8, 0.8, 0.8]),
        (StepWeight(until=0.4), [0.8, 0.8, 0.0, 0.0, 0.0]),
        (LinearWeight(until=0.8), [0.8, 0.6, 0.4, 0.2, 0.0]),
        (LinearWeight(until=0.4, end=0.5), [0.8, 0.6, 0.4, 0.4, 0.4]),
        (CosineWeight(until=0.4), [0.8, 0.4, 0.0, 0.0, 0.0]),
        (LinearWeight(until=0.0), [0.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_schedules_by_hand(schedule: Any, weights: list[float]) -> None:
    found = [schedules.weight_at(schedule, step, 5, 0.8) for step in range(5)]
    np.testing.assert_allclose(found, weights, atol=1e-12)


@pytest.mark.parametrize(("micro_batch", "chunk"), [(1, 0), (2, 0), (0, 5), (2, 4)])
def test_unequal_micro_batches_and_pieces_are_one_large_batch(micro_batch: int, chunk: int) -> None:
    valid = np.ones((3, 6), np.float32)
    valid[0, 1:] = 0
    valid[1, 4:] = 0
    batch = {"rows": jnp.asarray(ROWS[0]), "valid": jnp.asarray(valid)}

    def grads(**pieces: int) -> Any:
        objective = Objective(ForwardKL(), CONFIG, CONFIG, **pieces)
        loss = lambda params: objective.loss(params, batch, jnp.float32(0.5), model(1))  # noqa: E731
        return jax.value_and_grad(loss, has_aux=True)({"model": model(2), "projections": []})

    whole, pieces = grads(), grads(micro_batch=micro_batch, chunk=chunk)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), whole, pieces)

    student, teacher = (Decoder(CONFIG, VOCABULARY).load_tree(jax.device_get(model(seed))) for seed in (2, 1))
    objective = torch_step.Objective(ForwardKL(), micro_batch=micro_batch, chunk=chunk)
    rows = torch.tensor(ROWS[0], dtype=torch.long)
    numbers = objective.backward(student, rows, torch.tensor(valid), weight=0.5, teacher=teacher)
    (value, reported), gradient = whole
    np.testing.assert_allclose(numbers["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(numbers["soft_loss"], reported["soft_loss"], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        student.tree(gradients=True),
        jax.device_get(gradient["model"]),
    )
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_sparse_targets_and_an_update_agree_with_pytorch() -> None:
    options = TopK(k=4, missing="rest")
    logits = decoder.apply(model(1), CONFIG, jnp.asarray(ROWS[0])[:, :-1]).reshape(-1, VOCABULARY)
    targets = as_batch(sparse.draw(options, jax.random.key(0), logits), 3)
    objective = Objective(ForwardKL(), CONFIG, CONFIG, sparse=options)
    batch = {"rows": jnp.asarray(ROWS[0]), "valid": jnp.ones((3, 6)), "targets": targets}
    optimizer = optax.sgd(0.1)
    state = training.start({"model": model(2), "projections": []}, optimizer)
    step = training.compile_step(objective.loss, optimizer, state, batch, jnp.float32(0.7), None)
    state, numbers = step(state, batch, jnp.float32(0.7), None)
    student = Decoder(CONFIG, VOCABULARY).load_tree(jax.device_get(model(2)))
    theirs = torch_step.step(
        torch_step.Objective(ForwardKL(), sparse=options),
        student,
        torch.optim.SGD(student.parameters(), lr=0.1),
        torch.tensor(ROWS[0], dtype=torch.long),
        torch.ones(3, 6),
        weight=0.7,
        targets=torch_sparse.slots(*(np.array(part) for part in targets)),
    )
    np.testing.assert_allclose(theirs["loss"], numbers["loss"], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        student.tree(),
        jax.device_get(state.params["model"]),
    )


def test_experts_auxiliary_losses_are_minimised_along_in_both_frameworks() -> None:
    config = CONFIG.model_copy(update={"n_experts": 3, "expert_capacity": 1.0})
    start = decoder.init(jax.random.key(4), config, VOCABULARY)
    batch = {"rows": jnp.asarray(ROWS[0]), "valid": jnp.ones((3, 6))}
    objective = Objective(ForwardKL(), config, CONFIG)
    params = {"model": start, "projections": []}
    loss = lambda params: objective.loss(params, batch, jnp.float32(0.5), model(1))  # noqa: E731
    (value, numbers), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    routed = lambda start: decoder.run(start, config, decoder.embed(start, config, batch["rows"][:, :-1]))  # noqa: E731
    routing = jax.jit(routed)(start).routing
    assert routing is not None
    # By the weights of the published losses: 0.01 for balance, 0.001 for the size of the router's logits.
    auxiliary = 0.01 * float(routing.balance.sum()) + 0.001 * float(routing.z.sum())
    np.testing.assert_allclose(numbers["router_loss"], auxiliary, rtol=1e-5)
    np.testing.assert_allclose(value, 0.5 * (numbers["hard_loss"] + numbers["soft_loss"]) + auxiliary, rtol=1e-5)
    plain = jax.jit(lambda params: objective.loss(params, batch, jnp.float32(0), None))(params)
    np.testing.assert_allclose(plain[0], plain[1]["hard_loss"] + auxiliary, rtol=1e-5)

    student = Decoder(config, VOCABULARY).load_tree(jax.device_get(start))
    teacher = Decoder(CONFIG, VOCABULARY).load_tree(jax.device_get(model(1)))
    rows = torch.tensor(ROWS[0], dtype=torch.long)
    theirs = torch_step.Objective(ForwardKL()).backward(student, rows, torch.ones(3, 6), weight=0.5, teacher=teacher)
    np.testing.assert_allclose(theirs["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(theirs["router_loss"], auxiliary, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        student.tree(gradients=True),
        jax.device_get(gradient["model"]),
    )


def test_salts_temperature_sharpens_the_teacher_alone() -> None:
    batch = {"rows": jnp.asarray(ROWS[0]), "valid": jnp.ones((3, 6))}
    objective = Objective(ForwardKL(t_squared=False), CONFIG, CONFIG, teacher_temperature=0.25)
    params = {"model": model(2), "projections": []}
    value, numbers = objective.loss(params, batch, jnp.float32(1.0), model(1))
    z, s = (np.asarray(decoder.apply(model(seed), CONFIG, batch["rows"][:, :-1]), np.float64) for seed in (1, 2))
    p = np.exp(z / 0.25)
    p /= p.sum(axis=-1, keepdims=True)
    log_q = s - np.log(np.exp(s).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(value, (p * (np.log(p) - log_q)).sum(axis=-1).mean(), rtol=1e-4)
    plain = Objective(ForwardKL(t_squared=False), CONFIG, CONFIG).loss(params, batch, jnp.float32(1.0), model(1))
    # A report's KL is towards the teacher as it is.
    np.testing.assert_allclose(numbers["forward_kl"], plain[1]["forward_kl"], rtol=1e-5)


def test_the_templates_control_has_the_operations_that_salt_spends() -> None:
    found = recipe("salt")
    specs: dict[str, Any] = found.template("salt").specs(found.spec_type)
    taught, control = specs["SALT step"], specs["baseline, same FLOPs"]
    sizes = {"vocabulary": stdlib_text.VOCABULARY, "length": taught.length}
    step = flops.train_per_token(taught.student, **sizes)
    spent = taught.student_steps * step + taught.n_kd * flops.forward_per_token(taught.teacher, **sizes)
    assert abs(control.student_steps * step - spent) <= step


def test_own_batches_are_judged_by_the_teacher_alone_on_what_was_written() -> None:
    lessons = Lessons(
        Objective(ForwardKL(), CONFIG, CONFIG),
        schedule=Constant(),
        steps=STEPS,
        rows=lambda index: ROWS[index],
        vocabulary=VOCABULARY,
        seed=0,
        key=jax.random.key(0),
        teacher=model(1),
        sequences=OnPolicy(share=1.0, prompt=3),
    )
    assert lessons.own.all()
    assert (lessons.weights == 1).all()
    state = training.start({"model": model(2), "projections": []}, optax.sgd(0.1))
    seen: list[Any] = []

    def compile_spy(loss: Any, optimizer: Any, state: Any, *example: Any) -> Any:
        step = training.compile_step(loss, optimizer, state, *example)
        return lambda state, batch, *rest: (seen.append(jax.device_get(batch)), step(state, batch, *rest))[1]

    lessons.compile(compile_spy, optax.sgd(0.1), state)
    lessons.advance(state, 0)
    np.testing.assert_array_equal(seen[0]["rows"][:, :3], ROWS[0][:, :3])
    assert not np.array_equal(seen[0]["rows"], ROWS[0])
    np.testing.assert_array_equal(seen[0]["valid"], np.tile([0, 0, 1, 1, 1, 1], (3, 1)))


def test_hard_labels_have_no_teacher_in_their_loss() -> None:
    batch = {"rows": jnp.asarray(ROWS[0]), "valid": jnp.ones((3, 6))}
    params = {"model": model(2), "projections": []}
    value, numbers = Objective(HardLabels(), CONFIG, CONFIG).loss(params, batch, jnp.float32(0.9), None)
    assert set(numbers) == {"hard_loss"}
    assert float(value) == float(numbers["hard_loss"])


def test_the_score_is_the_median_over_kept_positions_alone() -> None:
    losses = np.array([[1.0, 2.0, 9.0, 4.0], [5.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]])
    kept = np.array([[True, True, False, True], [True, False, False, False], [True, True, True, True]])
    found = salt.scores(losses, kept, min_kept=2)
    np.testing.assert_array_equal(found, [2.0, -np.inf, 3.0])
    changed = np.where(kept, losses, 1e6)
    np.testing.assert_array_equal(salt.scores(changed, kept, min_kept=2), found)
    np.testing.assert_array_equal(salt.scores(losses, np.ones_like(kept), min_kept=1), np.median(losses, axis=1))


def test_selection_is_deterministic_stable_and_says_when_too_few_qualify() -> None:
    found = np.array([1.0, 3.0, -np.inf, 3.0, 2.0])
    np.testing.assert_array_equal(salt.select(found, count=3, least=1), [1, 3, 4])
    np.testing.assert_array_equal(salt.select(found, count=1, least=2), [1, 3])
    with pytest.raises(SpecInvalid) as refusal:
        salt.select(found, count=5, least=5)
    assert list(refusal.value.fields) == ["selection.min_kept"]


def test_top_k_of_the_whole_vocabulary_keeps_every_position() -> None:
    rows = ROWS.reshape(-1, ROWS.shape[-1])
    losses, kept = salt.judge_rows(model(1), CONFIG, rows, k=VOCABULARY, batch=5)
    assert kept.all()
    log_p = jax.nn.log_softmax(decoder.apply(model(1), CONFIG, jnp.asarray(rows)[:, :-1]))
    expected = -np.take_along_axis(np.asarray(log_p), rows[:, 1:, None], axis=-1)[..., 0]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    few = salt.judge_rows(model(1), CONFIG, rows, k=3, batch=5)[1]
    rank = (np.asarray(log_p) > -expected[..., None] + 1e-6).sum(axis=-1)
    np.testing.assert_array_equal(few, rank < 3)
