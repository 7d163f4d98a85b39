"""The recipe of captions: it learns them, judges as greedy decoding does, and refuses what cannot work."""

from __future__ import annotations

import json

import pytest

from models_core import catalog
from models_core.data.image_sets import IMAGE_SETS
from models_core.errors import SpecInvalid
from models_core.events import Artifact, Context, Metric
from models_core.nn.configs import VisionConfig
from models_core.recipes.image_captions import spec as captioning

RECIPE = catalog.recipe("image_captions")
SMALL = {
    "data": "digits",
    "pictures": 1,
    "test_images": 20,
    "steps": 120,
    "eval_every": 120,
    "tower_layers": 1,
    "optimizer": {"kind": "adam", "lr": 0.01},
}
TINY = {"n_layers": 1, "d_model": 8, "n_heads": 1, "n_kv_heads": 1, "head_dim": 8, "d_ff": 8}
# Ten classes are as frequent: a decoder that cannot see is right in a tenth of the pictures.
BLIND = 0.3


def test_it_learns_to_name_digits_and_judges_as_greedy_decoding_does() -> None:
    events = list(RECIPE.run(RECIPE.parse(SMALL), Context(seed=0)))
    [scores] = [event.values for event in events if isinstance(event, Metric) and "eval/nll" in event.values]
    [listed] = [event for event in events if isinstance(event, Artifact) and event.name == "captions.json"]
    pairs = json.loads(listed.content)
    assert len(pairs) == SMALL["test_images"]
    right = sum(pair["image"] == pair["written"] for pair in pairs)
    assert scores["eval/caption_accuracy"] == pytest.approx(right / len(pairs))
    assert scores["eval/caption_accuracy"] > BLIND


@pytest.mark.parametrize("data", captioning.CaptionedSet.__args__)
def test_every_set_has_a_caption_for_each_class_and_a_tower(data: str) -> None:
    info = IMAGE_SETS[data]
    assert len(set(captioning.captions(data))) == info.classes
    patch, tokens = captioning.GRIDS[info.side]
    tower = VisionConfig(
        image_size=info.side, patch_size=patch, n_layers=1, width=8, n_heads=2, d_ff=8, tokens_per_image=tokens
    )
    assert tower.pool >= 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"warmup_steps": 120}, "warmup_steps"),
        ({"batch_size": 2000}, "batch_size"),
        ({"model": {"kind": "custom", "context": 12, **TINY}}, "pictures"),
        ({"data": "cifar100"}, "data"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field(changed: dict[str, object], field: str) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        RECIPE.parse(SMALL | changed)
    assert list(refusal.value.fields) == [field]
