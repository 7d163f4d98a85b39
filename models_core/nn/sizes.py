"""A decoder's sizes as a choice in a spec: one with a name, or sizes of one's own. No array library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models_core.nn import configs
from models_core.nn.configs import DecoderConfig
from models_core.nn.published import PUBLISHED
from models_core.spec import Spec as BaseSpec
from models_core.spec import field

NAMED: dict[str, DecoderConfig] = {
    "nano": configs.NANO,
    "micro": configs.MICRO,
    "mini": configs.MINI,
    **{name: published.config for name, published in PUBLISHED.items()},
}


class NamedModel(BaseSpec, title="Named size"):
    """One of the sizes that have a name."""

    kind: Literal["named"] = field("named", title="Model", help="A size with a name.", section="Model")
    size: Literal[tuple(NAMED)] = field("micro", title="Size", help="Of the decoder.", section="Model")  # type: ignore[valid-type]


class CustomModel(DecoderConfig, title="Custom sizes"):
    """A decoder of your own sizes."""

    kind: Literal["custom"] = field("custom", title="Model", help="Sizes of your own.", section="Model")


AnySize = Annotated[NamedModel | CustomModel, Field(discriminator="kind")]


def sizes_of(choice: NamedModel | CustomModel) -> DecoderConfig:
    """The decoder's sizes, whichever way they were chosen."""
    if isinstance(choice, NamedModel):
        return NAMED[choice.size]
    return DecoderConfig.model_validate(choice.model_dump(exclude={"kind"}))
