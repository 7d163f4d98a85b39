"""Kinds of values that several shapes share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Label = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
TagValue = Annotated[str, StringConstraints(max_length=8000, pattern=r"^[^\x00]*$")]
Tags = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=r"^[^\x00]*$")], TagValue],
    Field(max_length=1000),
]
Notes = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
Number = float | str
"""A float, or "NaN", "Infinity", "-Infinity"."""
