"""What one pass over a stream has cost so far, and what the best fixed point would have paid."""

from __future__ import annotations

from typing import Any

import numpy as np

from models_core.errors import SpecInvalid
from models_core.training.account import Account
from models_core.training.workloads import online_convex
from models_core.training.workloads._problem import Problem


class Regret:
    """Losses met before each update. paid: their sum so far, as `paid` was when the run stopped."""

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
        self._batch_size, self._account = batch_size, Account(paid, float(batch_size))
        self._fixed = np.cumsum(online_convex.losses(self.best, x, y))

    def add(self, mean_loss: Any) -> None:
        """A batch's mean loss, before the update; it is not waited for."""
        self._account.add(mean_loss)

    @property
    def paid(self) -> float:
        """The sum so far."""
        return self._account.total

    def metrics(self, step: int) -> dict[str, float]:
        """After `step` >= 1 batches. The best point is that of the whole pass, so regret may be negative on the way."""
        seen = step * self._batch_size
        paid = self.paid
        regret = paid - float(self._fixed[seen - 1])
        return {"eval/loss": paid / seen, "online/regret": regret, "online/mean_regret": regret / seen}
