"""Logistic regression as online convex optimisation: one pass over a table, judged by the loss before each update.

Source: the protocol of Feinberg et al. (Sketchy), NeurIPS 2023 (arXiv 2302.03764), section 5: one pass in the order of
the file, dense features and an intercept, mean of the losses f_t(w_t) met on the way.

    f_t(w) = log(1 + exp(-s_t x_t . w)) , s_t = +-1 ;  regret_t = sum_{i <= t} f_i(w_i) - sum_{i <= t} f_i(w*)

w* is the best fixed point in hindsight inside a ball around 0 (`best_fixed_point`): the losses of separable tables have
no minimum, and every bound on regret speaks of a ball.
Deviates: float32 where the authors' code has float64. The sums of losses, and w*, are float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.data.image_sets import IMAGE_SETS
from models_core.spec import field
from models_core.training.workloads._options import WorkloadOptions, task_field

if TYPE_CHECKING:
    import numpy as np

    from models_core.training.workloads._problem import Problem

# The digits of both parts: 1,437 and 360.
EXAMPLES = {"breast_cancer": 569, "digits": IMAGE_SETS["digits"].train + 360}
# Where the search for the ball's multiplier ends, relative to the radius; the least multiplier, to the largest.
CLOSE, LEAST = 1e-7, 1e-10


class Options(WorkloadOptions, title="Online logistic regression"):
    """Pay for every example before learning from it."""

    task: Literal["online_convex"] = task_field("online_convex", "Pay for every example before learning from it.")
    data: Literal["breast_cancer", "digits", "libsvm"] = field(
        "breast_cancer",
        title="Table",
        help="Benign or malignant (569), odd or even digit (1,797), or a file in libsvm's format on the node.",
        section="Task",
    )
    file: str = field(
        "a9a", title="File", help="Its name below libsvm in the node's data folder.", max_length=200, section="Task"
    )
    order: Literal["file", "shuffled"] = field(
        "file", title="Order", help="As in the file, or by the run's seed.", section="Task"
    )
    radius: float = field(
        10.0,
        title="Radius",
        help="Regret is against the best point not farther from 0 than this.",
        gt=0,
        le=1e6,
        format="log",
        section="Task",
        advanced=True,
    )

    @property
    def examples(self) -> int | None:
        return EXAMPLES.get(self.data)

    @property
    def one_pass(self) -> bool:
        return True


def build(options: Options) -> Problem:
    """The problem; the parameters are one vector that starts at 0, whatever the seed."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core.data import tabular
    from models_core.training.workloads._problem import Problem

    table = tabular.load(options.data, options.file)

    def values(params: Any, examples: Any) -> dict[str, Any]:
        # log(1 + exp(z)) - y z, for y in {0, 1}: the same as in the module's docstring.
        logits = examples["x"] @ params["w"]
        return {"loss": jax.nn.softplus(logits) - examples["y"] * logits}

    return Problem(
        init=lambda key: {"w": jnp.zeros(table.x.shape[1], jnp.float32)},
        values=values,
        train={"x": table.x.astype(np.float32), "y": table.y.astype(np.float32)},
        test={},
        shuffled=options.order == "shuffled",
        note=f"{len(table.y):,} examples of {table.x.shape[1]} numbers, {table.y.mean():.1%} of them positive.",
    )


def losses(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """f_t(w) of every example (n,), for w (d,), x (n, d), y (n,) of 0 and 1."""
    import numpy as np

    logits = x @ w
    found: np.ndarray = np.logaddexp(0, logits) - y * logits
    return found


def best_fixed_point(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    """The minimiser (d,) of sum_t f_t(w) over |w| <= radius, in float64.

    On the border it is the minimiser w(m) of sum_t f_t(w) + m |w|^2 / 2 for the multiplier m at which |w(m)| = radius.
    Newton's method on 1/|w(m)| - 1/radius finds it, inside a bracket: m is at most |gradient at 0| / radius.
    """
    import numpy as np

    x, y = x.astype(np.float64), y.astype(np.float64)
    most = float(np.linalg.norm(x.T @ (0.5 - y))) / radius
    low, high = LEAST * most, most
    multiplier, w = most, np.zeros(x.shape[1])
    while True:
        w, curvature = _ridge_minimiser(x, y, multiplier, w)
        norm = float(np.linalg.norm(w))
        if abs(norm / radius - 1) < CLOSE or high / low < 1 + CLOSE:
            return w * min(1.0, radius / norm) if norm else w
        if norm > radius:
            low = multiplier
        elif multiplier <= low:
            return w
        else:
            high = multiplier
        step = (norm / radius - 1) * norm**2 / float(w @ np.linalg.solve(curvature, w))
        multiplier += step
        if not low < multiplier < high:
            multiplier = low if low == LEAST * most and step < 0 else (low * high) ** 0.5


def _ridge_minimiser(x: np.ndarray, y: np.ndarray, multiplier: float, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The minimiser of sum_t f_t(w) + multiplier |w|^2 / 2, by damped Newton steps from `w`, and the Hessian there."""
    import numpy as np
    from scipy.special import expit

    def objective(w: np.ndarray) -> float:
        return float(losses(w, x, y).sum() + multiplier * w @ w / 2)

    value = objective(w)
    while True:
        p = expit(x @ w)
        gradient = x.T @ (p - y) + multiplier * w
        curvature = (x * (p * (1 - p))[:, None]).T @ x + multiplier * np.eye(len(w))
        step = np.linalg.solve(curvature, gradient)
        gain = float(gradient @ step)
        scale = 1.0
        while scale > LEAST and (lower := objective(w - scale * step)) > value - 0.1 * scale * gain:
            scale /= 2
        if scale <= LEAST:
            return w, curvature
        if gain <= 1e-13 * max(value, 1.0):
            # So near, a whole step squares the error.
            return w - step, curvature
        w, value = w - scale * step, lower
