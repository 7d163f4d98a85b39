"""Python's documentation as `help()` carries it: the prose of the module `pydoc_data`, on every machine."""

from __future__ import annotations

import ast
from pathlib import Path

from models_core.data._dataset import DataInvalid, Document, Source
from models_core.data.stdlib_text import root

SOURCE = Source(
    title="Topics of the Python language reference in pydoc_data",
    origin="the running interpreter's own installation",
    licence="PSF-2.0",
    sha256=None,
)


def documents() -> list[Document]:
    """Every topic as a document and a group of its own, sorted by name; raises DataInvalid where there is none."""
    path = Path(root(), "pydoc_data", "topics.py")
    try:
        tree = ast.parse(path.read_bytes())
        values = [node.value for node in tree.body if isinstance(node, ast.Assign)]
        topics = ast.literal_eval(values[0])
        return [Document(name, name, topics[name]) for name in sorted(topics)]
    except (OSError, SyntaxError, ValueError, IndexError, TypeError) as error:
        raise DataInvalid(f"This Python installation carries no pydoc topics at {path}: {error}") from None
