"""What the options of every federated algorithm have in common."""

from __future__ import annotations

from models_core.spec import Spec


class AlgorithmOptions(Spec):
    """Base of every algorithm's options; `kind` is the algorithm's name, the name of its file."""

    kind: str
    server_lr: float

    def clients_needed(self) -> int:
        """How many clients may be at work at once; there must be as many."""
        raise NotImplementedError

    @property
    def synchronous(self) -> bool:
        """Whether it works in rounds whose reports all start from the present model."""
        return False
