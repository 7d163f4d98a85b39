"""Which weights a decoder begins with, as a choice in a spec. No array library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models_core.spec import Spec as BaseSpec
from models_core.spec import field


class Fresh(BaseSpec, title="Fresh weights"):
    """Start from random weights."""

    kind: Literal["fresh"] = field("fresh", title="Start", help="From random weights.", section="Model")


class FromWeights(BaseSpec, title="Weights of a run"):
    """Go on with the weights of an earlier run; the optimizer starts anew."""

    kind: Literal["weights"] = field("weights", title="Start", help="From the weights of a run.", section="Model")
    path: str = field(
        title="Path", help="A model.safetensors below the node's models.", max_length=400, section="Model"
    )


class FromCheckpoint(BaseSpec, title="Pretrained checkpoint"):
    """Go on with a Gemma or Gemma 3 text checkpoint in the Hugging Face format, whose sizes the model then has."""

    kind: Literal["checkpoint"] = field("checkpoint", title="Start", help="From a pretrained model.", section="Model")
    path: str = field(
        title="Folder",
        help="With config.json and safetensors, below the node's models.",
        max_length=400,
        section="Model",
    )


AnyStart = Annotated[Fresh | FromWeights | FromCheckpoint, Field(discriminator="kind")]
