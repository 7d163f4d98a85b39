"""The published sizes: exact counts, by arithmetic and by the shapes that `init` would allocate."""

from __future__ import annotations

import math

import jax
import pytest

from models_core.errors import InputInvalid
from models_core.nn import decoder
from models_core.nn.published import GEMMA3_27B, PUBLISHED, SIGLIP_SO400M, published

# Embedding without projector, and the rest: the Gemma reports' Table 1.
COUNTS = {
    "gemma-2b": (524_550_144, 1_981_884_416),
    "gemma-7b": (786_825_216, 7_751_248_896),
    "gemma3-270m": (167_772_160, 100_326_016),
    "gemma3-1b": (301_989_888, 697_896_064),
    "gemma3-4b": (671_252_480, 3_209_010_688),
    "gemma3-12b": (1_006_878_720, 10_759_155_456),
    "gemma3-27b": (1_409_630_208, 25_599_716_096),
}
GLOBAL_LAYERS = {"gemma-2b": 18, "gemma-7b": 28, "gemma3-270m": 3, "gemma3-1b": 4, "gemma3-4b": 5, "gemma3-12b": 8}
PROJECTORS_M = {"gemma3-4b": 3.0, "gemma3-12b": 4.4, "gemma3-27b": 6.2}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_exact(name: str) -> None:
    model = published(name)
    embedding, body = COUNTS[name]
    assert model.vocabulary * model.config.d_model == embedding
    assert model.body_count == body
    assert model.config.parameter_count(model.vocabulary) == embedding + body


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_hold_as_many_numbers(name: str) -> None:
    model = published(name)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), model.config, model.vocabulary))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == sum(COUNTS[name])


@pytest.mark.parametrize(("name", "layers"), GLOBAL_LAYERS.items())
def test_global_layers(name: str, layers: int) -> None:
    config = PUBLISHED[name].config
    assert config.n_global == layers == sum(config.is_global(index) for index in range(config.n_layers))


def test_remainder_of_the_pattern_stays_local() -> None:
    assert [i for i in range(26) if PUBLISHED["gemma3-1b"].config.is_global(i)] == [5, 11, 17, 23]
    assert PUBLISHED["gemma3-27b"].config.n_global == 10


def test_tower_and_projectors() -> None:
    assert SIGLIP_SO400M.parameter_count() == 416_866_032
    assert (SIGLIP_SO400M.grid, SIGLIP_SO400M.pool) == (64, 4)
    for name, millions in PROJECTORS_M.items():
        model = PUBLISHED[name]
        assert round((model.embedding_count - COUNTS[name][0]) / 1e6, 1) == millions


def test_queries_of_the_27b_are_scaled_by_the_width_a_head() -> None:
    assert GEMMA3_27B.query_scale == pytest.approx((5376 / 32) ** -0.5)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(InputInvalid) as refused:
        published("gemma-9b")
    assert "name" in refused.value.fields
