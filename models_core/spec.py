"""What every recipe's spec has in common: strict, frozen, hashable, and able to draw its own form.

Standard library and pydantic only: the web process reads specs without an array library.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, NoReturn, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as PydanticField
from pydantic_core import PydanticCustomError

from models_core.errors import SpecInvalid

FieldPath = tuple[int | str, ...]
_PLAIN = {
    "greater_than": "Must be above {gt}.",
    "greater_than_equal": "Must be at least {ge}.",
    "less_than": "Must be below {lt}.",
    "less_than_equal": "Must be at most {le}.",
    "multiple_of": "Must be a multiple of {multiple_of}.",
    "int_type": "Must be a whole number.",
    "int_from_float": "Must be a whole number.",
    "float_type": "Must be a number.",
    "finite_number": "Must be a finite number.",
    "bool_type": "Must be true or false.",
    "string_type": "Must be text.",
    "literal_error": "Must be {expected}.",
}
"""pydantic's error types in the words that the form uses."""


class Spec(BaseModel):
    """Base of every spec: unknown fields are refused, values are not coerced across types, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)

    def canonical_json(self) -> str:
        """The one text of this spec: every default written out, keys sorted, no white space."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def devices_needed(self) -> int:
        """Over how many devices a run of this spec is spread; with fewer it cannot start."""
        return 1

    @classmethod
    def parse(cls, payload: object) -> Self:
        """Validate untrusted JSON data.

        Raises SpecInvalid whose `fields` maps each location to a sentence.
        """
        try:
            # JSON mode of strict validation: lists become tuples and strings become enums, but "3" never becomes 3.
            return cls.model_validate_json(json.dumps(payload, allow_nan=False))
        except ValidationError as error:
            raise SpecInvalid("The spec is not valid.", fields=_fields_of(error, cls)) from None
        except (TypeError, ValueError) as error:
            raise SpecInvalid("The spec is not JSON.", fields={"": str(error)}) from None


def field(
    default: Any = ...,
    *,
    title: str,
    help: str,
    unit: str = "",
    section: str = "",
    advanced: bool = False,
    format: Literal["", "log", "seconds", "bytes"] = "",
    **limits: Any,
) -> Any:
    """A spec field together with what its form control needs.

    title: label, sentence case. help: one sentence. unit: shown inside the control ("steps", "examples").
    section: heading under which the form shows it. advanced: folded away at first. format="log": the value spans
    decades. limits: pydantic's own (ge, gt, le, lt, min_length, max_length, discriminator, ...).
    """
    extra: dict[str, Any] = {
        key: value
        for key, value in {"unit": unit, "section": section, "advanced": advanced, "x-format": format}.items()
        if value
    }
    return PydanticField(default, title=title, description=help, json_schema_extra=extra or None, **limits)


def refuse(at: str, reason: str) -> NoReturn:
    """For model validators: refuse a combination and name the field that should change.

    at: location below the model being validated, dotted ("target.metric"). reason: a sentence.
    """
    raise PydanticCustomError("refused", "{reason}", {"at": at, "reason": reason})


def spec_hash(recipe: str, version: str, spec: Spec) -> str:
    """sha256 over recipe, version and the canonical spec, 64 hex digits. The seed is not part of it."""
    head = json.dumps([recipe, version], separators=(",", ":"))
    return hashlib.sha256(f"{head}\n{spec.canonical_json()}".encode()).hexdigest()


def merge(spec_type: type[BaseModel], base: object, override: object) -> object:
    """`override` laid over `base`, both JSON data of `spec_type`: objects merge by key, everything else is replaced.

    Where the spec offers a choice of several shapes, an override that chooses another one replaces the object whole:
    the fields of one shape mean nothing to another.
    """
    return _merge([spec_type], None, base, override)


def _merge(models: list[type[BaseModel]], tag: str | None, base: object, override: object) -> object:
    if not isinstance(base, Mapping) or not isinstance(override, Mapping):
        return override
    if tag is not None and tag in override and override[tag] != base.get(tag):
        return dict(override)
    merged = dict(base)
    for key, value in override.items():
        infos = [model.model_fields[key] for model in models if key in model.model_fields]
        inner = [found for info in infos for found in _models_in(info.annotation)]
        tags = [info.discriminator for info in infos if isinstance(info.discriminator, str)]
        merged[key] = _merge(inner, tags[0] if tags else None, base.get(key), value)
    return merged


def _fields_of(error: ValidationError, spec_type: type[BaseModel]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in error.errors(include_url=False, include_context=True):
        location, _ = _walk(spec_type, item["loc"])
        if item["type"] == "refused":
            location.append(item["ctx"]["at"])
        found.setdefault(".".join(location), _sentence(item, spec_type))
    return found


def _sentence(item: Any, spec_type: type[BaseModel]) -> str:
    if item["type"] == "missing":
        return "This field is required."
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        _, models = _walk(spec_type, item["loc"][:-1])
        near = get_close_matches(name, [known for model in models for known in model.model_fields], n=1)
        return f"Unknown field {name}." + (f" Did you mean {near[0]}?" if near else "")
    plain = _PLAIN.get(item["type"])
    if plain is not None:
        limits = {name: f"{end:g}" if isinstance(end, float) else end for name, end in item.get("ctx", {}).items()}
        return plain.format(**limits)
    message = str(item["msg"]).removeprefix("Value error, ")
    return message if message.endswith((".", "?")) else message + "."


def _walk(spec_type: type[BaseModel], path: FieldPath) -> tuple[list[str], list[type[BaseModel]]]:
    """The JSON location that a pydantic location means, and the models that may stand there.

    pydantic puts a discriminated union's tag into its locations; the JSON has no such level.
    """
    location: list[str] = []
    here = [spec_type]
    for part in path:
        tagged = [model for model in here if isinstance(part, str) and part in _tags(model)]
        if location and tagged and all(part not in model.model_fields for model in here):
            here = tagged
            continue
        location.append(str(part))
        below = [
            inner
            for model in here
            if isinstance(part, str) and part in model.model_fields
            for inner in _models_in(model.model_fields[part].annotation)
        ]
        here = below or here
    return location, here


def _tags(model: type[BaseModel]) -> set[str]:
    """The values by which a discriminated union may recognise this model."""
    return {
        value
        for info in model.model_fields.values()
        if typing.get_origin(info.annotation) is Literal
        for value in typing.get_args(info.annotation)
        if isinstance(value, str)
    }


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) is not None or isinstance(annotation, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from _models_in(argument)
