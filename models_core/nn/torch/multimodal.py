"""PyTorch twin of `nn.multimodal`: Gemma 3 with images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models_core.errors import InputInvalid
from models_core.nn.configs import DecoderConfig, VisionConfig
from models_core.nn.torch import tower, vision
from models_core.nn.torch.decoder import Decoder

SOFT_TOKEN = 262_144


class Multimodal(nn.Module):
    """A decoder whose image places are taken by what tower and projector make of the images."""

    def __init__(
        self,
        config: DecoderConfig,
        vision_config: VisionConfig,
        vocabulary: int,
        *,
        soft_token: int = SOFT_TOKEN,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.soft_token = soft_token
        self.text = Decoder(config, vocabulary, device=device, dtype=dtype)
        self.vision = vision.VisionTower(vision_config, device=device, dtype=dtype)
        self.projector = vision.Projector(vision_config, config.d_model, device=device, dtype=dtype)

    def forward(self, tokens: Tensor, pixels: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Next-token logits (B, T, V). pixels: the images in the order of their places."""
        states = self.hidden_states(tokens, pixels, positions)
        return self.text.unembed(self.text.final_norm(states[-1]))

    def hidden_states(
        self, tokens: Tensor, pixels: Tensor | None = None, positions: Tensor | None = None
    ) -> list[Tensor]:
        """The residual stream: after the embedding, then after each block, before the final norm."""
        soft = None if pixels is None else self.soft_tokens(pixels)
        blocks = None if soft is None else image_blocks(tokens, self.soft_token)
        return self.text.run(self.embed(tokens, soft), positions, blocks)

    def soft_tokens(self, pixels: Tensor) -> Tensor:
        """The tokens of each image (images, tokens, D)."""
        made: Tensor = self.projector(self.vision(pixels))
        return made

    def embed(self, tokens: Tensor, soft: Tensor | None) -> Tensor:
        """Embedded text with soft tokens, unscaled, in the image places; refuses when their numbers differ."""
        here = tokens == self.soft_token
        given, found = 0 if soft is None else soft.shape[0] * soft.shape[1], int(here.sum())
        if given != found:
            reason = f"The text has {found} image places, the images make {given} soft tokens."
            raise InputInvalid("Images and text do not fit.", fields={"tokens": reason})
        x = self.text.embed(tokens.masked_fill(here, 0))
        return x if soft is None else x.masked_scatter(here[:, :, None], soft.to(x.dtype))

    def load_tree(self, tree: Mapping[str, Any]) -> Multimodal:
        """Take the values of a parameter tree of `nn.multimodal`; returns self."""
        self.text.load_tree(tree["text"])
        tower.load(vision.places(self.vision, self.projector), tree)
        return self

    def tree(self, *, gradients: bool = False) -> dict[str, Any]:
        """Parameters, or their gradients, as a tree laid out as in `nn.multimodal`."""
        rest = tower.to_tree(vision.places(self.vision, self.projector), gradients=gradients)
        return {"text": self.text.tree(gradients=gradients), **rest}


def image_blocks(tokens: Tensor, soft_token: int = SOFT_TOKEN) -> Tensor:
    """Number of the run of image tokens that a token belongs to, -1 for text."""
    here = tokens == soft_token
    before = nn.functional.pad(here, (1, 0))[:, :-1]
    number = (here & ~before).int().cumsum(1) - 1
    return torch.where(here, number, -1)
