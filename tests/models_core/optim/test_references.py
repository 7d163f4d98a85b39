"""Step by step against plain float64 transcriptions of the published rules, in the conventions of their public codes.

The PyTorch classes are run, since nothing has to be compiled for them; the conformance tests hold JAX to the same
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from models_core.optim import torch as twins
from models_core.optim.torch import sonew

# Rounding of float64 over a dozen steps of decompositions.
STEPWISE = 1e-8
STEPS = 9

Gradients = list[np.ndarray]


def stream(*shape: int, steps: int = STEPS, seed: int = 3) -> Gradients:
    return list(np.random.default_rng(seed).normal(size=(steps, *shape)))


def follow(optimizer: Callable[[Any], torch.optim.Optimizer], start: np.ndarray, gradients: Gradients) -> Gradients:
    """The parameters after each step."""
    parameter = torch.nn.Parameter(torch.tensor(start))
    made, seen = optimizer([parameter]), []
    for g in gradients:
        parameter.grad = torch.tensor(g)
        made.step()
        seen.append(parameter.detach().numpy().copy())
    return seen


def compare(ours: Gradients, theirs: Iterator[np.ndarray], rtol: float = STEPWISE) -> None:
    for step, (mine, expected) in enumerate(zip(ours, theirs, strict=True), start=1):
        np.testing.assert_allclose(mine, expected, rtol=rtol, atol=rtol, err_msg=f"step {step}")


def adjusted(u: np.ndarray, q: np.ndarray) -> np.ndarray:
    return u * np.linalg.norm(q) / np.linalg.norm(u)


# SONew, the authors' JAX research code


def research_tridiagonal(
    w: np.ndarray, gradients: Gradients, graft: str, lr: float, eps: float
) -> Iterator[np.ndarray]:
    """The chain runs along columns of (in, out) kernels; vectors get Adam; epsilon is relative to a sum that counts one
    neighbour."""
    n = w.size
    m, v, e, unit = np.zeros(n), np.zeros(n), np.zeros(n - 1), np.zeros(n)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.T.reshape(-1)
        m, v, e = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g, 0.99 * e + 0.01 * g[:-1] * g[1:]
        mh, a, b = m / (1 - 0.9**t), v / (1 - 0.99**t), e / (1 - 0.99**t)
        adam = mh / (np.sqrt(a) + 1e-8)
        sums = a.copy()
        sums[:-1] = a[:-1] + np.abs(b)
        sums[1:] = a[1:] + np.abs(b)
        a = a + max(eps * sums.max(), 1e-16)
        psi, c = b / a[1:], a.copy()
        c[:-1] = a[:-1] - b * (b / a[1:])
        d = np.where(c <= 0, 1 / a, 1 / c)
        lower = np.eye(n) - np.diag(np.where(c[:-1] <= 0, 0, psi), -1)
        u = lower @ np.diag(d) @ lower.T @ mh
        hat = g / (np.linalg.norm(g) + 1e-16)
        unit = 0.99 * unit + 0.01 * hat * hat
        grafts = {"adam": adam, "sgd": g, "momentum": mh, "rmsprop_normalized": hat / (np.sqrt(unit) + 1e-8)}
        u = adjusted(u, grafts[graft]) if graft in grafts else u
        u = adam if w.ndim < 2 else u
        w = w - lr * u.reshape(w.T.shape).T
        yield w


@pytest.mark.parametrize("graft", ["none", "adam", "sgd", "momentum", "rmsprop_normalized"])
@pytest.mark.parametrize("shape", [(4, 3), (5,)])
def test_sonew_follows_the_research_code(graft: str, shape: tuple[int, ...]) -> None:
    start, gradients = np.full(shape, 0.5), stream(*shape)
    options = {"gamma": 0.0, "vectors": "adam", "eps_scale": "research", "eps": 1e-3, "graft": graft, "lr": 0.01}
    # A PyTorch weight is the transpose of a kernel (in, out); the class runs along memory.
    ours = follow(lambda p: twins.SONew(p, **options), start.T.copy(), [g.T.copy() for g in gradients])
    compare([w.T for w in ours], research_tridiagonal(start, gradients, graft, 0.01, 1e-3))


def research_banded(w: np.ndarray, gradients: Gradients, band: int, lr: float, eps: float) -> Iterator[np.ndarray]:
    """Windows padded at the end, variances floored at two rounding units, Adam's norm."""
    n, unit = w.size, np.finfo(np.float64).eps
    m, h = np.zeros(n), np.zeros((n, n))
    for t, g in enumerate(gradients, start=1):
        m, h = 0.9 * m + 0.1 * g, 0.99 * h + 0.01 * np.outer(g, g)
        mh, hh = m / (1 - 0.9**t), h / (1 - 0.99**t)
        adam = mh / (np.sqrt(np.diag(hh)) + 1e-8)
        sums = np.diag(hh).copy()
        for k in range(1, band + 1):
            coupling = np.abs(np.diag(hh, k))
            sums[:-k] = np.diag(hh)[:-k] + coupling
            sums[k:] = np.diag(hh)[k:] + coupling
        a = hh + eps * sums.max() * np.eye(n)
        lower, c = np.eye(n), np.diag(a).copy()
        for j in range(n - 1):
            inside = slice(j + 1, min(j + band, n - 1) + 1)
            psi = np.linalg.solve(a[inside, inside], a[inside, j])
            c[j] = max(a[j, j] - psi @ a[inside, j], 2 * unit * a[j, j])
            lower[inside, j] = -psi
        u = lower @ np.diag(1 / c) @ lower.T @ mh
        w = w - lr * adjusted(u, adam)
        yield w


@pytest.mark.parametrize("band", [2, 4])
def test_sonew_follows_the_banded_research_code(band: int) -> None:
    start, gradients = np.full(11, 0.5), stream(11)
    options = {"band": band, "edge_rule": "floor", "eps_scale": "research", "eps": 1e-3, "lr": 0.01}
    compare(
        follow(lambda p: twins.SONew(p, **options), start, gradients),
        research_banded(start, gradients, band, 0.01, 1e-3),
    )


# Sketchy


def sketch_step(
    basis: np.ndarray, roots: np.ndarray, tail: float, factor: np.ndarray, rank: int, beta2: float, tail_decay: float
) -> tuple[np.ndarray, np.ndarray, float]:
    u, s, _ = np.linalg.svd(np.concatenate([basis * roots * np.sqrt(beta2), factor], axis=1), full_matrices=False)
    s = s * (s > 1e-12 * s.max())
    cut = s[rank] if rank < len(s) else 0.0
    return u[:, :rank], np.sqrt((s[:rank] - cut) * (s[:rank] + cut)), tail_decay * tail + cut**2


def sketched_shampoo(
    w: np.ndarray, gradients: Gradients, rank: int, *, tail_decay: float, ridge: str, eps: float, lr: float
) -> Iterator[np.ndarray]:
    """A matrix; RMSProp's norm, Nesterov momentum 0.9."""
    beta2 = 0.95
    sketches = [(np.eye(d, min(rank, d)), np.zeros(min(rank, d)), 0.0) for d in w.shape]
    v, momentum = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        v = beta2 * v + (1 - beta2) * g * g
        u = g
        for axis in range(2):
            basis, roots, tail = sketches[axis]
            if ridge == "update":
                roots = np.sqrt(roots**2 + eps * roots.max() ** 2)
            factor = g if axis == 0 else g.T
            k = len(roots)
            basis, roots, tail = sketches[axis] = sketch_step(basis, roots, tail, factor, k, beta2, tail_decay)
            e = eps * (roots.max() ** 2 + tail) if ridge == "inversion" else 0.0
            heads = (roots**2 + tail + e) ** -0.25
            rest = (tail + e) ** -0.25 if tail + e > 0 else 0.0
            dense = basis @ np.diag(heads) @ basis.T + rest * (np.eye(len(basis)) - basis @ basis.T)
            u = dense @ u if axis == 0 else u @ dense
        u = adjusted(u, g / np.sqrt(v + 1e-23))
        momentum = 0.9 * momentum + u
        w = w - lr * (u + 0.9 * momentum)
        yield w


@pytest.mark.parametrize(
    ("options", "tail_decay", "ridge"),
    [
        ({"tail_decay": "sqrt_beta2", "ridge": "inversion"}, np.sqrt(0.95), "inversion"),
        ({"tail_decay": "beta2", "ridge": "update"}, 0.95, "update"),
        ({}, 0.95, "inversion"),
    ],
    ids=["tearfree", "distributed_shampoo", "default"],
)
def test_s_shampoo_follows_both_public_codes(options: dict[str, Any], tail_decay: float, ridge: str) -> None:
    start, gradients = np.full((6, 5), 0.5), stream(6, 5)
    given = {"rank": 3, "beta2": 0.95, "epsilon": 1e-3, "lr": 0.01, **options}
    compare(
        follow(lambda p: twins.SShampoo(p, **given), start, gradients),
        sketched_shampoo(start, gradients, 3, tail_decay=tail_decay, ridge=ridge, eps=1e-3, lr=0.01),
    )


def online(
    w: np.ndarray, gradients: Gradients, method: str, *, size: int, lr: float, delta: float
) -> Iterator[np.ndarray]:
    """The conventions of the online comparison: the last of `size` rows is always the gradient's."""
    n, alpha = w.size, delta
    rows, roots = np.zeros((size, n)), np.zeros(size)
    for t, g in enumerate(gradients, start=1):
        weight = {"rfd_son": 1 / np.sqrt(t * lr), "fd_son": 1 / np.sqrt(np.sqrt(t) * lr)}.get(method, 1.0)
        stack = rows * roots[:, None]
        stack[-1] = g * weight
        _, s, rows = np.linalg.svd(stack, full_matrices=False)
        cut = s[-1]
        s = (s - cut) * (s + cut)
        roots = np.sqrt(s)
        alpha += {"rfd_son": 0.5, "s_adagrad": 1.0}.get(method, 0.0) * cut**2
        inside = rows @ g

        def inverted(x: np.ndarray, power: float) -> np.ndarray:
            return np.where(x > 1e-13, np.where(x > 1e-13, x, 1.0) ** power, 0.0)

        if method == "ada_fd":
            step = lr * (g - rows.T @ (roots / (alpha + roots) * inside)) / alpha
        else:
            power, rate = (-0.5, lr) if method == "s_adagrad" else (-1.0, 1.0)
            rest = inverted(np.array(alpha), power)
            step = rate * (rows.T @ (inverted(alpha + s, power) * inside) + rest * (g - rows.T @ inside))
        w = w - step
        yield w


@pytest.mark.parametrize("delta", [0.0, 0.3])
@pytest.mark.parametrize("method", ["s_adagrad", "rfd_son"])
def test_methods_with_escaped_mass_follow_the_online_comparison(method: str, delta: float) -> None:
    made = {"s_adagrad": twins.SAdaGrad, "rfd_son": twins.RFDSON}[method]
    start, gradients = np.full(8, 0.5), stream(8)
    ours = follow(lambda p: made(p, lr=0.2, rank=4, delta=delta), start, gradients)
    compare(ours, online(start, gradients, method, size=5, lr=0.2, delta=delta))


@pytest.mark.parametrize("method", ["fd_son", "ada_fd"])
def test_methods_of_fixed_diagonal_follow_the_online_comparison(method: str) -> None:
    made = {"fd_son": twins.FDSON, "ada_fd": twins.AdaFD}[method]
    start, gradients = np.full(8, 0.5), stream(8)
    ours = follow(lambda p: made(p, lr=0.2, rank=4, delta=0.3), start, gradients)
    compare(ours, online(start, gradients, method, size=5, lr=0.2, delta=0.3))


def deep_rfdson(w: np.ndarray, gradients: Gradients, rank: int, lr: float) -> Iterator[np.ndarray]:
    """The SONew authors' variant: rows sqrt(1/8 + 1/t) g, momentum without correction, learning rate outside."""
    n, alpha, m = w.size, 0.1, np.zeros(w.size)
    rows = np.zeros((0, n))
    for t, g in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * g
        rows = np.concatenate([rows, np.sqrt(1 / 8 + 1 / t) * g[None]])
        if len(rows) > rank:
            _, s, right = np.linalg.svd(rows, full_matrices=False)
            rows = np.sqrt(s[:rank] ** 2 - s[rank] ** 2)[:, None] * right[:rank]
            alpha += s[rank] ** 2 / 2
        w = w - lr * np.linalg.solve(rows.T @ rows + alpha * np.eye(n), m)
        yield w


def test_rfdson_follows_the_variant_of_sonews_authors() -> None:
    start, gradients = np.full(8, 0.5), stream(8)
    ours = follow(lambda p: twins.RFDSON(p, lr=0.05, rank=3, delta=0.1, variant="deep"), start, gradients)
    compare(ours, deep_rfdson(start, gradients, 3, 0.05))


# Comparators


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


def test_shampoo_follows_its_blocked_grafted_form() -> None:
    start, gradients = np.full((6, 4), 0.5), stream(6, 4)
    options = {"lr": 0.01, "beta2": 0.95, "block_size": 4, "update_every": 2, "epsilon": 1e-4}
    compare(follow(lambda p: twins.Shampoo(p, **options), start, gradients), shampoo(start, gradients, 0.01))


def full_matrix_adagrad(w: np.ndarray, gradients: Gradients, lr: float) -> Iterator[np.ndarray]:
    total = np.zeros((w.size, w.size))
    for g in gradients:
        total += np.outer(g, g)
        w = w - lr * power(total + 1e-3 * np.eye(w.size), -0.5) @ g
        yield w


def test_shampoo_of_a_vector_is_full_matrix_adagrad() -> None:
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


def test_soap_follows_its_authors_code_and_does_not_move_at_first() -> None:
    start, gradients = np.full((5, 5), 0.5), stream(5, 5)
    ours = follow(lambda p: twins.SOAP(p, lr=0.01, update_every=3, weight_decay=0.1), start, gradients)
    np.testing.assert_array_equal(ours[0], start)
    compare(ours, soap(start, gradients, 0.01, 3, 0.1))


def test_soap_of_a_vector_is_adam_one_step_late() -> None:
    start, gradients = np.full(5, 0.5), stream(5)
    ours = follow(lambda p: twins.SOAP(p, lr=0.01, eps=1e-30, weight_decay=0.0), start, gradients)
    adam = follow(lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.95, 0.95), eps=0), start, gradients[1:])
    compare(ours[1:], iter(adam))


@pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
def test_muon_follows_its_polynomial_and_keeps_the_singular_vectors(shape: tuple[int, int]) -> None:
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


def test_muon_leaves_vectors_and_named_heads_to_adamw() -> None:
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
    np.testing.assert_allclose(head.detach(), expected[0].detach(), rtol=STEPWISE)
    np.testing.assert_allclose(bias.detach(), expected[1].detach(), rtol=STEPWISE)
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
def test_first_order_methods_follow_pytorchs_own(ours: Any, theirs: Any) -> None:
    start, gradients = np.full((3, 4), 0.5), stream(3, 4)
    compare(follow(ours, start, gradients), iter(follow(theirs, start, gradients)))


@pytest.mark.parametrize("band", [1, 4])
def test_the_function_that_is_compiled_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch, band: int) -> None:
    # Uncompiled: a compiler may not be there, and takes its time. The first steps have edges to cut.
    monkeypatch.setattr(sonew, "_WORTH_COMPILING", 1)
    start, gradients = np.full(40, 0.5), stream(40, steps=12)

    def whole(parameters: Any) -> torch.optim.Optimizer:
        made = twins.SONew(parameters, lr=0.01, band=band, eps=1e-6)
        made._whole = (sonew.whole_averages, counted)
        return made

    taken: list[bool] = []

    def counted(*arguments: Any) -> Any:
        u, smallest = sonew.whole_solution(*arguments)
        taken.append(bool(smallest > 0))
        return u, smallest

    plain = follow(lambda p: twins.SONew(p, lr=0.01, band=band, eps=1e-6), start, gradients)
    compare(follow(whole, start, gradients), iter(plain))
    assert any(taken)


def test_sonew_goes_on_where_nothing_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sonew, "_WORTH_COMPILING", 1)
    start, gradients = np.full(12, 0.5), stream(12)

    def without_compiler(*arguments: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    def broken(parameters: Any) -> torch.optim.Optimizer:
        made = twins.SONew(parameters, lr=0.01)
        made._whole = (without_compiler, without_compiler)
        return made

    with pytest.warns(UserWarning, match="no C"):
        ours = follow(broken, start, gradients)
    compare(ours, iter(follow(lambda p: twins.SONew(p, lr=0.01), start, gradients)))
