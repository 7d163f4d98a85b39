"""Every route of the description, called with values that no client means: a refusal in the one form, never a 500."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from stillroom.config.api import openapi
from support.cast import PROJECT, Cast

METHODS = ("get", "post", "put", "patch", "head")
VALUES = (
    "%00",
    "%FF",
    "x" * 3000,
    "-1",
    "99999999999999999999",
    "NaN",
    "9999-12-31T23:59:59Z",
    "0001-01-01",
    "WzEsMl0",
)
REAL = {"org": "aster", "project": PROJECT}


def calls() -> Iterator[tuple[str, str, str]]:
    """Method, template of the path, and one parameter of it to be replaced."""
    for path, operations in openapi()["paths"].items():
        for method in METHODS:
            for parameter in operations.get(method, {}).get("parameters", ()):
                where = "path" if parameter["in"] == "path" else "query"
                yield method.upper(), path.removeprefix("/api/v1"), f"{where} {parameter['name']}"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:12])
def test_a_strange_value_in_an_address_is_no_crash(cast: Cast, value: str) -> None:
    for (method, path, parameter), body in itertools.product(calls(), ({},)):
        where, name = parameter.split()
        at = path
        for part in path.split("{")[1:]:
            inner = part.split("}")[0]
            at = at.replace(f"{{{inner}}}", value if (where, inner) == ("path", name) else REAL.get(inner, "r_NONE"))
        if where == "query":
            at += f"?{name}={value}"
        answer = cast.ada.http.call(method, at, body if method in ("POST", "PUT", "PATCH") else None)
        assert answer.status < 500, (method, at[:200], answer.text)


def test_the_console_has_nothing_under_a_nul(cast: Cast) -> None:
    cast.ada.user.is_staff = cast.ada.user.is_superuser = True
    cast.ada.user.save()
    client = cast.ada.http.client
    client.force_login(cast.ada.user)
    assert client.get("/admin/runs/run/%00/change/").status_code == 404
    assert client.get("/admin/runs/run/?id__exact=%00").status_code == 400
