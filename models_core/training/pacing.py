"""When a run reports and saves: often enough to follow, seldom enough not to cost."""

from __future__ import annotations

from dataclasses import dataclass

# A chart is about a thousand pixels wide: five points a pixel still show every spike, more only cost.
MOST_POINTS = 5000
MOST_PROGRESS = 200


@dataclass(frozen=True, slots=True)
class Pacing:
    """Decides by the step number alone, so that a resumed run reports at the same steps.

    steps: length of the run. eval_every, checkpoint_every: in steps; 0 for never in between.
    """

    steps: int
    eval_every: int = 0
    checkpoint_every: int = 0

    def reports(self, step: int) -> bool:
        """Whether training metrics of `step` are emitted."""
        return self._at(step, -(-self.steps // MOST_POINTS)) or step == 1

    def tells_progress(self, step: int) -> bool:
        """Whether progress is emitted after `step`."""
        return self._at(step, -(-self.steps // MOST_PROGRESS))

    def evaluates(self, step: int) -> bool:
        """Whether `step` is followed by an evaluation."""
        return self._at(step, self.eval_every)

    def saves(self, step: int) -> bool:
        """Whether `step` is followed by a checkpoint; the end of the run is not, its artifacts hold the result."""
        return step < self.steps and self.checkpoint_every > 0 and step % self.checkpoint_every == 0

    def _at(self, step: int, every: int) -> bool:
        return step == self.steps or (every > 0 and step % every == 0)
