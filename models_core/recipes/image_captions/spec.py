"""The spec of a captioning run, and what is said of each class."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from models_core.data.image_sets import IMAGE_SETS
from models_core.nn.sizes import AnySize, CustomModel, sizes_of
from models_core.optim import AnyOptimizer
from models_core.optim.adam import Options as Adam
from models_core.spec import Spec as BaseSpec
from models_core.spec import field, refuse

CaptionedSet = Literal["digits", "mnist5k", "mnist", "fashion_mnist", "cifar10"]
_DIGITS = ("a zero", "a one", "a two", "a three", "a four", "a five", "a six", "a seven", "an eight", "a nine")
_CLOTHES = (
    "a top",
    "trousers",
    "a pullover",
    "a dress",
    "a coat",
    "a sandal",
    "a shirt",
    "a sneaker",
    "a bag",
    "a boot",
)
_THINGS = ("a plane", "a car", "a bird", "a cat", "a deer", "a dog", "a frog", "a horse", "a ship", "a truck")
CAPTIONS: dict[str, tuple[str, ...]] = {"fashion_mnist": _CLOTHES, "cifar10": _THINGS}
# Of an image's side: patch side and soft tokens.
GRIDS = {8: (2, 4), 28: (7, 4), 32: (4, 16)}


class Spec(BaseSpec):
    """Images, a decoder with a vision tower, and how they learn."""

    data: CaptionedSet = field(
        "mnist5k", title="Images", help="Digits and mnist5k are carried; others are files on the node.", section="Task"
    )
    pictures: int = field(
        2, title="Pictures", help="In one sequence, each with its caption.", unit="images", ge=1, le=16, section="Task"
    )
    test_images: int = field(
        500,
        title="Test images",
        help="On which captions are judged; all there are at most.",
        unit="images",
        ge=1,
        le=100_000,
        section="Task",
        advanced=True,
    )
    model: AnySize = field(
        CustomModel(n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=24, d_ff=192, window=16, global_every=2),
        title="Decoder",
        help="Its sizes.",
        section="Model",
    )
    tower_layers: int = field(2, title="Tower layers", help="Of the vision tower.", ge=1, le=64, section="Model")
    tower_width: int = field(
        64, title="Tower width", help="A multiple of four heads.", ge=4, le=4096, multiple_of=4, section="Model"
    )
    optimizer: AnyOptimizer = field(Adam(lr=0.003), title="Optimizer", help="Of all weights.", section="Optimizer")
    warmup_steps: int = field(
        20, title="Warm-up", help="Steps over which the rate rises.", unit="steps", ge=0, section="Optimizer"
    )
    steps: int = field(600, title="Steps", help="Updates.", unit="steps", ge=1, le=10_000_000, section="Budget")
    batch_size: int = field(
        32, title="Batch size", help="Sequences in one update.", unit="sequences", ge=1, le=4096, section="Budget"
    )
    eval_every: int = field(
        100, title="Evaluate every", help="Steps between evaluations.", unit="steps", ge=1, section="Budget"
    )
    checkpoint_every: int = field(
        500, title="Checkpoint every", help="0: only when stopped.", unit="steps", ge=0, section="Budget", advanced=True
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= self.steps:
            refuse("warmup_steps", f"Must be below the {self.steps} steps.")
        found = IMAGE_SETS[self.data]
        if self.batch_size * self.pictures > found.train:
            refuse("batch_size", f"{self.data} has {found.train:,} training images, {self.pictures} in each sequence.")
        context = sizes_of(self.model).context
        longest = max(len(caption) for caption in captions(self.data)) + 1
        width = 1 + self.pictures * (GRIDS[found.side][1] + longest)
        if context is not None and width > context:
            refuse("pictures", f"A sequence takes {width} tokens, the model's context is {context}.")
        return self


def captions(data: str) -> tuple[str, ...]:
    """What is said of each class."""
    return CAPTIONS.get(data, _DIGITS)
