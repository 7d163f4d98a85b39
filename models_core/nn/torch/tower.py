"""PyTorch twin of `nn.tower`: the block of the towers for images and sound, and the tree leaves of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models_core.nn.torch.arrays import to_numpy, to_tensor
from models_core.nn.torch.attention import EPS

# Each leaf of a tree by its dotted path, and whether it is stored transposed.
Places = dict[str, tuple[nn.Parameter, bool]]


class TowerBlock(nn.Module):
    """One pre-norm block; every linear has a bias, its weight (out, in)."""

    def __init__(self, width: int, n_heads: int, d_ff: int, **where: Any) -> None:
        super().__init__()
        self.heads = n_heads
        self.attention_norm = nn.LayerNorm(width, EPS, **where)
        self.query, self.key = nn.Linear(width, width, **where), nn.Linear(width, width, **where)
        self.value, self.out = nn.Linear(width, width, **where), nn.Linear(width, width, **where)
        self.mlp_norm = nn.LayerNorm(width, EPS, **where)
        self.up, self.down = nn.Linear(width, d_ff, **where), nn.Linear(d_ff, width, **where)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """x (items, places, width). valid (items, places): places that others may look at, all when None."""
        items, count, width = x.shape
        branch = self.attention_norm(x)
        q, k, v = (
            linear(branch).view(items, count, self.heads, -1).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        mask = None if valid is None else valid[:, None, None, :]
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).reshape(items, count, width))
        out: Tensor = x + self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))
        return out

    def places(self, at: str) -> Places:
        """The block's leaves below the path `at`."""
        found: Places = {}
        for name in ("query", "key", "value", "out"):
            found |= linear_places(f"{at}attention.{name}", getattr(self, name))
        for name in ("up", "down"):
            found |= linear_places(f"{at}mlp.{name}", getattr(self, name))
        for name in ("attention_norm", "mlp_norm"):
            found |= norm_places(at + name, getattr(self, name))
        return found


def linear_places(path: str, module: Any) -> Places:
    """Leaves of a torch.nn.Linear."""
    return {path + ".kernel": (module.weight, True), path + ".bias": (module.bias, False)}


def norm_places(path: str, module: Any) -> Places:
    """Leaves of a torch.nn.LayerNorm."""
    return {path + ".weight": (module.weight, False), path + ".bias": (module.bias, False)}


@torch.no_grad()
def load(places: Places, tree: Mapping[str, Any]) -> None:
    """Take the values of `tree`."""
    for path, (parameter, turned) in places.items():
        leaf: Any = tree
        for part in path.split("."):
            leaf = leaf[int(part)] if part.isdigit() else leaf[part]
        value = to_tensor(leaf)
        parameter.copy_(value.T if turned else value)


def to_tree(places: Places, *, gradients: bool = False) -> dict[str, Any]:
    """The tree of the parameters or their gradients; levels of numbers are lists."""
    tree: dict[str, Any] = {}
    for path, (parameter, turned) in places.items():
        value = parameter.detach()
        if gradients:
            value = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        here: Any = tree
        *folders, name = path.split(".")
        for part in folders:
            here = here.setdefault(part, {})
        here[name] = to_numpy(value.T if turned else value)
    listed: dict[str, Any] = _listed(tree)
    return listed


def _listed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    inner = {key: _listed(value) for key, value in tree.items()}
    numbered = bool(inner) and all(key.isdigit() for key in inner)
    return [inner[str(index)] for index in range(len(inner))] if numbered else inner
