"""Small checkpoints written by the transformers library, every tensor random, and what it computes with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from models_core.nn.weights import names
from models_core.nn.weights.hf_config import Description

VOCABULARY, TIME = 61, 19
SOFT = 57
_SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 40, "head_dim": 8}
_SMALL = {"max_position_embeddings": 64, "sliding_window": 5}
_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


def _gemma(heads: int, kv: int) -> Any:
    shape = _SHAPE | {"num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": kv}
    return transformers.GemmaForCausalLM(transformers.GemmaConfig(**shape, max_position_embeddings=64))


def _gemma3(layers: int, heads: int, kv: int, **more: Any) -> Any:
    shape = _SHAPE | _SMALL | {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv}
    return transformers.Gemma3TextConfig(**(shape | {"query_pre_attn_scalar": 8} | more))


def _multimodal() -> Any:
    vision = transformers.SiglipVisionConfig(
        hidden_size=24,
        intermediate_size=36,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=16,
        patch_size=4,
        hidden_act="gelu_pytorch_tanh",
        vision_use_head=False,
    )
    config = transformers.Gemma3Config(
        text_config=_gemma3(4, 4, 2, sliding_window=3, sliding_window_pattern=3).to_dict(),
        vision_config=vision.to_dict(),
        mm_tokens_per_image=4,
        boi_token_index=58,
        eoi_token_index=59,
        image_token_index=SOFT,
    )
    return transformers.Gemma3ForConditionalGeneration(config)


# Every published kind of shape: one key head; heads * head_dim != d; a remainder after the pattern and a window shorter
# than the text; eight queries a key; a scale that is not head_dim^-0.5 with stretched positions; images.
MODELS: dict[str, Callable[[], Any]] = {
    "gemma one key head": lambda: _gemma(3, 1),
    "gemma full heads": lambda: _gemma(4, 4),
    "gemma3 remainder": lambda: transformers.Gemma3ForCausalLM(_gemma3(8, 4, 1)),
    "gemma3 grouped by eight": lambda: transformers.Gemma3ForCausalLM(_gemma3(2, 8, 1, sliding_window_pattern=2)),
    "gemma3 scale and factor": lambda: transformers.Gemma3ForCausalLM(
        _gemma3(3, 4, 2, query_pre_attn_scalar=20, rope_parameters=_ROPE, sliding_window_pattern=2)
    ),
    "gemma3 images": _multimodal,
}


@dataclass(frozen=True)
class Peer:
    """A transformers model, its checkpoint, one batch, and what it makes of the batch."""

    name: str
    model: Any
    folder: Path
    tokens: np.ndarray
    pixels: np.ndarray | None
    logits: np.ndarray
    states: list[np.ndarray]
    # Cotangent of the logits whose gradients are compared.
    weight: np.ndarray

    def call(self, tokens: np.ndarray, **more: Any) -> Any:
        """The model on a batch with this peer's images, if it has any."""
        if self.pixels is not None:
            more |= {
                "pixel_values": torch.from_numpy(self.pixels),
                "token_type_ids": torch.from_numpy((tokens == SOFT).astype(np.int64)),
            }
        return self.model(input_ids=torch.from_numpy(tokens), **more)

    def gradients(self, what: Description) -> dict[tuple[str | int, ...], np.ndarray]:
        """Gradients of the weighted sum of logits, by place in our tree."""
        self.model.zero_grad()
        (self.call(self.tokens).logits * torch.from_numpy(self.weight)).sum().backward()
        grads = {name: parameter.grad.numpy() for name, parameter in self.model.named_parameters()}
        spelled = names.canonical(grads, what)
        found = {spelled[name]: grad for name, grad in grads.items()}
        return {leaf.path: leaf.to_tree(found[leaf.name]) for leaf in names.leaves(what)}


def randomise(model: Any, seed: int = 0) -> Any:
    """Every tensor random: fresh models hide a missing 1 + w, a lost bias or a dead projector behind zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.3
            centre = 1.0 if "layer_norm" in name or "post_layernorm.weight" in name else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + centre)
    return model.eval()


@pytest.fixture(scope="session", params=MODELS)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """Each of MODELS in turn."""
    return _peer(request.param, tmp_path_factory.mktemp("peer"))


@pytest.fixture(scope="session")
def images_peer(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """The one with images."""
    return _peer("gemma3 images", tmp_path_factory.mktemp("images"))


def _peer(name: str, folder: Path) -> Peer:
    model = randomise(MODELS[name]())
    model.set_attn_implementation("eager")
    model.save_pretrained(folder)
    generator = np.random.default_rng(1)
    # Never id 0: the peer's padding row gets no gradient from the gather.
    tokens = generator.integers(1, SOFT, (2, TIME))
    pixels = None
    if name == "gemma3 images":
        for row, places in ((0, (3, 11)), (1, (6,))):
            for place in places:
                tokens[row, place : place + 4] = SOFT
        pixels = generator.uniform(-1, 1, (3, 3, 16, 16)).astype(np.float32)
    weight = generator.normal(size=(2, TIME, VOCABULARY)).astype(np.float32)
    held = Peer(name, model, folder, tokens, pixels, np.empty(0), [], weight)
    layers = (model.model.language_model if pixels is not None else model.model).layers
    # The library normalises the last state that it returns; hooks see the stream itself.
    states: list[np.ndarray] = []
    hooks = [layers[0].register_forward_pre_hook(lambda _, args: states.append(args[0].detach().numpy()))]
    hooks += [layer.register_forward_hook(lambda _, __, out: states.append(out.detach().numpy())) for layer in layers]
    with torch.no_grad():
        logits = held.call(tokens).logits.numpy()
    for hook in hooks:
        hook.remove()
    return Peer(name, model, folder, tokens, pixels, logits, states, weight)
