"""Image classifiers as a choice in a spec, readable without an array library; `build` makes the one chosen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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


class VitModel(Spec, title="Transformer of patches"):
    """A vision transformer."""

    kind: Literal["vit"] = field("vit", title="Network", help="Patches as tokens.", section="Model")
    patch: int = field(4, title="Patch", help="Its side; divides the image's.", ge=1, le=64, section="Model")
    width: int = field(32, title="Width", help="Size of a token.", ge=4, le=4096, section="Model")
    heads: int = field(4, title="Heads", help="Must divide the width.", ge=1, le=64, section="Model")
    layers: int = field(2, title="Layers", help="Transformer blocks.", ge=1, le=64, section="Model")


AnyImageModel = Annotated[MlpModel | CnnModel | ResNetModel | VitModel, Field(discriminator="kind")]
Init = Callable[[Any], Any]
Apply = Callable[[Any, Any], Any]


def build(options: AnyImageModel, key: Any, shape: tuple[int, int, int], classes: int) -> tuple[Any, Apply]:
    """Fresh parameters, and what applies them: see `network`."""
    init, apply = network(options, shape, classes)
    return init(key), apply


def network(options: AnyImageModel, shape: tuple[int, int, int], classes: int) -> tuple[Init, Apply]:
    """`init(key)`, and `apply(params, images)`: logits (batch, classes) of images (batch, height, width, depth).

    `init` raises ValueError where `misfit` finds something. `nn.torch.image_models.build` makes the module of the same
    options and parameters.
    """
    match options:
        case MlpModel(hidden=hidden):
            from models_core.nn import mlp

            sizes = [shape[0] * shape[1] * shape[2], *hidden, classes]
            return partial(mlp.init, sizes=sizes), lambda p, x: mlp.apply(p, x.reshape(x.shape[0], -1))
        case CnnModel(channels=channels, hidden=units):
            from models_core.nn import cnn

            return partial(cnn.init, shape=shape, classes=classes, channels=channels, hidden=units), cnn.apply
        case ResNetModel(width=width, blocks=blocks):
            from models_core.nn import resnet

            init = partial(resnet.init, channels=shape[2], classes=classes, width=width, blocks=blocks)
            return init, resnet.apply
        case VitModel(patch=patch, width=width, layers=layers, heads=heads):
            from models_core.nn import vit

            init = partial(vit.init, shape=shape, classes=classes, patch=patch, width=width, layers=layers)
            return init, partial(vit.apply, patch=patch, heads=heads)


def misfit(options: AnyImageModel, side: int) -> tuple[str, str] | None:
    """The option that does not go with square images of `side` pixels, and why; None when all do."""
    match options:
        case CnnModel(channels=channels) if side >> len(channels) < 1:
            return "channels", f"Images of {side} pixels cannot be halved that often."
        case VitModel(patch=patch) if side % patch:
            return "patch", f"Must divide the {side} pixels of an image's side."
        case VitModel(width=width, heads=heads) if width % heads:
            return "heads", f"Must divide the width of {width}."
    return None
