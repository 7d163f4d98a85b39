"""PyTorch twin of `nn.decoder`: the same architecture, parameters and numbers, as a module.

Projections that share an input are one kernel: query, key and value; gate and up. `load_tree` and `tree` translate from
and to the parameter tree of `nn.decoder`, so that weights and gradients of both can be compared leaf by leaf.
Source and formulas: see `nn.decoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models_core.errors import InputInvalid
from models_core.nn.configs import DecoderConfig
from models_core.nn.torch.arrays import to_numpy, to_tensor
from models_core.nn.torch.attention import Attention, Mask, RmsNorm, Rotation, masks, rotations
from models_core.nn.torch.geglu import geglu
from models_core.nn.torch.linear import linear
from models_core.nn.torch.moe import Experts, Routing, stacked

Read = Callable[[int, Attention, Tensor], Tensor]


class FeedForward(nn.Module):
    """GeGLU with the tanh approximation of GELU; gate above up in one kernel."""

    def __init__(self, config: DecoderConfig, **where: Any) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(2 * config.d_ff, config.d_model, **where))
        self.down = nn.Parameter(torch.empty(config.d_model, config.d_ff, **where))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D)."""
        return linear(geglu(linear(x, self.gate_up)), self.down)


class Block(nn.Module):
    """One block of the decoder."""

    def __init__(self, config: DecoderConfig, **where: Any) -> None:
        super().__init__()
        d = config.d_model
        self.attention = Attention(config, **where)
        self.mlp = Experts(config, **where) if config.n_experts else FeedForward(config, **where)
        self.pre_attention_norm, self.pre_mlp_norm = RmsNorm(d, **where), RmsNorm(d, **where)
        self.post_attention_norm = RmsNorm(d, **where) if config.post_norms else None
        self.post_mlp_norm = RmsNorm(d, **where) if config.post_norms else None

    def forward(
        self,
        x: Tensor,
        read: Callable[[Attention, Tensor], Tensor],
        valid: Tensor | None = None,
        routing: list[Routing] | None = None,
    ) -> Tensor:
        """x (B, T, D); `read` is the attention, from its module and normalised input.

        valid: tokens that count for experts. routing: gets what the experts' router did, if there are any.
        """
        branch = read(self.attention, self.pre_attention_norm(x))
        x = x + (branch if self.post_attention_norm is None else self.post_attention_norm(branch))
        branch = self.pre_mlp_norm(x)
        if isinstance(self.mlp, Experts):
            branch, report = self.mlp(branch, valid)
            if routing is not None:
                routing.append(report)
        else:
            branch = self.mlp(branch)
        out: Tensor = x + (branch if self.post_mlp_norm is None else self.post_mlp_norm(branch))
        return out


class Decoder(nn.Module):
    """Decoder of `config` with `vocabulary` embedding rows; kernels drawn with variance 1/fan-in."""

    def __init__(
        self,
        config: DecoderConfig,
        vocabulary: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.config = config
        self.embedding = nn.Parameter(torch.empty(vocabulary, config.d_model, **where))  # type: ignore[arg-type]
        self.layers = nn.ModuleList(Block(config, **where) for _ in range(config.n_layers))
        self.final_norm = RmsNorm(config.d_model, **where)  # type: ignore[arg-type]
        if self.embedding.device.type != "meta":
            for parameter in self.parameters():
                if parameter.ndim > 1:
                    nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
            for block in self.layers:
                if isinstance(block.mlp, Experts):
                    # (in, out), unlike the other matrices.
                    nn.init.normal_(block.mlp.router, std=config.d_model**-0.5, generator=generator)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        blocks: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Next-token logits (B, T, V); the arguments are those of `nn.decoder.apply`."""
        return self.unembed(self.trunk(tokens, positions, blocks, segments))

    def trunk(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        blocks: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """What the last block leaves, normalised (B, T, D)."""
        return self.routed_trunk(tokens, positions, blocks, segments)[0]

    def routed_trunk(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        blocks: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """`trunk`, and what the routers of all layers did; None without experts."""
        routing: list[Routing] = []
        stream = self.run(self.embed(tokens), positions, blocks, segments, routing)
        out: Tensor = self.final_norm(stream[-1])
        return out, stacked(routing)

    def unembed(self, x: Tensor) -> Tensor:
        """Logits of the tied output layer, capped if the config says so."""
        logits = linear(x, self.embedding)
        cap = self.config.logit_soft_cap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def hidden_states(
        self, tokens: Tensor, positions: Tensor | None = None, blocks: Tensor | None = None
    ) -> list[Tensor]:
        """The residual stream: after the embedding, then after each block, before the final norm."""
        return self.run(self.embed(tokens), positions, blocks)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embedding rows times sqrt(d), the factor rounded to the embedding's dtype first."""
        self.check_tokens(tokens)
        return self.look_up(tokens)

    def look_up(self, tokens: Tensor) -> Tensor:
        """`embed` of ids that are known to be in the vocabulary."""
        return F.embedding(tokens, self.embedding) * torch.tensor(self.config.d_model**0.5, dtype=self.embedding.dtype)

    def run(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        blocks: Tensor | None = None,
        segments: Tensor | None = None,
        routing: list[Routing] | None = None,
    ) -> list[Tensor]:
        """The residual stream of embedded input (B, T, D), whatever it was made from.

        routing: gets one report a layer with experts.
        """
        config, time = self.config, x.shape[1]
        self.check_length(time)
        mask = masks(config, positions, time, blocks, x.device, segments)
        places = torch.arange(time, device=x.device)[None] if positions is None else positions
        angle = rotations(config, places)
        read = partial(_read, config, angle=angle, mask=mask)
        return self.blocks(x, read, places >= 0, routing)

    def blocks(
        self, x: Tensor, read: Read, valid: Tensor | None = None, routing: list[Routing] | None = None
    ) -> list[Tensor]:
        """All blocks, attention by `read(layer number, module, input)`; the stream after each."""
        states = [x]
        for index, layer in enumerate(self.layers):
            x = layer(x, partial(read, index), valid, routing)
            states.append(x)
        return states

    def check_tokens(self, tokens: Tensor) -> None:
        """Refuse ids outside the vocabulary (looked at on the CPU alone) and sequences past the context."""
        self.check_length(tokens.shape[-1])
        if tokens.device.type != "cpu" or not tokens.numel() or torch.compiler.is_compiling():
            return
        low, high = (int(bound) for bound in tokens.aminmax())
        rows = self.embedding.shape[0]
        if low < 0 or high >= rows:
            reason = f"Must lie in 0 .. {rows - 1}, found {low if low < 0 else high}."
            raise InputInvalid("A token id is outside the vocabulary.", fields={"tokens": reason})

    def check_length(self, length: int) -> None:
        """Refuse more tokens than the config's context."""
        if self.config.context is not None and length > self.config.context:
            reason = f"At most {self.config.context} tokens, got {length}."
            raise InputInvalid("The sequence is longer than the model's context.", fields={"context": reason})

    @torch.no_grad()
    def load_tree(self, tree: Mapping[str, Any]) -> Decoder:
        """Take the values of a parameter tree of `nn.decoder` (arrays of numpy or anything it reads); returns self."""
        self.embedding.copy_(to_tensor(tree["embedding"]))
        self.final_norm.weight.copy_(to_tensor(tree["final_norm"]))
        for block, layer in zip(self.layers, tree["layers"], strict=True):
            for parameter, leaves, rows in _leaves(block):
                parts = [to_tensor(_at(layer, path)) for path in leaves]
                parameter.copy_(torch.cat([part.T for part in parts]) if rows else parts[0])
        return self

    def tree(self, *, gradients: bool = False) -> dict[str, Any]:
        """Parameters, or their gradients, as a tree of numpy arrays laid out as in `nn.decoder`."""

        def value(parameter: nn.Parameter) -> Tensor:
            if not gradients:
                return parameter.detach()
            return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

        found: dict[str, Any] = {}
        for path, part in self.leaves(value).items():
            _put(found, path, to_numpy(part))
        return found | {"layers": [found["layers"][str(index)] for index in range(len(self.layers))]}

    def leaves(self, value: Callable[[nn.Parameter], Tensor]) -> dict[str, Tensor]:
        """The tensors that `value` gives for the parameters, cut and turned into the leaves of `nn.decoder`'s tree.

        By their paths ("layers.0.attention.query"), each a view of what it was cut from.
        """
        found = {"embedding": value(self.embedding)}
        for index, block in enumerate(self.layers):
            for parameter, paths, rows in _leaves(block):
                whole = value(parameter)
                parts = [part.T for part in torch.split(whole, rows)] if rows else [whole]
                found |= {f"layers.{index}.{path}": part for path, part in zip(paths, parts, strict=True)}
        return found | {"final_norm": value(self.final_norm.weight)}


def _read(
    config: DecoderConfig,
    index: int,
    attention: Attention,
    branch: Tensor,
    *,
    angle: dict[bool, Rotation],
    mask: dict[bool, Mask],
) -> Tensor:
    is_global = config.is_global(index)
    return attention.read(*attention.project(branch, angle[is_global]), mask[is_global])


def _leaves(block: Any) -> list[tuple[nn.Parameter, list[str], list[int]]]:
    """Each parameter of a block, the tree leaves that it joins, and the rows of each (none: as in the tree)."""
    attention, mlp, config = block.attention, block.mlp, block.attention.config
    query, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    found: list[tuple[nn.Parameter, list[str], list[int]]] = [
        (attention.qkv, ["attention.query", "attention.key", "attention.value"], [query, kv, kv]),
        (attention.out, ["attention.out"], [config.d_model]),
    ]
    if config.n_experts:
        found += [(getattr(mlp, name), [f"mlp.{name}"], []) for name in ("router", "gate", "up", "down")]
    else:
        found += [(mlp.gate_up, ["mlp.gate", "mlp.up"], [config.d_ff, config.d_ff])]
        found += [(mlp.down, ["mlp.down"], [config.d_model])]
    if config.qk_norm:
        found += [(attention.query_norm.weight, ["attention.query_norm"], [])]
        found += [(attention.key_norm.weight, ["attention.key_norm"], [])]
    names = ["pre_attention_norm", "pre_mlp_norm"]
    names += ["post_attention_norm", "post_mlp_norm"] if config.post_norms else []
    return found + [(getattr(block, name).weight, [name], []) for name in names]


def _at(tree: Any, path: str) -> np.ndarray[Any, Any]:
    for part in path.split("."):
        tree = tree[part]
    return np.asarray(tree)


def _put(tree: dict[str, Any], path: str, leaf: Any) -> None:
    *folders, name = path.split(".")
    for part in folders:
        tree = tree.setdefault(part, {})
    tree[name] = leaf
