"""What must hold whatever the numbers are: limits, symmetries, bounds. In float64, by the PyTorch classes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core import optim
from models_core.errors import SpecInvalid
from models_core.optim import torch as twins
from models_core.optim._blocks import cuts, merged

# Rounding of float64 through some decompositions.
EXACT = 1e-7


def steps(made: Any, gradients: np.ndarray, start: float = 0.0) -> list[np.ndarray]:
    """What each update subtracts at learning rate 1."""
    parameter = torch.nn.Parameter(torch.full(gradients.shape[1:], start, dtype=torch.float64))
    optimizer, seen = made([parameter]), []
    for g in gradients:
        before = parameter.detach().clone()
        parameter.grad = torch.tensor(g)
        optimizer.step()
        seen.append((before - parameter.detach()).numpy())
    return seen


def gradients(*shape: int, count: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape))


def sonew(**options: Any) -> Any:
    return lambda p: twins.SONew(p, lr=1.0, **options)


@pytest.mark.parametrize("band", [1, 2, 4])
def test_scaling_entries_apart_scales_the_ungrafted_step_inversely(band: int) -> None:
    stream, scale = gradients(12, count=10), np.random.default_rng(1).uniform(0.1, 10, 12)
    options = {"band": band, "graft": "none", "eps": 1e-300, "gamma": 0.0}
    plain, scaled = steps(sonew(**options), stream), steps(sonew(**options), stream * scale)
    # Fewer gradients than a window has entries leave it singular: rounding decides there.
    np.testing.assert_allclose(scaled[-1] * scale, plain[-1], rtol=1e-6)


@pytest.mark.parametrize("band", [0, 1, 2, 4])
def test_gradients_c_times_larger_give_ungrafted_steps_c_times_smaller(band: int) -> None:
    options = {"band": band, "graft": "none", "eps": 1e-2, "eps_scale": "relative"}
    stream = gradients(12)
    for small, large in zip(steps(sonew(**options), stream), steps(sonew(**options), 7 * stream), strict=True):
        np.testing.assert_allclose(7 * large, small, rtol=EXACT)


@pytest.mark.parametrize("band", [1, 4])
def test_adams_graft_makes_the_step_free_of_the_gradients_scale(band: int) -> None:
    options = {"band": band, "eps": 1e-2, "eps_scale": "relative", "graft_eps": 1e-30}
    stream = gradients(12)
    np.testing.assert_allclose(steps(sonew(**options), 7 * stream), steps(sonew(**options), stream), rtol=EXACT)


def test_wider_bands_explain_no_less() -> None:
    # -log det X = sum log c; X = H^-1 at the widest.
    stream = gradients(8, count=30)

    def log_determinant(band: int) -> float:
        # X column by column: the statistics do not depend on what the momentum is applied to.
        columns = []
        for j in range(8):
            parameter = torch.nn.Parameter(torch.zeros(8, dtype=torch.float64))
            optimizer = twins.SONew([parameter], lr=1.0, band=band, graft="none", eps=1e-6, gamma=0.0)
            for g in stream:
                parameter.grad = torch.tensor(g)
                optimizer.step()
            optimizer.state[parameter]["mean"].copy_(torch.eye(8, dtype=torch.float64)[j])
            before = parameter.detach().clone()
            parameter.grad = torch.zeros(8, dtype=torch.float64)
            optimizer.step()
            columns.append((before - parameter.detach()).numpy())
        return float(-np.linalg.slogdet(np.stack(columns))[1])

    found = [log_determinant(band) for band in (0, 1, 2, 4, 7)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[1] > found[-1]


def test_a_dead_coordinate_neither_moves_nor_couples() -> None:
    stream = gradients(9)
    stream[:, 4] = 0
    moved = steps(sonew(graft="none", eps=1e-3), stream)
    left = steps(sonew(graft="none", eps=1e-3), stream[:, :4])
    right = steps(sonew(graft="none", eps=1e-3), stream[:, 5:])
    for whole, first, last in zip(moved, left, right, strict=True):
        assert whole[4] == 0
        np.testing.assert_allclose(whole, [*first, 0, *last], rtol=EXACT)


def test_full_rank_s_shampoo_is_shampoo_up_to_the_averages_weight() -> None:
    stream, beta2 = gradients(5, 4, count=12), 0.9
    sketched = steps(
        lambda p: twins.SShampoo(p, lr=1.0, rank=8, beta2=beta2, graft="none", momentum=0.0, epsilon=1e-6), stream
    )
    options = {"beta1": 0.0, "beta2": beta2, "graft": "none", "bias_correction": False, "update_every": 1}
    full = steps(lambda p: twins.Shampoo(p, lr=1.0, epsilon=1e-6, epsilon_scale="relative", **options), stream)
    # Factors of averages are (1 - beta2) times those of sums; the exponents of both axes make a root of it.
    np.testing.assert_allclose(full[-1], sketched[-1] / np.sqrt(1 - beta2), rtol=1e-5)


def test_rotating_the_axes_rotates_shampoos_and_soaps_step() -> None:
    stream, generator = gradients(5, 5), np.random.default_rng(1)
    left, right = (np.linalg.qr(generator.normal(size=(5, 5)))[0] for _ in range(2))
    for made in (
        lambda p: twins.Shampoo(p, lr=1.0, graft="sgd", epsilon=1e-3),
        lambda p: twins.SOAP(p, lr=1.0, weight_decay=0.0, update_every=2),
        lambda p: twins.Muon(p, lr=1.0),
    ):
        plain, turned = steps(made, stream), steps(made, left @ stream @ right.T)
        np.testing.assert_allclose(turned[-1], left @ plain[-1] @ right.T, rtol=1e-6, atol=1e-8)


def test_escaped_mass_counts_in_full_in_s_adagrad_and_by_half_in_rfd_son() -> None:
    # Orthogonal gradients and one direction to keep: the second one's square is cut whole, 4 from both.
    stream = np.array([[3.0, 0.0], [0.0, 2.0]])
    adagrad = steps(lambda p: twins.SAdaGrad(p, lr=1.0, rank=1), stream)[1]
    np.testing.assert_allclose(adagrad, [0, 2 / np.sqrt(4)], atol=EXACT)
    # Its rows are g / sqrt(lr t), so that half of what is cut is 4 / 2 / 2; the update is an inverse, not a root.
    rfd = steps(lambda p: twins.RFDSON(p, lr=1.0, rank=1), stream)[1]
    np.testing.assert_allclose(rfd, [0, 2 / (4 / 2 / 2)], atol=EXACT)


def test_regret_of_s_adagrad_stays_under_its_bound() -> None:
    # Squared losses on a stream of rank 3 in 8 dimensions, a little noise; the bound of arXiv 2302.03764 with the
    # farthest distance from the comparator in place of a bounded domain's size.
    generator, d, k, rate = np.random.default_rng(0), 8, 4, 0.5
    inputs = generator.normal(size=(200, 3)) @ generator.normal(size=(3, d)) + 0.01 * generator.normal(size=(200, d))
    targets = inputs @ generator.normal(size=d) + 0.1 * generator.normal(size=200)
    best = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    parameter = torch.nn.Parameter(torch.zeros(d, dtype=torch.float64))
    optimizer = twins.SAdaGrad([parameter], lr=rate, rank=k)
    regret, distance, total = 0.0, 0.0, np.zeros((d, d))
    for x, y in zip(inputs, targets, strict=True):
        w = parameter.detach().numpy().copy()
        error = x @ w - y
        regret += 0.5 * error**2 - 0.5 * (x @ best - y) ** 2
        distance = max(distance, float(np.linalg.norm(w - best)))
        total += np.outer(error * x, error * x)
        parameter.grad = torch.tensor(error * x)
        optimizer.step()
    spectrum = np.sort(np.linalg.eigvalsh(total))[::-1].clip(min=0)
    # A step size other than D / sqrt 2 weighs the bound's two halves by D^2 / (2 rate) and rate instead.
    weight = distance**2 / (2 * rate) + rate
    assert 0 < regret < weight * (np.sqrt(spectrum).sum() + np.sqrt(d * (d - k) * spectrum[k - 1 :].sum()))


def test_merging_keeps_the_entries_and_cutting_covers_them() -> None:
    assert merged((3, 1, 2, 5), 6) == (6, 5)
    assert merged((1, 1)) == (1,)
    shape = (5, 4, 3)
    counts = np.zeros(shape)
    for cut in cuts(shape, 2):
        counts[cut] += 1
    assert np.all(counts == 1)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"kind": "adam"}, 2 * 30),
        ({"kind": "sonew", "band": 4}, 6 * 30),
        ({"kind": "shampoo", "beta1": 0.0, "graft": "none"}, 2 * (36 + 25)),
        ({"kind": "shampoo", "block_size": 3, "beta1": 0.0, "graft": "none"}, 2 * (4 * 9 + 2 * 9 + 2 * 4)),
        ({"kind": "s_shampoo", "rank": 2}, 2 * 30 + (6 * 2 + 3) + (5 * 2 + 3)),
        ({"kind": "soap"}, 2 * 30 + 2 * (36 + 25)),
        ({"kind": "muon"}, 30),
        ({"kind": "adafactor", "min_factored": 2}, 6 + 5),
        ({"kind": "rfd_son", "rank": 3}, 30 * 3 + 3 + 1),
        ({"kind": "rfd_son", "rank": 3, "variant": "deep"}, 30 * 3 + 3 + 1 + 30),
    ],
    ids=lambda case: ",".join(f"{k}={v}" for k, v in case.items()) if isinstance(case, dict) else None,
)
def test_memory_is_that_of_the_docstrings(options: dict[str, Any], numbers: int) -> None:
    parsed = optim.optimizers()[options["kind"]].parse(options)
    # Counts of steps and placeholders take a few bytes.
    assert 0 <= optim.state_bytes(parsed, jnp.zeros((6, 5))) - 4 * numbers <= 16
    classes = {cls.kind(): cls for name in twins.__all__ for cls in [getattr(twins, name)]}
    parameter = torch.nn.Parameter(torch.zeros(6, 5))
    parameter.grad = torch.ones(6, 5)
    optimizer = classes[options["kind"]]([parameter], **{k: v for k, v in options.items() if k != "kind"})
    optimizer.step()
    assert optimizer.state_bytes() == 4 * numbers


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("shampoo", "block_size", -1),
        ("s_shampoo", "rank", 0),
        ("soap", "update_every", 0),
        ("muon", "iterations", 0),
        ("adafactor", "decay", 0.0),
        ("fd_son", "delta", 0.0),
        ("sonew", "edge_rule", "none"),
    ],
)
def test_options_out_of_range_are_refused_by_name(name: str, field: str, value: Any) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        optim.optimizers()[name].parse({"kind": name, field: value})
    assert list(refusal.value.fields) == [field]


def test_muon_in_jax_leaves_named_heads_to_adamw() -> None:
    params = {"lm_head": jnp.ones((4, 3)), "hidden": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    transformation = optim.build(optim.optimizers()["muon"](lr=0.1, adam_scale=0.5))
    updates, _ = jax.jit(transformation.update)(params, transformation.init(params), params)
    # Adam's first step has entries of size one.
    np.testing.assert_allclose(updates["lm_head"], -0.05, rtol=1e-5)
    np.testing.assert_allclose(updates["bias"], -0.05, rtol=1e-5)
    assert abs(float(updates["hidden"][0, 0])) > 1e-3
    assert not np.allclose(updates["hidden"], -0.05)
