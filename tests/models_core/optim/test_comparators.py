"""The methods SONew and Sketchy are compared with, step by step against plain float64 transcriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from models_core.optim import torch as twins

Gradients = list[np.ndarray]


def adjusted(u: np.ndarray, q: np.ndarray) -> np.ndarray:
    return u * np.linalg.norm(q) / np.linalg.norm(u)


def power(h: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(h)
    return (vectors * values**exponent) @ vectors.T


def shampoo(w: np.ndarray, gradients: Gradients, lr: float) -> Iterator[np.ndarray]:
    """Two blocks of rows, roots every second step, corrected averages, Adam's norm."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    blocks = [slice(0, 4), slice(4, len(w))]
    left = [np.zeros((len(w[b]), len(w[b]))) for b in blocks]
    right = [np.zeros((w.shape[1], w.shape[1])) for _ in blocks]
    roots: list[Any] = [None, None]
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        mh, vh, u = m / (1 - 0.9**t), v / (1 - 0.95**t), np.zeros_like(w)
        for i, b in enumerate(blocks):
            left[i] = 0.95 * left[i] + 0.05 * g[b] @ g[b].T
            right[i] = 0.95 * right[i] + 0.05 * g[b].T @ g[b]
            if t % 2 == 1:
                weight = 1 - 0.95**t
                pair = (left[i] / weight, right[i] / weight)
                roots[i] = [power(h + 1e-4 * np.eye(len(h)), -0.25) for h in pair]
            u[b] = roots[i][0] @ mh[b] @ roots[i][1]
        w = w - lr * adjusted(u, mh / (np.sqrt(vh) + 1e-8))
        yield w


def test_shampoo_follows_its_blocked_grafted_form(stream: Any, follow: Any, compare: Any) -> None:
    start, gradients = np.full((6, 4), 0.5), stream(6, 4)
    options = {"lr": 0.01, "beta2": 0.95, "block_size": 4, "update_every": 2, "epsilon": 1e-4}
    compare(follow(lambda p: twins.Shampoo(p, **options), start, gradients), shampoo(start, gradients, 0.01))


def full_matrix_adagrad(w: np.ndarray, gradients: Gradients, lr: float) -> Iterator[np.ndarray]:
    total = np.zeros((w.size, w.size))
    for g in gradients:
        total += np.outer(g, g)
        w = w - lr * power(total + 1e-3 * np.eye(w.size), -0.5) @ g
        yield w


def test_shampoo_of_a_vector_is_full_matrix_adagrad(stream: Any, follow: Any, compare: Any) -> None:
    start, gradients = np.full(5, 0.5), stream(5)
    options = {"lr": 0.1, "beta1": 0.0, "beta2": 1.0, "graft": "none", "epsilon": 1e-3, "update_every": 1}
    compare(follow(lambda p: twins.Shampoo(p, **options), start, gradients), full_matrix_adagrad(start, gradients, 0.1))


def soap(w: np.ndarray, gradients: Gradients, lr: float, every: int, decay: float) -> Iterator[np.ndarray]:
    """The first step only initialises; momentum is kept unturned; decay comes last."""
    beta = 0.95
    m, v = np.zeros_like(w), np.zeros_like(w)
    left, right = ((1 - beta) * gradients[0] @ gradients[0].T, (1 - beta) * gradients[0].T @ gradients[0])
    bases = [np.linalg.eigh(h)[1][:, ::-1] for h in (left, right)]
    yield w
    for t, g in enumerate(gradients[1:], start=1):
        m = beta * m + (1 - beta) * g
        v = beta * v + (1 - beta) * (bases[0].T @ g @ bases[1]) ** 2
        turned = bases[0].T @ m @ bases[1] / (np.sqrt(v) + 1e-8)
        w = w - lr * np.sqrt(1 - beta**t) / (1 - beta**t) * bases[0] @ turned @ bases[1].T
        w = w - lr * decay * w
        left, right = beta * left + (1 - beta) * g @ g.T, beta * right + (1 - beta) * g.T @ g
        if t % every == 0:
            for axis, h in enumerate((left, right)):
                order = np.argsort(-np.diag(bases[axis].T @ h @ bases[axis]))
                v = np.take(v, order, axis)
                bases[axis] = np.linalg.qr(h @ bases[axis][:, order])[0]
        yield w


def test_soap_follows_its_authors_code_and_does_not_move_at_first(stream: Any, follow: Any, compare: Any) -> None:
    start, gradients = np.full((5, 5), 0.5), stream(5, 5)
    ours = follow(lambda p: twins.SOAP(p, lr=0.01, update_every=3, weight_decay=0.1), start, gradients)
    np.testing.assert_array_equal(ours[0], start)
    compare(ours, soap(start, gradients, 0.01, 3, 0.1))


def test_soap_of_a_vector_is_adam_one_step_late(stream: Any, follow: Any, compare: Any) -> None:
    start, gradients = np.full(5, 0.5), stream(5)
    ours = follow(lambda p: twins.SOAP(p, lr=0.01, eps=1e-30, weight_decay=0.0), start, gradients)
    adam = follow(lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.95, 0.95), eps=0), start, gradients[1:])
    compare(ours[1:], iter(adam))


@pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
def test_muon_follows_its_polynomial_and_keeps_the_singular_vectors(
    shape: tuple[int, int], stream: Any, follow: Any
) -> None:
    start, gradients = np.zeros(shape), stream(*shape, steps=2)
    first, second = follow(lambda p: twins.Muon(p, lr=1.0), start, gradients)
    m = 0.05 * gradients[0]
    for g, moved in ((gradients[0], -first), (gradients[1], first - second)):
        m = m if g is gradients[0] else 0.95 * m + 0.05 * g
        u, s, right = np.linalg.svd(0.05 * g + 0.95 * m, full_matrices=False)
        s = s / (np.sqrt((s**2).sum()) + 1e-7)
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        assert 0.47 < s.min() < s.max() < 1.21
        # Rows are outputs in PyTorch.
        np.testing.assert_allclose(moved, max(1, shape[0] / shape[1]) ** 0.5 * (u * s) @ right, rtol=1e-6, atol=1e-7)


def test_muon_leaves_vectors_and_named_heads_to_adamw(stream: Any) -> None:
    gradients = stream(4, 3)
    head, bias, plain = (torch.nn.Parameter(torch.full(s, 0.5, dtype=torch.float64)) for s in ((4, 3), (3,), (4, 3)))
    expected = [torch.nn.Parameter(parameter.detach().clone()) for parameter in (head, bias)]
    ours = twins.Muon([("lm_head", head), ("bias", bias), ("hidden", plain)], lr=0.1, adam_scale=0.5, weight_decay=0.2)
    theirs = torch.optim.AdamW(expected, lr=0.05, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.2)
    for g in gradients:
        for parameter, value in zip((head, bias, plain, *expected), (g, g[0], g, g, g[0]), strict=True):
            parameter.grad = torch.tensor(value)
        ours.step()
        theirs.step()
    np.testing.assert_allclose(head.detach(), expected[0].detach(), rtol=1e-8)
    np.testing.assert_allclose(bias.detach(), expected[1].detach(), rtol=1e-8)
    assert not np.allclose(plain.detach(), expected[0].detach(), rtol=1e-2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: twins.Adam(p, lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
        (lambda p: twins.AdamW(p, lr=0.01), lambda p: torch.optim.AdamW(p, lr=0.01)),
        (
            lambda p: twins.Nesterov(p, lr=0.01),
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
        ),
        (lambda p: twins.SGD(p, lr=0.01), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
        (lambda p: twins.RMSProp(p, lr=0.01), lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9)),
        (lambda p: twins.AdaGrad(p, lr=0.01), lambda p: torch.optim.Adagrad(p, lr=0.01, eps=0)),
    ],
    ids=["adam", "adamw", "nesterov", "momentum", "rmsprop", "adagrad"],
)
def test_first_order_methods_follow_pytorchs_own(
    ours: Any, theirs: Any, stream: Any, follow: Any, compare: Any
) -> None:
    start, gradients = np.full((3, 4), 0.5), stream(3, 4)
    compare(follow(ours, start, gradients), iter(follow(theirs, start, gradients)))


def adafactor(w: np.ndarray, gradients: Gradients, lr: float, *, clip: float, beta1: float) -> Iterator[np.ndarray]:
    """Algorithms 4 and 5 for a matrix, with the step size of the module's docstring."""
    rows, columns, m = np.zeros(w.shape[0]), np.zeros(w.shape[1]), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        decay, squared = 1 - t**-0.8, g * g + 1e-30
        rows = decay * rows + (1 - decay) * squared.mean(axis=1)
        columns = decay * columns + (1 - decay) * squared.mean(axis=0)
        u = g / np.sqrt(np.outer(rows, columns) / rows.mean())
        u = u / max(1.0, np.sqrt((u**2).mean()) / clip) * max(1e-3, np.sqrt((w**2).mean()))
        m = beta1 * m + (1 - beta1) * u
        w = w - lr * m
        yield w


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_adafactor_follows_its_algorithm(beta1: float, stream: Any, follow: Any, compare: Any) -> None:
    start, gradients = np.full((6, 4), 0.5), stream(6, 4)
    options = {"lr": 0.1, "min_factored": 2, "clip": 0.7, "beta1": beta1, "eps": 1e-30, "weight_decay": 0.0}
    compare(
        follow(lambda p: twins.Adafactor(p, **options), start, gradients),
        adafactor(start, gradients, 0.1, clip=0.7, beta1=beta1),
    )
