"""What may enter as JSON, by itself and through the doors: nothing that could not be stored, listed and sent back."""

from __future__ import annotations

import base64
import errno
import json
from typing import Any

import pytest

from stillroom.core.errors import Invalid
from stillroom.core.plain import MAX_DEPTH, read_json
from support.cast import PROJECT, Cast

RUNS = f"/orgs/aster/projects/{PROJECT}/runs"


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"a": [1, "x\\u0000y"]}', "a.1"),
        (b'{"a": {"b": "\\ud800"}}', "a.b"),
        (b'{"a": {"\\u0000": 1}}', "a.?"),
        (b'{"a": NaN}', "a"),
        (b'{"a": [-1e999]}', "a.0"),
        (b'{"a": 9223372036854775808}', "a"),
        (b'{"a": -9223372036854775809}', "a"),
        (json.dumps(nested(MAX_DEPTH + 2)).encode(), ".".join("a" * (MAX_DEPTH + 1))),
    ],
)
def test_what_nobody_could_read_back_is_refused_at_its_place(body: bytes, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_json(body)
    assert list(refused.value.fields) == [place]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        read_json(body)


def test_everything_else_passes_unchanged() -> None:
    value = {"a": [1, -(2**63), 2**63 - 1, 1.5, None, True, "😀\u2028"], "": {"deep": nested(MAX_DEPTH - 2)}}
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("spec", ["1" + "0" * 30, "NaN", '"\\u0000"', '"\\ud800"', json.dumps(nested(300))])
def test_a_spec_that_no_list_could_show_is_refused_and_the_list_still_answers(cast: Cast, spec: str) -> None:
    body = b'{"external": true, "spec": {"lr": %s}}' % spec.encode()
    answer = cast.mel.http.post(RUNS, raw=body)
    assert answer.status == 422, answer.text
    assert all(name.startswith("spec.lr") for name in answer.body["fields"])
    assert cast.mel.http.get(f"{RUNS}?group=spec").status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/orgs/aster/projects", {"slug": "x", "name": "a\0"}),
        ("PATCH", f"/orgs/aster/projects/{PROJECT}", {"description": "\0"}),
        ("POST", RUNS, {"external": True, "parent": "\0"}),
        ("POST", RUNS, {"recipe": "optimizer_benchmark", "resources": {"kind": "\0"}}),
        ("POST", f"/orgs/aster/projects/{PROJECT}/studies", {"name": "\0", "recipe": "x"}),
        ("POST", "/tokens", {"name": "\0"}),
        ("POST", "/series/query", {"runs": ["\0"], "keys": ["a"]}),
    ],
)
def test_nul_in_a_body_names_its_field(cast: Cast, method: str, path: str, body: Any) -> None:
    answer = cast.ada.http.call(method, path, body)
    assert (answer.status, answer.body["code"]) == (422, "invalid"), answer.text
    assert len(answer.body["fields"]) == 1


def test_nul_in_an_address(cast: Cast) -> None:
    for path in ("/runs/%00", "/runs/a%00b/events", "/orgs/aster/projects/%00/runs", "/studies/%00"):
        answer = cast.mel.http.get(path)
        assert (answer.status, answer.body["code"]) == (404, "not_found"), path
    for name in ("q", "recipe", "study", "spec_hash", "columns", "sort"):
        answer = cast.mel.http.get(f"{RUNS}?{name}=a%00b")
        assert (answer.status, list(answer.body["fields"])) == (422, [name])


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (RUNS, [1, 2]),
        (RUNS, [None, 1]),
        (RUNS, ["2026-01-01T00:00:00Z", {}]),
        (f"{RUNS}?sort=seed", ["2026-01-01T00:00:00Z", "r_1"]),
        (f"{RUNS}?sort=-metric:loss", ["a", "r_1"]),
        (f"/orgs/aster/projects/{PROJECT}/studies", [1, 2]),
        (f"/orgs/aster/projects/{PROJECT}/studies", ["x", "y"]),
        ("/audit", ["x"]),
        ("/audit", [2**80]),
        ("/runs", ["\0", "\0"]),
    ],
)
def test_a_cursor_of_another_list_is_refused_or_harmless(cast: Cast, path: str, values: list[Any]) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    answer = cast.ada.http.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}")
    assert answer.status in (200, 422), answer.text
    assert answer.status == 200 or list(answer.body["fields"]) == ["cursor"]


def test_days_at_the_end_of_time(cast: Cast) -> None:
    assert cast.ada.http.get("/usage?until=0001-01-01").status == 200
    assert cast.ada.http.get("/usage?since=0001-01-01&until=9999-12-31").status == 200


def test_answers_to_callers_stay_out_of_caches(cast: Cast) -> None:
    for path in ("/me", RUNS, "/nowhere"):
        assert cast.mel.http.get(path).headers["Cache-Control"] == "private, no-store"


def test_a_full_disk_is_said_and_may_pass(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stillroom.telemetry.api.exports.archive_receive", full)
    answer = cast.ada.http.post(f"/orgs/aster/projects/{PROJECT}/import", raw=b"x", content_type="application/zip")
    assert (answer.status, answer.body["code"]) == (507, "storage.full")
    assert answer.headers["Retry-After"]
