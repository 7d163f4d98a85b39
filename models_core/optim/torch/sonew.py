"""SONew in PyTorch: see `models_core.optim.sonew` for the rule, its source and what deviates.

The chain runs as the entries lie in memory, which for the weight of a linear layer, (out, in), is along the inputs of
each output unit: `order` changes nothing here. To compare with JAX, whose kernels are (in, out), transpose.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch

from models_core.optim._elimination import coefficient, solution, survivors, windows
from models_core.optim.sonew import RESEARCH_FLOOR, UNIT_EPS, Options
from models_core.optim.torch._twin import State, Twin, Update
from models_core.optim.torch._windows import Workspace

# Entries at once: fewer stay nearer to the core, more spread the cost of calling some dozens of operations (measured).
_PIECE = 1 << 17
# Below this, calling compiled code costs more than it saves.
_WORTH_COMPILING = 1 << 14


class SONew(Twin):
    """Sparsified online Newton.

    compiled: pass large tensors through one function that torch.compile makes into machine code, at their first update.
    That takes a C++ compiler and some seconds; where it fails, a warning says so and everything goes on as without.
    """

    options_type = Options
    _whole: Compiled | None = None
    _workspaces: dict[torch.dtype, Workspace] | None = None

    def __init__(
        self, params: Iterable[Any], lr: float | None = None, *, compiled: bool = False, **options: Any
    ) -> None:
        self._whole = _compiled() if compiled else None
        super().__init__(params, lr, **options)

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        dtype = gradient.dtype if gradient.dtype == torch.float64 else getattr(torch, options.statistics)
        size, device = gradient.numel(), gradient.device
        state["mean"] = torch.zeros(size, dtype=dtype, device=device)
        state["square"] = torch.zeros(size, dtype=dtype, device=device)
        for k in range(1, options.band + 1):
            state[f"coupling{k}"] = torch.zeros(size, dtype=dtype, device=device)
        if options.graft == "rmsprop_normalized":
            state["unit"] = torch.zeros(size, dtype=dtype, device=device)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        g = gradient.reshape(-1)
        stored = [state[f"coupling{k}"] for k in range(1, options.band + 1)]
        stored = [state["mean"], state["square"], *stored]
        mean_weight = 1 / (1 - options.beta1 ** state["step"])
        square_weight = 1 / (1 - options.beta2 ** state["step"])
        alone = options.vectors == "adam" and gradient.ndim < 2
        # In one pass over memory where nothing needs all statistics before the first entry is solved.
        at_once = stored[0].dtype == g.dtype and options.eps_scale == "absolute" and not alone
        if not at_once:
            for start, stop in _pieces(g):
                _take_in(options, g, stored, start, stop)
        m, v, *e = (x.to(g.dtype) for x in stored)
        if alone:
            return Update(m * mean_weight / ((v * square_weight).sqrt_() + options.graft_eps))
        # X scales as 1/H: the bias correction of H is taken out of the loop, and out of epsilon.
        ridge = options.eps / square_weight
        if options.eps_scale != "absolute":
            floor = RESEARCH_FLOOR if options.eps_scale == "research" else torch.finfo(g.dtype).tiny
            ridge = max(ridge * square_weight * float(_row_sums(options, v, e).max()), floor / square_weight)
        gamma = torch.finfo(state["square"].dtype).eps if options.gamma is None else options.gamma
        if options.edge_rule == "floor":
            gamma = 2 * torch.finfo(g.dtype).eps
        q = g
        if options.graft == "rmsprop_normalized":
            q = g / (torch.linalg.vector_norm(g) + UNIT_EPS)
            _average(state["unit"], q, q, options.beta2)
            q = q / state["unit"].to(g.dtype).sqrt().add_(options.graft_eps)
        u = torch.empty_like(g)
        if self._whole is not None and at_once and options.band > 0 and len(g) >= _WORTH_COMPILING:
            found = self._at_once(options, g, stored, u, ridge, gamma)
            if found is not None and options.graft == "none":
                return Update(u, mean_weight / square_weight)
            if found is not None:
                length_squared = _graft_squared(options, g, m, v, mean_weight, square_weight)
                return Update(u, math.sqrt(length_squared / found) if found > 0 else 0.0)
            at_once = False
        room = self._workspace(g)
        length_squared = own_squared = 0.0
        done = 0
        for start, stop in _pieces(g):
            if at_once:
                _take_in(options, g, stored, start, stop)
            # Windows reach ahead: the last entries wait for the next piece's statistics.
            ready = stop if stop == len(g) else stop - 2 * options.band
            part = u[done:ready]
            _solve(part, v, e, m, done, ready, ridge, gamma, options.edge_rule, room)
            if options.graft != "none":
                own_squared += float(torch.dot(part, part))
                length_squared += _graft_squared(
                    options, q[done:ready], m[done:ready], v[done:ready], mean_weight, square_weight
                )
            done = ready
        if options.graft == "none":
            return Update(u, mean_weight / square_weight)
        return Update(u, math.sqrt(length_squared / own_squared) if own_squared > 0 else 0.0)

    def _workspace(self, like: torch.Tensor) -> Workspace:
        """What pieces on a CPU share; elsewhere PyTorch keeps freed memory itself, and pieces are whole tensors."""
        if like.device.type != "cpu":
            return Workspace(like.dtype, like.device)
        if self._workspaces is None:
            self._workspaces = {}
        return self._workspaces.setdefault(like.dtype, Workspace(like.dtype, like.device))

    def _give_up(self, failure: Exception) -> None:
        warnings.warn(f"SONew goes on without torch.compile: {failure}", stacklevel=4)
        self._whole = None

    def _at_once(
        self, options: Options, g: torch.Tensor, stored: list[torch.Tensor], u: torch.Tensor, ridge: float, gamma: float
    ) -> float | None:
        """Average, fill `u` and return its squared norm; None if edges have to go, after averaging all the same."""
        band, (m, v, *e) = options.band, stored
        assert self._whole is not None
        numbers = torch.tensor([ridge, gamma], dtype=g.dtype, device=g.device)
        try:
            # What fails to compile has changed nothing yet.
            self._whole.average(g, m, v, e, options.beta1, options.beta2)
        except (RuntimeError, OSError) as failure:
            self._give_up(failure)
            for start, stop in _pieces(g):
                _take_in(options, g, stored, start, stop)
            return None
        try:
            u[band:-band] = self._whole.spread(v, e, self._whole.condition(v, e, m, numbers), numbers)
        except (RuntimeError, OSError) as failure:
            self._give_up(failure)
            return None
        for start in (0, len(g) - band):
            part = u[start : start + band]
            _solve(part, v, e, m, start, start + band, ridge, gamma, options.edge_rule, self._workspace(g))
        squared = float(torch.dot(u, u))
        return squared if math.isfinite(squared) else None


class Compiled(NamedTuple):
    """`whole_averages`, `conditioned` and `spread` as machine code, made anew for each band and dtype."""

    average: Callable[..., None]
    condition: Callable[..., torch.Tensor]
    spread: Callable[..., torch.Tensor]


@cache
def _compiled() -> Compiled:
    return Compiled(
        torch.compile(whole_averages, dynamic=True),
        torch.compile(conditioned, dynamic=True),
        torch.compile(spread, dynamic=True),
    )


def whole_averages(
    g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, e: list[torch.Tensor], beta1: float, beta2: float
) -> None:
    """The averages of a whole tensor, in place."""
    m.mul_(beta1).add_(g * (1 - beta1))
    v.mul_(beta2).add_(g * g * (1 - beta2))
    for k, coupling in enumerate(e, start=1):
        coupling[:-k].mul_(beta2).add_(g[:-k] * g[k:] * (1 - beta2))


def conditioned(v: torch.Tensor, e: list[torch.Tensor], m: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """y = diag(1/c) L^T m of all entries but the last `band`, NaN where an edge has to go. numbers: ridge and gamma.

    This and `spread` are written for a compiler: every operation makes a new tensor, which it then does not store.
    """
    band, length = len(e), len(v) - len(e)

    def sound(d: torch.Tensor) -> torch.Tensor:
        return torch.where(d > 0, d, math.nan)

    window = windows(v, e, 0, length, 1, numbers[0])
    c, left = solution(window, [m[i : i + length] for i in range(band + 1)], sound)
    y: torch.Tensor = left / torch.where(c > numbers[1] * window[0, 0], c, math.nan)
    return y


def spread(v: torch.Tensor, e: list[torch.Tensor], y: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Entries band .. n - band of L y, which are those of X m."""
    band = len(e)
    u = y[band:]

    def coupling(d: torch.Tensor) -> torch.Tensor:
        return torch.where(d > 0, d, math.inf)

    for k in range(1, band + 1):
        window = windows(v, e, band - k, len(u), 1, numbers[0])
        u = u - coefficient(window, k, coupling) * y[band - k : band - k + len(u)]
    return u


def _take_in(options: Options, g: torch.Tensor, stored: list[torch.Tensor], start: int, stop: int) -> None:
    """Entries start .. stop of the moving averages of g, g^2 and g_j g_{j+k}, as stored."""
    part = g[start:stop]
    _average(stored[0][start:stop], part, None, options.beta1)
    _average(stored[1][start:stop], part, part, options.beta2)
    for k, coupling in enumerate(stored[2:], start=1):
        ahead = g[start + k : stop + k]
        _average(coupling[start : start + len(ahead)], part[: len(ahead)], ahead, options.beta2)


def _pieces(x: torch.Tensor) -> Iterator[tuple[int, int]]:
    """Where to cut a long vector: on a CPU into what stays in the cache, elsewhere not at all."""
    piece = _PIECE if x.device.type == "cpu" else len(x)
    for start in range(0, len(x), piece):
        yield start, min(start + piece, len(x))


def _average(old: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None, beta: float) -> None:
    """old = beta old + (1 - beta) x y, in place, computed in x's dtype."""
    exact = old if old.dtype == x.dtype else old.to(x.dtype)
    if y is None:
        exact.lerp_(x, 1 - beta)
    else:
        exact.mul_(beta).addcmul_(x, y, value=1 - beta)
    if exact is not old:
        old.copy_(exact)


def _graft_squared(
    options: Options, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, mean_weight: float, square_weight: float
) -> float:
    """The squared norm of the grafted method's step in one piece; g is that step where it has its own statistics."""
    match options.graft:
        case "none":
            return 0.0
        case "sgd" | "rmsprop_normalized":
            return float(torch.dot(g, g))
        case "momentum":
            return mean_weight**2 * float(torch.dot(m, m))
        case "rmsprop" | "adam" | "official":
            # The root's own factor goes outside, epsilon takes it along.
            outside = 1.0 if options.graft == "official" else math.sqrt(square_weight)
            root = v.sqrt().add_(options.graft_eps / outside)
            step = torch.div(g if options.graft == "rmsprop" else m, root, out=root)
            return ((1.0 if options.graft == "rmsprop" else mean_weight) / outside) ** 2 * float(torch.dot(step, step))


def _row_sums(options: Options, a: torch.Tensor, couplings: list[torch.Tensor]) -> torch.Tensor:
    """The absolute row sums of the banded matrix; "research" counts one neighbour a row, the last one written."""
    sums = a.clone()
    for k, b in enumerate(couplings, start=1):
        # The last k couplings have no neighbour.
        count = max(len(a) - k, 0)
        for place in (slice(0, count), slice(len(a) - count, len(a))):
            size = b[:count].abs()
            sums[place] = (sums if options.eps_scale == "relative" else a)[place] + size
    return sums


def _solve(
    u: torch.Tensor,
    v: torch.Tensor,
    e: list[torch.Tensor],
    m: torch.Tensor,
    start: int,
    stop: int,
    ridge: float,
    gamma: float,
    rule: str,
    room: Workspace,
) -> None:
    """u = entries start .. stop of X m, with H = v + ridge on the diagonal and e beside it."""
    band = len(e)
    if not band:
        torch.div(m[start:stop], v[start:stop] + ridge, out=u)
        return
    reach = (start - band, stop + 2 * band)
    length = stop - start + band
    recursion = room.recursion(band, length)
    a = torch.add(_window(v, *reach, 1.0), ridge, out=recursion.diagonal)
    edges = [_window(x, *reach, 0.0) for x in e]
    momentum = _window(m, *reach, 0.0)
    psi, c = recursion(a, edges)
    # One look at the smallest numbers, since masks cost more than arithmetic here; a NaN fails it too.
    margin = torch.sub(c, a[:length], alpha=gamma, out=recursion.y)
    if not all(bool(x.amin() > 0) for x in (margin, *recursion.pivots())):
        psi, c = _after_cuts(a, edges, gamma, rule, length, room)
    y = torch.addcmul(momentum[:length], psi[1], momentum[1 : 1 + length], value=-1, out=recursion.y)
    for k in range(2, band + 1):
        y.addcmul_(psi[k], momentum[k : k + length], value=-1)
    y.div_(c)
    torch.addcmul(y[band:], psi[1][band - 1 : length - 1], y[band - 1 : length - 1], value=-1, out=u)
    for k in range(2, band + 1):
        u.addcmul_(psi[k][band - k : length - k], y[band - k : length - k], value=-1)


def _window(x: torch.Tensor, start: int, stop: int, fill: float) -> torch.Tensor:
    """Entries start .. stop, `fill` beyond the ends: a view where nothing lies beyond."""
    if start >= 0 and stop <= len(x):
        return x[start:stop]
    low, high = max(start, 0), min(stop, len(x))
    window = torch.full((stop - start,), fill, dtype=x.dtype, device=x.device)
    window[low - start : high - start] = x[low:high]
    return window


def _after_cuts(
    a: torch.Tensor, edges: list[torch.Tensor], gamma: float, rule: str, length: int, room: Workspace
) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    """psi and c on the graph that `rule` leaves; the same steps as in `models_core.optim._banded`."""
    band = len(edges)

    reach = length if rule in ("reweight", "floor") else length + band
    psi, c = room.recursion(band, reach)(a, edges, checked=True)
    good = c > gamma * a[: len(c)]
    diagonal = a[:length]
    if rule == "floor":
        # What is no number has no coefficients to keep.
        known = torch.isfinite(c)
        floored = torch.maximum(c, gamma * diagonal)
        return {k: torch.where(known, p, 0.0) for k, p in psi.items()}, torch.where(known, floored, diagonal)
    if rule == "reweight":
        explained, unit = diagonal - c, torch.finfo(c.dtype).eps
        shrunk = ~good & (explained > 0)
        factor = torch.sqrt((1 - unit) * diagonal / torch.where(shrunk, explained, 1.0))
        psi = {k: torch.where(good, p, torch.where(shrunk, factor * p, 0.0)) for k, p in psi.items()}
        return psi, torch.where(good, c, torch.where(shrunk, unit * diagonal, diagonal))
    reach = len(a) - band
    if band == 1 and rule == "minimal_cut":
        # On a chain the edge that goes is the entry's own: nothing is left to solve again.
        sound = good[:length]
        return {1: torch.where(sound, psi[1][:length], 0.0)}, torch.where(sound, c[:length], diagonal)
    whole = torch.cat([good, good.new_ones(band)])
    kept = survivors(whole, rule, band, reach, 1)
    remaining = [torch.where(k, edge[:reach], 0.0) for k, edge in zip(kept, edges, strict=True)]
    psi, c = room.recursion(band, length)(a, remaining, checked=True)
    sound = c > gamma * diagonal
    return {k: torch.where(sound, p, 0.0) for k, p in psi.items()}, torch.where(sound, c, diagonal)
