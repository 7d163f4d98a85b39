"""How examples are spread over clients: options, and `assemble`, which loads the data and deals them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from models_core.spec import Spec, field, refuse

if TYPE_CHECKING:
    from models_core.data.synthetic_writers import Knobs
    from models_core.federated.simulation.federation import Federation

DataName = Literal[
    "digits", "mnist5k", "mnist", "fashion_mnist", "emnist", "cifar10", "cifar100", "synthetic_writers",
    "federated_emnist", "federated_cifar100", "fonts", "spam_assassin", "king_james", "stdlib_text", "stdlib_prose",
    "shakespeare", "stackoverflow", "japanese_vowels",
]  # fmt: skip
TEXTS = ("spam_assassin", "king_james", "stdlib_text", "stdlib_prose", "shakespeare", "stackoverflow")
# Owners looked at for each client wanted: some have too little text.
_OWNERS_TRIED = 4
_OWNED = (*TEXTS, "federated_cifar100", "fonts", "japanese_vowels")


class Iid(Spec, title="IID"):
    """Uniformly at random, equal sizes."""

    kind: Literal["iid"] = field("iid", title="Partition", help="Uniformly at random.", section="Clients")


class DirichletPerClient(Spec, title="Dirichlet per client"):
    """Each client draws its mix of classes; equal sizes."""

    kind: Literal["dirichlet_per_client"] = field(
        "dirichlet_per_client",
        title="Partition",
        help="Each client draws its mix of classes; equal sizes.",
        section="Clients",
    )
    alpha: float = field(
        0.3, title="Alpha", help="Small: few classes a client.", gt=0, le=1000, format="log", section="Clients"
    )


class DirichletPerClass(Spec, title="Dirichlet per class"):
    """Each class is split over the clients; unequal sizes."""

    kind: Literal["dirichlet_per_class"] = field(
        "dirichlet_per_class",
        title="Partition",
        help="Each class is split over clients; unequal sizes.",
        section="Clients",
    )
    alpha: float = field(
        0.5, title="Alpha", help="Small: uneven splits.", ge=0.05, le=1000, format="log", section="Clients"
    )


class Shards(Spec):
    """Images sorted by label and dealt out in shards."""

    kind: Literal["shards"] = field(
        "shards", title="Partition", help="Sorted by label, dealt out in shards.", section="Clients"
    )
    per_client: int = field(2, title="Shards", help="For each client.", ge=1, le=100, section="Clients")


class LabelDomains(Spec, title="Label domains"):
    """Two domains of clients: some labels are only known to the slow one."""

    kind: Literal["label_domains"] = field(
        "label_domains", title="Partition", help="Some labels only slow clients have.", section="Clients"
    )
    slow_labels: tuple[Annotated[int, Field(ge=0, le=999)], ...] = field(
        (8, 9), title="Slow labels", help="Only clients of the slow domain have them.", min_length=1, max_length=100,
        section="Clients",
    )  # fmt: skip
    alpha: float = field(
        1.0, title="Alpha", help="Of the mix inside a domain.", gt=0, le=1000, format="log", section="Clients"
    )


class SyntheticWriters(Spec, title="Synthetic writers"):
    """Every client is a made-up writer."""

    kind: Literal["synthetic_writers"] = field(
        "synthetic_writers", title="Partition", help="A made-up writer a client.", section="Clients"
    )
    classes: int = field(10, title="Glyphs", help="Classes.", ge=2, le=62, section="Clients")
    side: int = field(14, title="Side", help="Of an image.", unit="pixels", ge=6, le=64, section="Clients")
    images: int = field(30, title="Images", help="Median of a writer.", ge=8, le=400, section="Clients")
    label_alpha: float = field(
        1.0, title="Label alpha", help="Small: few classes a writer.", gt=0, le=1000, format="log", section="Clients"
    )
    style: float = field(1.0, title="Style", help="Spread of hands; 0: one hand.", ge=0, le=5, section="Clients")
    size_sigma: float = field(
        0.4, title="Size skew", help="Spread of the logarithm of sizes.", ge=0, le=3, section="Clients"
    )
    slow_share: float = field(
        0.25, title="Slow writers", help="Share in the slow domain.", ge=0, lt=1, section="Clients"
    )
    domain_turn: float = field(
        75.0, title="Domain shift", help="Angle by which slow writers turn their glyphs.", unit="degrees", ge=0, le=180,
        section="Clients",
    )  # fmt: skip


class ByWriter(Spec, title="By writer"):
    """Every client is a real writer of the files."""

    kind: Literal["by_writer"] = field(
        "by_writer", title="Partition", help="A real writer a client, in the files' order.", section="Clients"
    )
    digits_only: bool = field(False, title="Digits only", help="10 classes instead of 62.", section="Clients")
    high_school_slow: bool = field(
        True, title="Slow domain", help="High-school writers (f2100 to f2599) are the slow domain.", section="Clients"
    )


class ByOwner(Spec, title="By owner"):
    """Every client is an owner that the data name: an author, speaker, user, book, module, font, or a file's client."""

    kind: Literal["by_owner"] = field(
        "by_owner", title="Partition", help="An author, speaker, book, module or font a client.", section="Clients"
    )
    slow_owners: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = field(
        (), title="Slow owners", help="Owners whose names begin so are the slow domain.", max_length=200,
        section="Clients",
    )  # fmt: skip
    least: int = field(
        5, title="Least", help="Text: windows that an owner must have.", ge=2, le=10_000, section="Clients"
    )
    most: int = field(
        100, title="Most", help="Text: windows of an owner at most, the first ones.", ge=2, le=10_000, section="Clients"
    )
    window: int = field(
        32, title="Window", help="Text: bytes or words of an example.", unit="tokens", ge=2, le=1000, section="Clients"
    )
    words: int = field(
        0, title="Words", help="Text: size of the vocabulary of words; 0: bytes.", ge=0, le=50_000, section="Clients"
    )
    images: int = field(3, title="Images", help="Fonts: of each glyph.", ge=1, le=50, section="Clients", advanced=True)
    side: int = field(
        28, title="Side", help="Fonts: of an image.", unit="pixels", ge=8, le=64, section="Clients", advanced=True
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most < self.least:
            refuse("most", "An owner would have fewer windows than it must have.")
        return self


PartitionOptions = (
    Iid | DirichletPerClient | DirichletPerClass | Shards | LabelDomains | SyntheticWriters | ByWriter | ByOwner
)
AnyPartition = Annotated[PartitionOptions, Field(discriminator="kind")]


def mismatch(data: DataName, partition: PartitionOptions) -> str:
    """Why the data cannot be spread so, or nothing."""
    own = {"synthetic_writers": "synthetic_writers", "federated_emnist": "by_writer"} | dict.fromkeys(
        _OWNED, "by_owner"
    )
    if data in own and partition.kind != own[data]:
        return f"The examples of {data} belong to somebody: choose {own[data]}."
    if data not in own and partition.kind in own.values():
        return f"The examples of {data} belong to nobody."
    return ""


def has_domains(partition: PartitionOptions) -> bool:
    """Whether there is a slow domain."""
    match partition:
        case LabelDomains():
            return True
        case SyntheticWriters(slow_share=share):
            return share > 0
        case ByWriter(high_school_slow=slow):
            return slow
        case ByOwner(slow_owners=owners):
            return bool(owners)
        case _:
            return False


def assemble(data: DataName, options: PartitionOptions, clients: int, *, seed: int) -> Federation:
    """Load and deal out; raises DataInvalid, or SpecInvalid when the partition cannot be made."""
    import numpy as np

    from models_core.data import federated_emnist, image_sets, partition, synthetic_writers
    from models_core.errors import SpecInvalid
    from models_core.federated.simulation import federation

    if isinstance(options, SyntheticWriters):
        written = synthetic_writers.load(writer_knobs(options, clients), seed=seed)
        return federation.of_writers(written, options.side, options.classes)
    if isinstance(options, ByWriter):
        train, test = (
            federated_emnist.load(part=part, digits_only=options.digits_only, most_clients=clients)
            for part in ("train", "test")
        )
        return federation.of_files(train, test, options.high_school_slow)
    if isinstance(options, ByOwner):
        return _owned(data, options, clients, seed=seed)
    images = image_sets.load(data)  # type: ignore[arg-type]
    labels = images.train_y
    try:
        match options:
            case Iid():
                return federation.of_images(images, partition.iid(labels, clients, seed=seed))
            case DirichletPerClient(alpha=alpha):
                parts = partition.dirichlet_per_client(labels, clients, alpha=alpha, seed=seed)
            case DirichletPerClass(alpha=alpha):
                parts = partition.dirichlet_per_class(labels, clients, alpha=alpha, seed=seed)
            case Shards(per_client=per_client):
                parts = partition.shards(labels, clients, per_client=per_client, seed=seed)
            case LabelDomains(slow_labels=slow, alpha=alpha):
                parts, domain = partition.label_domains(labels, clients, slow=slow, alpha=alpha, seed=seed)
                return federation.of_images(images, parts, np.array(domain), slow)
    except ValueError as error:
        raise SpecInvalid(
            "The examples cannot be spread over the clients so.", fields={"partition": f"{error}."}
        ) from None
    if min(map(len, parts)) == 0:
        raise SpecInvalid("A client would have no example.", fields={"clients": "Too many for the data."})
    return federation.of_images(images, parts)


def _owned(data: DataName, options: ByOwner, clients: int, *, seed: int) -> Federation:
    from models_core.data import (
        corpora,
        federated_cifar100,
        federated_text,
        font_writers,
        japanese_vowels,
        text_windows,
    )  # fmt: skip
    from models_core.federated.simulation import federation

    if data == "japanese_vowels":
        spoken = japanese_vowels.load(most_speakers=clients)
        shape = (japanese_vowels.FRAMES, japanese_vowels.COEFFICIENTS, 1)
        return federation.of_owners(spoken, shape, japanese_vowels.SPEAKERS, slow=options.slow_owners)
    if data == "federated_cifar100":
        parts = [federated_cifar100.load(part=part, most_clients=clients) for part in ("train", "test")]
        return federation.of_cifar100(*parts, slow=options.slow_owners)
    if data == "fonts":
        fonts = font_writers.load(seed=seed, side=options.side, images=options.images, most_fonts=clients)
        shape = (options.side, options.side, 1)
        return federation.of_owners(fonts, shape, len(font_writers.CHARACTERS), slow=options.slow_owners)
    if data in ("shakespeare", "stackoverflow"):
        # StackOverflow has hundreds of thousands of users: no more are read than it takes to find enough text.
        documents = federated_text.documents(
            data, most_owners=_OWNERS_TRIED * clients, most_texts=options.most * (options.window + 1)
        )
    else:
        corpus = {
            "spam_assassin": corpora.SpamAssassin, "king_james": corpora.KingJames,
            "stdlib_text": corpora.StdlibSource, "stdlib_prose": corpora.StdlibProse,
        }[data]()  # fmt: skip
        documents = corpora.documents(corpus, seed=seed)
    cut = text_windows.cut(
        documents, length=options.window, most_owners=clients, least=options.least, most=options.most,
        words=options.words,
    )  # fmt: skip
    found = federation.of_owners(cut, (options.window,), cut.vocabulary, slow=options.slow_owners)
    return federation.without(found, text_windows.UNKNOWN if options.words else None)


def writer_knobs(options: SyntheticWriters, writers: int) -> Knobs:
    """The generator's knobs."""
    from models_core.data.synthetic_writers import Knobs

    payload = {name: value for name, value in options.model_dump().items() if name != "kind"}
    return Knobs(writers=writers, **payload)
