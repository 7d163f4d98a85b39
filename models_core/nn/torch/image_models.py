"""`nn.image_models` in PyTorch: the network that the same options choose, with the parameters of the original."""

from __future__ import annotations

import torch

from models_core.nn.image_models import AnyImageModel, CnnModel, MlpModel, ResNetModel, VitModel
from models_core.nn.torch.cnn import Cnn
from models_core.nn.torch.mlp import Mlp
from models_core.nn.torch.resnet import ResNet
from models_core.nn.torch.vit import VisionTransformer


class PixelMlp(Mlp):
    """A perceptron on the pixels of images (batch, height, width, channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


def build(options: AnyImageModel, shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    """The network, from images (batch, height, width, depth) to logits (batch, classes); weights from PyTorch's state.

    Raises ValueError when the images are too small for the stages.
    """
    match options:
        case MlpModel(hidden=hidden):
            return PixelMlp([shape[0] * shape[1] * shape[2], *hidden, classes])
        case CnnModel(channels=channels, hidden=units):
            return Cnn(shape, classes=classes, channels=channels, hidden=units)
        case ResNetModel(width=width, blocks=blocks):
            return ResNet(shape[2], classes=classes, width=width, blocks=blocks)
        case VitModel(patch=patch, width=width, layers=layers, heads=heads):
            return VisionTransformer(shape, classes=classes, patch=patch, width=width, layers=layers, heads=heads)
