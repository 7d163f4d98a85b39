"""What the options of every workload have in common."""

from __future__ import annotations

from typing import Any

from models_core.data.image_sets import IMAGE_SETS, ImageSet
from models_core.spec import Spec, field


class WorkloadOptions(Spec):
    """Base of every workload's options; `task` is the workload's name, the name of its file."""

    task: str

    @property
    def examples(self) -> int | None:
        """Training examples, where that is known before the data is read."""
        return None

    @property
    def has_accuracy(self) -> bool:
        """Whether `eval/accuracy` is reported."""
        return False

    @property
    def one_pass(self) -> bool:
        """Whether every example is seen once, and the loss before its update is what counts."""
        return False


def task_field(name: str, help: str) -> Any:
    """The field `task`: the name of the file, and what the form says of it."""
    return field(name, title="Task", help=help, section="Task")


def images_field() -> Any:
    """The field `data` of tasks on images."""
    carried = [name for name, info in IMAGE_SETS.items() if info.carried]
    return field(
        "digits",
        title="Images",
        help=f"{' and '.join(carried)} are always there, the others need their files on the node.",
        section="Task",
    )


def images_of(name: ImageSet) -> int:
    """Training images of the set."""
    return IMAGE_SETS[name].train
