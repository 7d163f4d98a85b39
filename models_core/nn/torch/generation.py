"""PyTorch twin of `nn.generation`: prompts in chunks through a cache, then token by token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from models_core.errors import InputInvalid
from models_core.nn.prompts import Sampling, chunk_bounds, left_padded
from models_core.nn.torch.cache import Cache
from models_core.nn.torch.decoder import Decoder


@torch.inference_mode()
def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new: int,
    sampling: Sampling = Sampling(),  # noqa: B008
    stop_tokens: Sequence[int] = (),
    generator: torch.Generator | None = None,
    chunk: int = 512,
) -> list[list[int]]:
    """New tokens of each prompt, at most `max_new`, ending with a stop token if one was met."""
    _check(max_new, chunk)
    table, padding = left_padded(prompts, model.embedding.shape[0])
    device = model.embedding.device
    tokens = torch.from_numpy(table).to(device)
    cache = Cache(model, len(prompts), tokens.shape[1] + max_new, torch.from_numpy(padding).to(device))
    x = prefill(model, cache, tokens, chunk)
    return _go_on(model, cache, x, max_new, sampling, stop_tokens, generator)


@torch.inference_mode()
def generate_from(
    model: Decoder,
    x: Tensor,
    *,
    padding: NDArray[Any],
    blocks: NDArray[Any],
    max_new: int,
    sampling: Sampling = Sampling(),  # noqa: B008
    stop_tokens: Sequence[int] = (),
    generator: torch.Generator | None = None,
    chunk: int = 512,
) -> list[list[int]]:
    """`generate` after embedded columns (B, T, D); the arguments are those of `nn.generation.generate_from`."""
    _check(max_new, chunk)
    cache = Cache(model, len(x), x.shape[1] + max_new, torch.as_tensor(padding, device=x.device))
    numbers = torch.as_tensor(blocks, device=x.device)
    for start, stop in pairwise(chunk_bounds(blocks, chunk)):
        out = cache.extend(x[:, start:stop], numbers[:, start:stop])
    return _go_on(model, cache, out, max_new, sampling, stop_tokens, generator)


def _check(max_new: int, chunk: int) -> None:
    if max_new < 1 or chunk < 1:
        raise InputInvalid("Generation cannot start.", fields={"max_new": "At least 1.", "chunk": "At least 1."})


def _go_on(
    model: Decoder,
    cache: Cache,
    x: Tensor,
    max_new: int,
    sampling: Sampling,
    stop_tokens: Sequence[int],
    generator: torch.Generator | None,
) -> list[list[int]]:
    rows, device = len(x), x.device
    stops, made = torch.tensor(list(stop_tokens), device=device, dtype=torch.int64), []
    done = torch.zeros(rows, dtype=torch.bool, device=device)
    lengths = torch.zeros(rows, dtype=torch.int64, device=device)
    for index in range(max_new):
        chosen = choose(model.unembed(x[:, -1]), sampling, generator)
        made.append(chosen)
        if len(stops):
            lengths += ~done
            done |= (chosen[:, None] == stops).any(1)
            if bool(done.all()):
                break
        if index + 1 < max_new:
            x = cache.extend(model.look_up(chosen[:, None]))
    table = torch.stack(made, dim=1).tolist()
    if not len(stops):
        return [list(row) for row in table]
    return [row[:count] for row, count in zip(table, lengths.tolist(), strict=True)]


def prefill(model: Decoder, cache: Cache, tokens: Tensor, chunk: int = 512) -> Tensor:
    """Run prompts (batch, time) through the cache in chunks; the output of the last chunk (batch, time, D)."""
    for part in torch.split(tokens, chunk, dim=1):
        x = cache.extend(model.embed(part))
    return x


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> Tensor:
    """The next token of each row of logits (batch, vocabulary)."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial(filtered(logits, sampling).softmax(-1), 1, generator=generator)[:, 0]


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits over the temperature, minus infinity at excluded tokens; as `nn.sampling.filtered`."""
    scaled = logits.float() / sampling.temperature
    if 0 < sampling.top_k < scaled.shape[-1]:
        worst = scaled.topk(sampling.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < worst, -torch.inf)
    if sampling.top_p < 1:
        ordered = scaled.sort(descending=True).values
        mass = ordered.softmax(-1)
        stays = mass.cumsum(-1) - mass < sampling.top_p
        least = ordered.masked_fill(~stays, torch.inf).min(-1, keepdim=True).values
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    return scaled
