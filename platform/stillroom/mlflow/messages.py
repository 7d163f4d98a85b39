"""Requests as MLflow's clients send them: query strings on GET, JSON otherwise, int64 as number or text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import orjson
from django.http import HttpRequest
from django.http.request import RawPostDataException

from stillroom.mlflow.errors import MlflowError, invalid

INT64 = 2**63
HINT = "See the API docs for more information about request parameters."


class Message:
    """The fields of one request. Unknown ones are ignored; a wrong type raises INVALID_PARAMETER_VALUE."""

    def __init__(self, fields: dict[str, Any], *, repeated: dict[str, list[str]] | None = None) -> None:
        self.fields = fields
        self._repeated = repeated

    def raw(self, name: str) -> Any:
        return self.fields.get(name)

    def text(self, name: str, default: str = "") -> str:
        """Text, or the default when it is absent or null."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise wrong(name, value)
        return storable(name, value)

    def given(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def required(self, name: str, *, alias: str = "") -> str:
        """Text that may not be empty."""
        value = self.text(name) or (self.text(alias) if alias else "")
        if not value:
            raise invalid(f"Missing value for required parameter '{name}'. {HINT}")
        return value

    def whole(self, name: str, default: int | None = None) -> int | None:
        """An int64 as number or text."""
        value = self.fields.get(name)
        return default if value is None else whole(name, value)

    def between(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within bounds, which the error names."""
        found = self.whole(name, default)
        assert found is not None
        if not low <= found <= high:
            problem = f"It must be at most {high}." if found > high else f"It must be at least {low}."
            raise invalid(f"Invalid value {found} for parameter '{name}' supplied: {problem}")
        return found

    def flag(self, name: str) -> bool:
        value = self.fields.get(name)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if value is not None and not isinstance(value, bool):
            raise wrong(name, value)
        return bool(value)

    def texts(self, name: str) -> list[str]:
        """A list of texts; on GET the values of a repeated key."""
        if self._repeated is not None:
            return self._repeated.get(name, [])
        found = self.items(name)
        for item in found:
            if not isinstance(item, str):
                raise wrong(name, found)
            storable(name, item)
        return found

    def items(self, name: str) -> list[Any]:
        """A list of anything."""
        value = self.fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong(name, value)
        return value

    def objects(self, name: str) -> list[Message]:
        """A list of objects."""
        found = self.items(name)
        for item in found:
            if not isinstance(item, dict):
                raise wrong(name, found)
        return [Message(item) for item in found]

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """A list of {key, value}."""
        return [(item.text("key"), item.text("value")) for item in self.objects(name)]


def read(request: HttpRequest) -> Message:
    """The request's fields; BAD_REQUEST-like refusals for what is no JSON object."""
    if request.method == "GET":
        lists = {name: [storable(name, value) for value in request.GET.getlist(name)] for name in request.GET}
        return Message({name: values[-1] for name, values in lists.items() if values}, repeated=lists)
    try:
        body = request.body
    except RawPostDataException:
        body = b""
    if not body.strip():
        return Message({})
    kind = (request.content_type or "").lower()
    if kind and kind not in ("application/json", "text/json"):
        raise MlflowError("BAD_REQUEST", f"Bad Request. Content-Type must be one of application/json, got {kind}.")
    fields = decode(body)
    if isinstance(fields, str):  # older clients encode twice
        fields = decode(fields.encode("utf-8", "surrogatepass"))
    if fields is None:
        return Message({})
    if not isinstance(fields, dict):
        raise invalid(f"The request body must be a JSON object, not {type(fields).__name__}.")
    return Message(fields)


def decode(body: bytes) -> Any:
    """JSON; with the literals NaN and Infinity that Python writes, as text."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise MlflowError("BAD_REQUEST", f"The request body is not valid JSON: {str(error)[:200]}") from None


def storable(name: str, value: str) -> str:
    """Text without NUL and without half characters, which no database stores."""
    if "\x00" in value or (not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)):
        raise invalid(f"Invalid value for parameter '{name}' supplied: it holds a NUL or an unpaired surrogate.")
    return value


def whole(name: str, value: Any) -> int:
    """An int64."""
    if isinstance(value, str):
        try:
            value = int(value) if len(value) <= 30 else None
        except ValueError:
            value = None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise wrong(name, value)
    if not -INT64 <= value < INT64:
        raise invalid(f"Invalid value {value} for parameter '{name}' supplied: It does not fit 64 bits.")
    return value


def double(name: str, value: Any) -> float:
    """A float64: a number, or text such as "NaN" and "-Infinity"."""
    if isinstance(value, str):
        try:
            return float(value) if len(value) <= 100 else math.nan
        except ValueError:
            raise wrong(name, value) from None
    if type(value) not in (int, float):
        raise wrong(name, value)
    try:
        return float(value)
    except OverflowError:
        raise wrong(name, value) from None


def wrong(name: str, value: Any) -> MlflowError:
    """The error for a value of the wrong type, in MLflow's words."""
    shown = json.dumps(value, default=str)[:200]
    hint = f"Hint: Value was of type '{type(value).__name__}'."
    return invalid(f"Invalid value {shown} for parameter '{name}' supplied:  {hint} {HINT}")


def key_values(pairs: dict[str, str]) -> list[dict[str, str]]:
    """A mapping as MLflow's list."""
    return [{"key": key, "value": value} for key, value in pairs.items()]


def without_nothing(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object without empty members, as protocol buffers print it."""
    return {name: value for name, value in fields if value not in (None, "", [], {})}
