"""Image classification with a perceptron, a convolutional network, a ResNet with group norm, or a vision transformer.

The networks and their sources are in `nn.mlp`, `nn.cnn`, `nn.resnet` and `nn.vit`; sizes default to what a CPU bears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from models_core.data.image_sets import IMAGE_SETS, ImageSet
from models_core.nn.image_models import CnnModel, MlpModel, ResNetModel, Sizes, VitModel, misfit
from models_core.spec import field, refuse
from models_core.training.workloads._options import WorkloadOptions, images_field, images_of, task_field

if TYPE_CHECKING:
    from models_core.training.workloads._problem import Problem

Channels = tuple[Annotated[int, Field(ge=1, le=1024)], ...]


class Perceptron(MlpModel, title="Perceptron"):
    """Dense layers with ReLU."""

    kind: Literal["mlp"] = field("mlp", title="Network", help="Dense layers.", section="Model")
    hidden: Sizes = field(
        (128, 64), title="Hidden layers", help="Their sizes, first to last.", max_length=8, section="Model"
    )


class Convolutional(CnnModel, title="Convolutional network"):
    """Stages of a 5x5 convolution and pooling, then two dense layers."""

    kind: Literal["cnn"] = field("cnn", title="Network", help="5x5 convolutions with pooling.", section="Model")
    channels: Channels = field(
        (8, 16), title="Channels", help="Of each stage; a stage halves the image.", min_length=1, max_length=5,
        section="Model",
    )  # fmt: skip
    hidden: int = field(64, title="Hidden units", help="Of the dense layer.", ge=1, le=4096, section="Model")


class ResNet(ResNetModel, title="ResNet with group norm"):
    """Four stages (or fewer) of residual blocks."""

    kind: Literal["resnet"] = field("resnet", title="Network", help="Residual blocks, group norm.", section="Model")
    width: int = field(
        8,
        title="Width",
        help="Channels of the first stage, doubled by each later one.",
        ge=2,
        le=256,
        multiple_of=2,
        section="Model",
    )
    blocks: tuple[Annotated[int, Field(ge=1, le=8)], ...] = field(
        (1, 1), title="Blocks", help="Of each stage; ResNet-18 is 2, 2, 2, 2.", min_length=1, max_length=4,
        section="Model",
    )  # fmt: skip


class VisionTransformer(VitModel, title="Vision transformer"):
    """Patches as tokens."""

    kind: Literal["vit"] = field("vit", title="Network", help="Patches as tokens.", section="Model")
    patch: int = field(4, title="Patch", help="Side of a patch; divides the image's.", ge=1, le=32, section="Model")
    width: int = field(32, title="Width", help="Size of a token.", ge=4, le=1024, section="Model")
    heads: int = field(4, title="Heads", help="Must divide the width.", ge=1, le=64, section="Model")
    layers: int = field(2, title="Layers", help="Transformer blocks.", ge=1, le=24, section="Model")


AnyNetwork = Annotated[Perceptron | Convolutional | ResNet | VisionTransformer, Field(discriminator="kind")]


class Options(WorkloadOptions, title="Classifier"):
    """Tell what an image shows."""

    task: Literal["classifier"] = task_field("classifier", "Tell what an image shows.")
    data: ImageSet = images_field()
    network: AnyNetwork = field(Perceptron(), title="Network", help="Which one learns.", section="Model")

    @property
    def examples(self) -> int:
        return images_of(self.data)

    @property
    def has_accuracy(self) -> bool:
        return True

    @model_validator(mode="after")
    def _fits(self) -> Options:
        wrong = misfit(self.network, IMAGE_SETS[self.data].side)
        if wrong:
            refuse(f"network.{wrong[0]}", wrong[1])
        return self


def build(options: Options) -> Problem:
    """The problem; loss in nats an image, "accuracy" 1 where the likeliest class is the right one."""
    import jax.numpy as jnp
    import optax

    from models_core.data import image_sets
    from models_core.nn import image_models
    from models_core.training.workloads._problem import Problem

    images = image_sets.load(options.data)
    init, logits_of = image_models.network(options.network, images.shape, images.classes)

    def values(params: Any, examples: Any) -> dict[str, Any]:
        logits = logits_of(params, examples["x"].reshape(-1, *images.shape))
        right = (jnp.argmax(logits, axis=-1) == examples["y"]).astype(jnp.float32)
        return {"loss": optax.softmax_cross_entropy_with_integer_labels(logits, examples["y"]), "accuracy": right}

    return Problem(
        init=init,
        values=values,
        train={"x": images.train_x, "y": images.train_y},
        test={"x": images.test_x, "y": images.test_y},
    )
