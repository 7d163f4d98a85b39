"""Step by step against plain float64 transcriptions of the published rules, in the conventions of their public codes.

The PyTorch classes are run, since nothing has to be compiled for them; the conformance tests hold JAX to the same
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from models_core.optim import torch as twins

Gradients = list[np.ndarray]


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
def test_sonew_follows_the_research_code(
    graft: str, shape: tuple[int, ...], stream: Any, follow: Any, compare: Any
) -> None:
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
def test_sonew_follows_the_banded_research_code(band: int, stream: Any, follow: Any, compare: Any) -> None:
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
def test_s_shampoo_follows_both_public_codes(
    options: dict[str, Any], tail_decay: float, ridge: str, stream: Any, follow: Any, compare: Any
) -> None:
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
def test_methods_with_escaped_mass_follow_the_online_comparison(
    method: str, delta: float, stream: Any, follow: Any, compare: Any
) -> None:
    made = {"s_adagrad": twins.SAdaGrad, "rfd_son": twins.RFDSON}[method]
    start, gradients = np.full(8, 0.5), stream(8)
    ours = follow(lambda p: made(p, lr=0.2, rank=4, delta=delta), start, gradients)
    compare(ours, online(start, gradients, method, size=5, lr=0.2, delta=delta))


@pytest.mark.parametrize("method", ["fd_son", "ada_fd"])
def test_methods_of_fixed_diagonal_follow_the_online_comparison(
    method: str, stream: Any, follow: Any, compare: Any
) -> None:
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


def test_rfdson_follows_the_variant_of_sonews_authors(stream: Any, follow: Any, compare: Any) -> None:
    start, gradients = np.full(8, 0.5), stream(8)
    ours = follow(lambda p: twins.RFDSON(p, lr=0.05, rank=3, delta=0.1, variant="deep"), start, gradients)
    compare(ours, deep_rfdson(start, gradients, 3, 0.05))
