"""What a student can learn from, as form fields; readable without an array library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models_core.spec import Spec, field, refuse


class _Soft(Spec):
    """What every loss towards a teacher has."""

    temperature: float = field(
        1.0, title="Temperature", help="Softens both distributions; below 1 sharpens.", ge=0.05, le=1000, section="Task"
    )
    t_squared: bool = field(
        True,
        title="Times temperature squared",
        help="Keep the gradient's size when the temperature changes.",
        section="Task",
        advanced=True,
    )
    soft_weight: float = field(
        0.9, title="Weight of the teacher", help="The rest is the loss on the text.", ge=0, le=1, section="Task"
    )


class ForwardKL(_Soft, title="Forward KL"):
    """KL(teacher || student): the student covers everything the teacher may say."""

    mode: Literal["forward_kl"] = field(
        "forward_kl", title="Mode", help="Cover everything the teacher may say.", section="Task"
    )


class ReverseKL(_Soft, title="Reverse KL"):
    """KL(student || teacher): the student avoids what the teacher would not say."""

    mode: Literal["reverse_kl"] = field(
        "reverse_kl", title="Mode", help="Avoid what the teacher would not say.", section="Task"
    )


class SymmetricKL(_Soft, title="Symmetric KL"):
    """The mean of forward and reverse KL."""

    mode: Literal["symmetric_kl"] = field(
        "symmetric_kl", title="Mode", help="Half forward, half reverse KL.", section="Task"
    )


class JensenShannon(_Soft, title="Jensen-Shannon"):
    """GKD's generalised Jensen-Shannon divergence."""

    mode: Literal["jensen_shannon"] = field(
        "jensen_shannon", title="Mode", help="Both against a mixture of both.", section="Task"
    )
    beta: float = field(
        0.5,
        title="Beta",
        help="Teacher's share of the mixture; 0 is forward KL and 1 reverse KL, by definition and with a jump.",
        ge=0,
        le=1,
        section="Task",
    )


class SkewedKL(_Soft, title="Skewed KL"):
    """KL(teacher || a teacher + (1 - a) student)."""

    mode: Literal["skewed_kl"] = field(
        "skewed_kl", title="Mode", help="Forward KL against a mixture: bounded.", section="Task"
    )
    alpha: float = field(0.1, title="Skew", help="Teacher's share of the mixture.", ge=0, lt=1, section="Task")


class TotalVariation(_Soft, title="Total variation"):
    """Half the summed absolute difference of the probabilities."""

    mode: Literal["total_variation"] = field(
        "total_variation", title="Mode", help="Half the summed absolute difference.", section="Task"
    )


class Mapped(_Soft, title="Sorted probabilities"):
    """Universal logit distillation: sorted probabilities are compared, so vocabularies need not agree."""

    mode: Literal["sorted"] = field(
        "sorted", title="Mode", help="Compare sorted probabilities: works across tokenizers.", section="Task"
    )


class HardLabels(Spec, title="Hard labels"):
    """Learn from the text alone: the baseline."""

    mode: Literal["hard"] = field("hard", title="Mode", help="From the text alone, without a teacher.", section="Task")


Divergence = ForwardKL | ReverseKL | SymmetricKL | JensenShannon | SkewedKL | TotalVariation | Mapped
Objective = Annotated[Divergence | HardLabels, Field(discriminator="mode")]


class Constant(Spec, title="Constant weight"):
    """The teacher's weight stays."""

    kind: Literal["constant"] = field("constant", title="Schedule", help="The weight stays.", section="Task")


class LinearWeight(Spec, title="Linear weight"):
    """The teacher's weight falls on a line."""

    kind: Literal["linear"] = field("linear", title="Schedule", help="Falls on a line.", section="Task")
    until: float = field(
        0.5,
        title="Until",
        help="Share of the student's steps after which the end is reached.",
        ge=0,
        le=1,
        section="Task",
    )
    end: float = field(0.0, title="End", help="Share of the weight that is left.", ge=0, le=1, section="Task")


class CosineWeight(Spec, title="Cosine weight"):
    """The teacher's weight falls on half a cosine."""

    kind: Literal["cosine"] = field("cosine", title="Schedule", help="Falls on half a cosine.", section="Task")
    until: float = field(
        0.5,
        title="Until",
        help="Share of the student's steps after which the end is reached.",
        ge=0,
        le=1,
        section="Task",
    )
    end: float = field(0.0, title="End", help="Share of the weight that is left.", ge=0, le=1, section="Task")


class StepWeight(Spec, title="Stepped weight"):
    """The teacher is left after a share of the steps."""

    kind: Literal["step"] = field("step", title="Schedule", help="Full weight, then none.", section="Task")
    until: float = field(
        0.5, title="Until", help="Share of the student's steps with a teacher.", ge=0, le=1, section="Task"
    )


WeightSchedule = Annotated[Constant | LinearWeight | CosineWeight | StepWeight, Field(discriminator="kind")]


class Dense(Spec, title="Whole distribution"):
    """The teacher's whole distribution."""

    kind: Literal["dense"] = field("dense", title="Targets", help="The teacher's whole distribution.", section="Task")


class Sparse(Spec, title="Sparse"):
    """A few entries of the teacher's distribution for each token."""

    kind: Literal["sampled", "sampled_unique", "gumbel", "top_k"] = field(title="Targets", help="Which entries.")
    k: int = field(16, title="Entries", help="Draws, or entries kept, for each token.", ge=1, le=65535, section="Task")
    precision: Literal["float16", "float32"] = field(
        "float16",
        title="Precision",
        help="In which probabilities are kept; counts are exact.",
        section="Task",
        advanced=True,
    )
    cached: bool = field(
        False,
        title="From a cache",
        help="Read targets that the recipe teacher_cache has written for this teacher, text, order and seed.",
        section="Task",
        advanced=True,
    )


class Sampled(Sparse, title="Sampled with counts"):
    """k draws with replacement, each id weighs its count over k: unbiased."""

    kind: Literal["sampled"] = field(
        "sampled", title="Targets", help="k draws, weighed by their counts: unbiased.", section="Task"
    )


class _Missing(Sparse):
    missing: Literal["zero", "spread", "rest"] = field(
        "zero",
        title="Missing mass",
        help="Dropped and the rest renormalised, spread evenly, or one bucket for all other ids.",
        section="Task",
    )


class SampledUnique(_Missing, title="Sampled, renormalised"):
    """The ids among k draws, with their true probabilities: biased."""

    kind: Literal["sampled_unique"] = field(
        "sampled_unique", title="Targets", help="Ids among k draws with their own probabilities.", section="Task"
    )


class Gumbel(_Missing, title="Gumbel top-k"):
    """k different ids drawn without replacement, with their true probabilities: biased."""

    kind: Literal["gumbel"] = field(
        "gumbel", title="Targets", help="k different ids drawn without replacement.", section="Task"
    )


class TopK(_Missing, title="Top-k"):
    """The k most probable ids: biased, deterministic."""

    kind: Literal["top_k"] = field("top_k", title="Targets", help="The k most probable ids.", section="Task")


AnySparse = Annotated[Sampled | SampledUnique | Gumbel | TopK, Field(discriminator="kind")]
Targets = Annotated[Dense | Sampled | SampledUnique | Gumbel | TopK, Field(discriminator="kind")]


class FromText(Spec, title="From the text"):
    """The sequences are those of the training text."""

    kind: Literal["text"] = field("text", title="Sequences", help="Those of the training text.", section="Task")


class _Written(Spec):
    prompt: int = field(
        8, title="Prompt", help="Tokens of the text that are continued.", unit="tokens", ge=1, section="Task"
    )
    sampling_temperature: float = field(
        0.9, title="Sampling temperature", help="Of the continuation.", gt=0, le=10, section="Task", advanced=True
    )


class OnPolicy(_Written, title="On-policy"):
    """Generalised knowledge distillation: some batches are continued by the student itself."""

    kind: Literal["on_policy"] = field(
        "on_policy", title="Sequences", help="Some batches are continued by the student itself.", section="Task"
    )
    share: float = field(
        0.5, title="Lambda", help="Probability that a batch is the student's own.", ge=0, le=1, section="Task"
    )


class TeacherWritten(_Written, title="Teacher-written"):
    """Sequence-level distillation: the teacher continues the text, its words are the labels."""

    kind: Literal["teacher"] = field(
        "teacher", title="Sequences", help="The teacher continues the text; its words are labels.", section="Task"
    )


Sequences = Annotated[FromText | OnPolicy | TeacherWritten, Field(discriminator="kind")]


class Features(Spec, title="Feature matching"):
    """The student's residual stream follows the teacher's, after a learned projection."""

    distance: Literal["cosine", "mse"] = field(
        "cosine", title="Distance", help="Between projected student and teacher states.", section="Task"
    )
    weight: float = field(
        0.5, title="Weight", help="On top of the other loss.", gt=0, le=100, section="Task", format="log"
    )
    layers: tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...] = field(
        ((2, 2),),
        title="Layers",
        help="Pairs of student layer and teacher layer; 0 is the embedding.",
        min_length=1,
        max_length=32,
        section="Task",
    )

    @model_validator(mode="after")
    def _each_once(self) -> Features:
        if len({student for student, _ in self.layers}) < len(self.layers):
            refuse("layers", "A student layer can follow one teacher layer only.")
        return self
