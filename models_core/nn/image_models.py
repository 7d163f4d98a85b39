"""Image classifiers as a choice in a spec, readable without an array library; `build` makes the one chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from models_core.spec import Spec, field

Sizes = tuple[Annotated[int, Field(ge=1, le=4096)], ...]


class MlpModel(Spec, title="Perceptron"):
    """Hidden layers on the pixels."""

    kind: Literal["mlp"] = field("mlp", title="Network", help="Hidden layers on the pixels.", section="Model")
    hidden: Sizes = field((32,), title="Hidden layers", help="Their sizes.", max_length=8, section="Model")


class CnnModel(Spec, title="Convolutions"):
    """Stages of 5x5 convolution and pooling, and a hidden layer."""

    kind: Literal["cnn"] = field("cnn", title="Network", help="Convolutions and pooling.", section="Model")
    channels: Sizes = field(
        (16, 32), title="Channels", help="Of each stage; each halves the image.", min_length=1, max_length=4,
        section="Model",
    )  # fmt: skip
    hidden: int = field(128, title="Hidden layer", help="Its size.", ge=1, le=4096, section="Model")


class ResNetModel(Spec, title="Residual network"):
    """A ResNet with group normalisation."""

    kind: Literal["resnet"] = field("resnet", title="Network", help="Residual blocks.", section="Model")
    width: int = field(
        16, title="Width", help="Channels of the first stage; even.", ge=2, le=1024, multiple_of=2, section="Model"
    )
    blocks: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=5)] = field(
        (1, 1, 1), title="Blocks", help="In each stage; later ones halve the image.", section="Model"
    )


AnyImageModel = Annotated[MlpModel | CnnModel | ResNetModel, Field(discriminator="kind")]
Apply = Callable[[Any, Any], Any]


def build(
    options: MlpModel | CnnModel | ResNetModel, key: Any, shape: tuple[int, int, int], classes: int
) -> tuple[Any, Apply]:
    """Fresh parameters, and `apply(params, images)`: logits (batch, classes) of images (batch, height, width, depth).

    Raises ValueError when the images are too small for the stages.
    """
    match options:
        case MlpModel(hidden=hidden):
            from models_core.nn import mlp

            pixels = shape[0] * shape[1] * shape[2]
            return mlp.init(key, [pixels, *hidden, classes]), lambda p, x: mlp.apply(p, x.reshape(x.shape[0], -1))
        case CnnModel(channels=channels, hidden=units):
            from models_core.nn import cnn

            return cnn.init(key, shape, classes=classes, channels=channels, hidden=units), cnn.apply
        case ResNetModel(width=width, blocks=blocks):
            from models_core.nn import resnet

            return resnet.init(key, shape[2], classes=classes, width=width, blocks=blocks), resnet.apply


def smallest_side(options: MlpModel | CnnModel | ResNetModel) -> int:
    """Pixels that an image must have along a side."""
    return 2 ** len(options.channels) if isinstance(options, CnnModel) else 1
