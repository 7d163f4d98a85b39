"""The deep autoencoder of the optimizer literature on real images: see `nn.autoencoder` for network, loss and source.

Reduces to: the published setting (784-1000-500-250-30 and back, tanh, sigmoid cross-entropy summed over pixels) at
width 1, code 30 and data "mnist".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.data.image_sets import ImageSet
from models_core.spec import field
from models_core.training.workloads._options import WorkloadOptions, images_field, images_of, task_field

if TYPE_CHECKING:
    from models_core.training.workloads._problem import Problem


class Options(WorkloadOptions, title="Autoencoder"):
    """Compress images to a short code and rebuild them."""

    task: Literal["autoencoder"] = task_field("autoencoder", "Rebuild images from a short code.")
    data: ImageSet = images_field()
    width: float = field(
        0.128,
        title="Width",
        help="Factor on the published hidden sizes 1000, 500 and 250.",
        gt=0,
        le=1,
        section="Model",
    )
    code: int = field(8, title="Code", help="Size of the narrowest layer.", ge=1, le=1000, section="Model")

    @property
    def examples(self) -> int:
        return images_of(self.data)


def build(options: Options) -> Problem:
    """The problem; loss in nats an image."""
    from models_core.data import image_sets
    from models_core.nn import autoencoder
    from models_core.training.workloads._problem import Problem

    images = image_sets.load(options.data)

    def values(params: Any, examples: Any) -> dict[str, Any]:
        x = examples["x"]
        return {"loss": autoencoder.reconstruction_loss(autoencoder.apply(params, x), x)}

    return Problem(
        init=lambda key: autoencoder.init(key, images.train_x.shape[1], width=options.width, code=options.code),
        values=values,
        train={"x": images.train_x},
        test={"x": images.test_x},
    )
