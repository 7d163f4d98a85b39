"""What the options of every search strategy have in common."""

from __future__ import annotations

from typing import Any

from models_core.spec import Spec, field


class StrategyOptions(Spec):
    """Base of every strategy's options; `kind` is its name, the name of its file."""

    kind: str

    @property
    def gives_up(self) -> bool:
        """Whether trials may end early."""
        return False


def kind_field(name: str, help: str) -> Any:
    """The field `kind`: the name of the file, and what the form says of it."""
    return field(name, title="Strategy", help=help, section="Search")
