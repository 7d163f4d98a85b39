"""Generation: rows independent of their batch, early stop, filters, and what the cache weighs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.errors import InputInvalid
from models_core.nn import cache, decoder, generation, memory
from models_core.nn.configs import DecoderConfig
from models_core.nn.prompts import Sampling
from models_core.nn.published import PUBLISHED
from models_core.nn.sampling import filtered
from models_core.nn.torch import cache as torch_cache
from models_core.nn.torch import generation as torch_generation
from models_core.nn.torch.decoder import Decoder

CONFIG = DecoderConfig(
    n_layers=3, d_model=16, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=24, window=3, global_every=2, context=32
)
PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [5, 1]]
NEW = 8
# Table of the report's sizes at 32,768 tokens in bfloat16, GB: every layer global, and 5:1.
GB = {"gemma3-1b": (0.87, 0.15), "gemma3-4b": (4.56, 0.79), "gemma3-12b": (12.88, 2.48), "gemma3-27b": (16.64, 3.12)}


@pytest.fixture(scope="module")
def params() -> decoder.Params:
    drawn = decoder.init(jax.random.key(3), CONFIG, 40)
    # Larger rows than fresh ones, so that greedy choices are no near ties.
    return drawn | {"embedding": drawn["embedding"] * 3}


def test_a_row_does_not_depend_on_its_batch_nor_on_chunks(params: decoder.Params) -> None:
    alone = [generation.generate(params, CONFIG, [prompt], max_new=NEW)[0] for prompt in PROMPTS]
    assert generation.generate(params, CONFIG, PROMPTS, max_new=NEW) == alone
    assert generation.generate(params, CONFIG, PROMPTS, max_new=NEW, chunk=4) == alone
    model = Decoder(CONFIG, 40).load_tree(params)
    assert torch_generation.generate(model, PROMPTS, max_new=NEW, chunk=4) == alone


def test_rows_end_with_their_stop_token(params: decoder.Params) -> None:
    free = generation.generate(params, CONFIG, PROMPTS, max_new=NEW)
    stop = free[0][2]
    wanted = [row[: row.index(stop) + 1] if stop in row else row for row in free]
    assert generation.generate(params, CONFIG, PROMPTS, max_new=NEW, stop_tokens=[stop]) == wanted
    model = Decoder(CONFIG, 40).load_tree(params)
    assert torch_generation.generate(model, PROMPTS, max_new=NEW, stop_tokens=[stop]) == wanted


def test_sampling_depends_on_the_key_and_one_best_token_is_greedy(params: decoder.Params) -> None:
    warm = Sampling(temperature=2.0)
    one, same, other = (
        generation.generate(params, CONFIG, PROMPTS, max_new=NEW, sampling=warm, key=jax.random.key(seed))
        for seed in (0, 0, 1)
    )
    assert one == same != other
    only = Sampling(temperature=2.0, top_k=1)
    greedy = generation.generate(params, CONFIG, PROMPTS, max_new=NEW)
    assert generation.generate(params, CONFIG, PROMPTS, max_new=NEW, sampling=only, key=jax.random.key(0)) == greedy


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=1.0, top_k=2), [0, 1]),
        (Sampling(temperature=1.0, top_p=0.5), [0]),
        (Sampling(temperature=1.0, top_p=0.75), [0, 1]),
        (Sampling(temperature=1.0, top_k=3, top_p=0.99), [0, 1, 2]),
        (Sampling(temperature=1.0), [0, 1, 2, 3]),
    ],
)
def test_filters_keep_the_right_tokens(sampling: Sampling, kept: list[int]) -> None:
    logits = np.log(np.array([[0.6, 0.2, 0.15, 0.05]], np.float32))
    assert np.flatnonzero(np.isfinite(np.asarray(filtered(jnp.asarray(logits), sampling)))).tolist() == kept
    twin = torch_generation.filtered(torch.from_numpy(logits), sampling)
    assert np.flatnonzero(np.isfinite(twin.numpy())).tolist() == kept


@pytest.mark.parametrize("capacity", [2, 3, 20])
def test_cache_weighs_what_the_formula_says(capacity: int) -> None:
    wanted = memory.cache_bytes(CONFIG, capacity, item_bytes=4, batch=2)
    assert cache.create(CONFIG, 2, capacity).nbytes() == wanted
    assert torch_cache.Cache(Decoder(CONFIG, 40), 2, capacity).nbytes() == wanted


@pytest.mark.parametrize(("name", "expected"), GB.items())
def test_cache_of_the_published_sizes(name: str, expected: tuple[float, float]) -> None:
    config = PUBLISHED[name].config
    every, five = (memory.cache_bytes(config, 32_768, windowed=windowed) for windowed in (False, True))
    assert (every / 1e9, five / 1e9) == pytest.approx(expected, abs=0.01)


def test_weights_by_precision() -> None:
    config, rows = PUBLISHED["gemma3-1b"].config, PUBLISHED["gemma3-1b"].vocabulary
    count = config.parameter_count(rows)
    assert memory.weight_bytes(config, rows, "fp32") == 4 * count
    assert memory.weight_bytes(config, rows, "bf16") == 2 * count
    int4, blocks = memory.weight_bytes(config, rows, "int4"), memory.weight_bytes(config, rows, "int4-b32")
    assert count / 2 < int4 < blocks < memory.weight_bytes(config, rows, "sfp8")
    with pytest.raises(InputInvalid, match="precision"):
        memory.weight_bytes(config, rows, "int3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompts", "more", "named"),
    [
        ([], {}, "prompts"),
        ([[]], {}, "prompts"),
        ([[40]], {}, "prompts"),
        ([[-1]], {}, "prompts"),
        ([[1]], {"max_new": 0}, "max_new"),
        ([[1]], {"max_new": 32}, "context"),
        ([[1]], {"chunk": 0}, "chunk"),
    ],
)
def test_bad_requests_name_the_argument(params: decoder.Params, prompts: list, more: dict, named: str) -> None:
    asked = {"max_new": 2} | more
    with pytest.raises(InputInvalid) as refused:
        generation.generate(params, CONFIG, prompts, **asked)
    assert named in refused.value.fields
    with pytest.raises(InputInvalid) as refused:
        torch_generation.generate(Decoder(CONFIG, 40), prompts, **asked)
    assert named in refused.value.fields
