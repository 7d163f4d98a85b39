"""What one pass over a stream has cost so far, and what the best fixed point would have paid."""

from __future__ import annotations

import numpy as np

from models_core.errors import SpecInvalid
from models_core.training.workloads import online_convex
from models_core.training.workloads._problem import Problem


class Regret:
    """Losses met before each update, in float64. paid: their sum so far, as `paid` was when the run stopped."""

    def __init__(self, problem: Problem, *, seed: int, batch_size: int, steps: int, radius: float, paid: float) -> None:
        """Raises SpecInvalid when the stream is shorter than the run."""
        if steps * batch_size > problem.examples:
            raise SpecInvalid(
                f"{steps} batches of {batch_size} are more than one pass over {problem.examples} examples.",
                fields={"steps": f"One pass has {problem.examples // batch_size} batches."},
            )
        order = problem.order(seed, batch_size)
        rows = np.concatenate([order.at(step) for step in range(steps)])
        x, y = (np.asarray(problem.train[name][rows], np.float64) for name in ("x", "y"))
        self.best = online_convex.best_fixed_point(x, y, radius=radius)
        self._batch_size, self.paid = batch_size, paid
        self._fixed = np.cumsum(online_convex.losses(self.best, x, y))

    def add(self, mean_loss: float) -> None:
        """A batch's mean loss, before the update."""
        self.paid += mean_loss * self._batch_size

    def metrics(self, step: int) -> dict[str, float]:
        """After `step` >= 1 batches. The best point is that of the whole pass, so regret may be negative on the way."""
        seen = step * self._batch_size
        regret = self.paid - float(self._fixed[seen - 1])
        return {"eval/loss": self.paid / seen, "online/regret": regret, "online/mean_regret": regret / seen}
