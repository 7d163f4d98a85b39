"""PyTorch twin of `nn.interleaved`: text, images, sound and video in one sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models_core.nn.configs import InterleavedConfig
from models_core.nn.segments import TEXT
from models_core.nn.torch import tower, vision
from models_core.nn.torch.audio import AudioTower
from models_core.nn.torch.decoder import Decoder


class Interleaved(nn.Module):
    """A decoder with the towers that its config has."""

    def __init__(
        self,
        config: InterleavedConfig,
        vocabulary: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.config = config
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.text = Decoder(config.decoder, vocabulary, **where)
        self.vision = None if config.vision is None else vision.VisionTower(config.vision, **where)
        self.projector = (
            None if config.vision is None else vision.Projector(config.vision, config.decoder.d_model, **where)
        )
        self.audio = None if config.audio is None else AudioTower(config.audio, config.decoder.d_model, **where)

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Next-token logits (B, T, V) at every column. batch: `Interleaved.arrays()` of `nn.segments`."""
        held = self._placed(batch)
        stream = self.text.run(self.embed(batch), held["positions"], held["blocks"])
        return self.text.unembed(self.text.final_norm(stream[-1]))

    def embed(self, batch: Mapping[str, Any]) -> Tensor:
        """The decoder's input: embedded text, and soft tokens in their places."""
        held = self._placed(batch)
        x = self.text.embed(held["tokens"])
        soft = self._soft(held)
        if soft is None:
            return x
        return torch.where((held["kinds"] > TEXT)[:, :, None], soft[held["places"]].to(x.dtype), x)

    def _soft(self, held: Mapping[str, Tensor]) -> Tensor | None:
        parts: list[Tensor] = []
        if self.vision is not None and self.projector is not None:
            for name in ("images", "frames"):
                if name in held:
                    shape = self.config.vision if name == "images" else self.config.frame
                    parts.append(self.projector(self.vision(held[name]), shape))
        if self.audio is not None and "mels" in held:
            parts.append(self.audio(held["mels"], held["mel_lengths"]))
        return torch.cat([part.flatten(0, 1) for part in parts]) if parts else None

    def _placed(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        device = self.text.embedding.device
        held = {name: torch.as_tensor(value, device=device) for name, value in batch.items()}
        return {name: value.long() if value.dtype == torch.int32 else value for name, value in held.items()}

    def _places(self) -> tower.Places:
        found: tower.Places = {}
        if self.vision is not None and self.projector is not None:
            found |= vision.places(self.vision, self.projector)
        return found | (self.audio.places() if self.audio is not None else {})

    def load_tree(self, tree: Mapping[str, Any]) -> Interleaved:
        """Take the values of a parameter tree of `nn.interleaved`; returns self."""
        self.text.load_tree(tree["text"])
        tower.load(self._places(), tree)
        return self

    def tree(self, *, gradients: bool = False) -> dict[str, Any]:
        """Parameters, or their gradients, as a tree laid out as in `nn.interleaved`."""
        return {"text": self.text.tree(gradients=gradients), **tower.to_tree(self._places(), gradients=gradients)}
