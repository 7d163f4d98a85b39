"""No compression: four bytes a number.

>>> Options().upload_bytes([3, 2])
20
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from models_core.spec import Spec, field


class Options(Spec, title="No compression"):
    """Changes are sent as they are."""

    kind: Literal["none"] = field("none", title="Compression", help="None.", section="Communication")

    def upload_bytes(self, sizes: Sequence[int]) -> int:
        """sizes: of the tensors."""
        return 4 * sum(sizes)


def build(options: Options) -> Callable[[Any, Any], Any] | None:
    """Nothing to do."""
    return None
