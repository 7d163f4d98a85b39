"""The text sets as a choice in a spec, readable without an array library; `documents` reads the one chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from models_core.spec import Spec, field

if TYPE_CHECKING:
    from models_core.data._dataset import Document


class StdlibSource(Spec, title="Python source"):
    """The Python standard library's source files; on every machine."""

    kind: Literal["stdlib_text"] = field("stdlib_text", title="Text", help="Python's own source code.", section="Data")


class StdlibProse(Spec, title="Python documentation"):
    """The prose of Python's language reference; on every machine."""

    kind: Literal["stdlib_prose"] = field(
        "stdlib_prose", title="Text", help="Python's language reference.", section="Data"
    )


class KingJames(Spec, title="King James Bible"):
    """4.4 MB of old English, from a file on the node."""

    kind: Literal["king_james"] = field("king_james", title="Text", help="The King James Bible.", section="Data")


class SpamAssassin(Spec, title="E-mail by author"):
    """Messages of public mailing lists with names and addresses hashed, from files on the node."""

    kind: Literal["spam_assassin"] = field("spam_assassin", title="Text", help="E-mail by author.", section="Data")


class Udhr(Spec, title="Human rights by language"):
    """The Universal Declaration of Human Rights, from files on the node."""

    kind: Literal["udhr"] = field("udhr", title="Text", help="One declaration in many languages.", section="Data")
    languages: tuple[Annotated[str, Field(pattern=r"^[a-zA-Z0-9_]{2,20}$")], ...] = field(
        ("eng", "fra", "spa"), title="Languages", help="Their codes; none: all.", max_length=600, section="Data"
    )


class LocalText(Spec, title="Files on the node"):
    """Text, JSON lines or Parquet below the node's data folder."""

    kind: Literal["local_text"] = field("local_text", title="Text", help="Files on the node.", section="Data")
    path: str = field(
        ".", title="Path", help="File or folder below the node's data folder.", max_length=400, section="Data"
    )
    text_field: str = field(
        "text",
        title="Text field",
        help="Of JSON lines and Parquet rows.",
        max_length=100,
        section="Data",
        advanced=True,
    )


class HuggingFace(Spec, title="Hugging Face hub"):
    """A set of the hub; needs the package `datasets` and a connection on the node."""

    kind: Literal["hugging_face"] = field("hugging_face", title="Text", help="A set of the hub.", section="Data")
    name: str = field(title="Name", help="As owner/name.", pattern=r"^[\w.-]+(/[\w.-]+)?$", section="Data")
    revision: str = field(
        title="Revision", help="A commit of the set: 40 hex digits.", pattern=r"^[0-9a-f]{40}$", section="Data"
    )
    config: str | None = field(
        None,
        title="Configuration",
        help="Of the set; empty: its only one.",
        max_length=100,
        section="Data",
        advanced=True,
    )
    split: str = field("train", title="Split", help="Which part.", max_length=100, section="Data", advanced=True)
    text_field: str = field(
        "text", title="Text field", help="Of the rows.", max_length=100, section="Data", advanced=True
    )
    most: int = field(
        10_000, title="Rows", help="How many to read at most.", unit="rows", ge=1, le=10_000_000, section="Data"
    )


AnyCorpus = Annotated[
    StdlibSource | StdlibProse | KingJames | SpamAssassin | Udhr | LocalText | HuggingFace, Field(discriminator="kind")
]


def documents(corpus: Any, *, seed: int = 0) -> list[Document]:
    """The documents of the chosen set, an `AnyCorpus`; raises DataInvalid.

    seed: keys the hashes of names in e-mail, so that a resumed run reads the same text; that hides names from readers
    of the text, not from whoever guesses the seed.
    """
    match corpus:
        case StdlibSource():
            from models_core.data import stdlib_text

            return stdlib_text.documents()
        case StdlibProse():
            from models_core.data import stdlib_prose

            return stdlib_prose.documents()
        case KingJames():
            from models_core.data import king_james

            return king_james.documents()
        case SpamAssassin():
            from models_core.data import spam_assassin

            return spam_assassin.documents(key=seed.to_bytes(16, "big", signed=True))
        case Udhr():
            from models_core.data import udhr

            return udhr.documents(languages=corpus.languages)
        case LocalText():
            from models_core.data import local_text

            return local_text.documents(corpus.path, text_field=corpus.text_field)
        case HuggingFace():
            from models_core.data import hugging_face

            return hugging_face.documents(
                corpus.name,
                revision=corpus.revision,
                config=corpus.config,
                split=corpus.split,
                text_field=corpus.text_field,
                most=corpus.most,
            )
        case _:
            raise TypeError(f"{type(corpus).__name__} is not a text set")
