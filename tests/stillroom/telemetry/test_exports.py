"""What leaves comes back the same, into another organisation too; and an archive made to harm changes nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from pyarrow import parquet

from stillroom.core.tenancy import tenant_tx
from stillroom.runs.models import CheckpointRecord, Run
from stillroom.telemetry.services.artifacts import artifact_publish, artifact_receive
from support.cast import PROJECT, Answer, Cast, Person
from support.database import superuser
from support.logged import Logged, logged

VALUES = [1.0, np.nan, np.inf, -np.inf, -0.0, 1e-300, 0.1]


def fill(cast: Cast) -> Logged:
    """A project with everything in it: two runs, one the child of the other, a checkpoint, lines, odd values."""
    first = logged(cast.ada, name="first", tags={"a": "b"}, notes="n", spec={"optimizer": {"lr": 0.1}})
    first.batch(
        {"loss": (range(7), VALUES, 1.7e9 + np.arange(7) / 3), 'sys,tem/"x"': ([5, 3], [1.0, 2.0], None)},
        logs=[{"time": 1.7e9, "message": "ünïcode", "level": "warning", "stream": "stderr"}],
    )
    first.write("loss", range(7, 2000), np.random.default_rng(0).standard_normal(1993))
    digest, size = artifact_receive(tenant_id=cast.ada.tenant, chunks=[b"weights"], sha256=None)
    with tenant_tx(cast.ada.tenant):
        artifact_publish(run_id=first.id, epoch=1, path="c/w", sha256=digest, size_bytes=size)
        artifact_publish(run_id=first.id, epoch=1, path="again", sha256=digest, size_bytes=size)
        files = [{"path": "c/w", "name": "w", "size_bytes": size, "sha256": digest}]
        row = Run.objects.get(id=first.id)
        CheckpointRecord.objects.create(tenant_id=cast.ada.tenant, run=row, epoch=1, step=7, files=files)
    first.end()
    second = logged(cast.ada, name="second")
    with tenant_tx(cast.ada.tenant):
        Run.objects.filter(id=second.id).update(parent_id=first.id)
    return first


def exported(person: Person) -> zipfile.ZipFile:
    answer = person.http.get(f"/orgs/{person.org}/projects/{PROJECT}/export")
    assert answer.status == 200
    return zipfile.ZipFile(io.BytesIO(answer.content))


def send(person: Person, body: bytes) -> Answer:
    return person.http.post(f"/orgs/{person.org}/projects/{PROJECT}/import", raw=body, content_type="application/zip")


def records(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in archive.read("runs.jsonl").splitlines()]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_runs_points_as_a_file(cast: Cast, format: str) -> None:
    run = fill(cast)
    answer = cast.vera.http.get(f"/runs/{run.id}/export?format={format}")
    assert answer.headers["Content-Disposition"].endswith(f"{run.id}.{format}")
    content = answer.content
    if format == "parquet":
        table = parquet.read_table(io.BytesIO(content))
        rows = [(row["key"], row["step"], row["value"]) for row in table.to_pylist()]
    elif format == "csv":
        found = list(csv.DictReader(io.StringIO(content.decode())))
        rows = [(row["key"], int(row["step"]), float(row["value"])) for row in found]
    else:
        lines = [orjson.loads(line) for line in content.splitlines()]
        rows = [(row["key"], row["step"], float(row["value"])) for row in lines]
    assert len(rows) == 2002
    np.testing.assert_array_equal([value for key, _, value in rows if key == "loss"][:7], VALUES)
    assert [(step, value) for key, step, value in rows if key != "loss"] == [(5, 1.0), (3, 2.0)]
    few = cast.vera.http.get(f"/runs/{run.id}/export?key=loss&key=nothing")
    assert len(few.content.splitlines()) == 1 + 2000


def test_a_project_goes_into_another_organisation_and_is_the_same(cast: Cast) -> None:
    run = fill(cast)
    archive = exported(cast.ada)
    answer = send(cast.olga, archive.fp.getvalue())  # type: ignore[union-attr]
    assert answer.status == 201, answer.text
    assert (answer.body["points"], answer.body["artifacts"], len(answer.body["runs"])) == (2002, 1, 2)
    back = exported(cast.olga)
    before, after = records(archive), records(back)
    own = {"id", "origin", "created_by", "parent"}
    for old, new in zip(before, after, strict=True):
        assert new["id"] == answer.body["runs"][old["id"]] != old["id"]
        assert new["origin"]["run"] == old["id"]
        assert new["origin"]["org"] == "aster"
        changed = {name for name in old if old[name] != new[name]} - own
        assert changed <= ({"state", "reason", "reason_code", "ended_at"} if old["name"] == "second" else set())
        left = parquet.read_table(io.BytesIO(archive.read(f"metrics/{old['id']}.parquet")))
        right = parquet.read_table(io.BytesIO(back.read(f"metrics/{new['id']}.parquet")))
        for name in ("key", "step", "time", "value"):
            np.testing.assert_array_equal(left[name].to_numpy(), right[name].to_numpy())
        assert archive.read(f"logs/{old['id']}.jsonl") == back.read(f"logs/{new['id']}.jsonl")
    assert after[1]["parent"] == after[0]["id"]
    assert (after[1]["state"], after[1]["reason_code"]) == ("CANCELLED", "import.unfinished")
    new_id = answer.body["runs"][run.id]
    summaries = [
        person.http.get(f"/runs/{i}").body["metrics"] for person, i in ((cast.ada, run.id), (cast.olga, new_id))
    ]
    assert summaries[0] == summaries[1]
    assert cast.olga.http.get(f"/runs/{new_id}/artifacts/c/w").content == b"weights"
    assert cast.ada.http.get(f"/runs/{new_id}").status == 404
    assert cast.olga.http.get("/audit").body["items"][0]["action"] == "project.import"


Change = Callable[[dict[str, bytes]], None]


def rebuilt(archive: zipfile.ZipFile, change: Change, *, seal: bool = True, twice: str = "") -> bytes:
    """The archive with other members. seal: with a manifest that fits them."""
    members = {name: archive.read(name) for name in archive.namelist()}
    manifest = orjson.loads(members.pop("manifest.json"))
    change(members)
    if seal:
        manifest["files"] = {
            name: {"size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for name, body in members.items()
        }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, body in [*members.items(), ("manifest.json", orjson.dumps(manifest))]:
            made.writestr(name, body)
            if name == twice:
                made.writestr(name, body)
    return out.getvalue()


def with_run(field: str, value: Any) -> Change:
    def change(members: dict[str, bytes]) -> None:
        lines = [orjson.loads(line) for line in members["runs.jsonl"].splitlines()]
        lines[0][field] = value
        members["runs.jsonl"] = b"\n".join(orjson.dumps(line) for line in lines)

    return change


def with_spec(text: bytes) -> Change:
    """A spec whose one value is this JSON, which orjson itself would not write."""

    def change(members: dict[str, bytes]) -> None:
        with_run("spec", {"x": "HERE"})(members)
        members["runs.jsonl"] = members["runs.jsonl"].replace(b'"HERE"', text)

    return change


def with_study(field: str, value: Any) -> Change:
    def change(members: dict[str, bytes]) -> None:
        study = {"id": "s_AAAA", "name": "n", "recipe": "x", "arms": [], "seeds": [0]}
        members["studies.jsonl"] = orjson.dumps({**study, "created_at": "2026-01-01T00:00:00Z", field: value})

    return change


def other_points(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("metrics/"))
    members[name] = b"PAR1" + b"\0" * 100 + b"PAR1"


def no_points(members: dict[str, bytes]) -> None:
    del members[next(name for name in members if name.startswith("metrics/"))]


@pytest.mark.parametrize(
    ("change", "seal", "place"),
    [
        (lambda m: m.update({"../../etc/passwd": b"x"}), True, "../../etc/passwd"),
        (lambda m: m.update({"/abs": b"x"}), True, "/abs"),
        (lambda m: m.update({"artifacts/" + "0" * 64: b"\0" * 40_000_000}), True, "artifacts/" + "0" * 64),
        (lambda m: m.update({"artifacts/" + "1" * 64: b"surplus"}), False, "artifacts/" + "1" * 64),
        (lambda m: m.update({"runs.jsonl": m["runs.jsonl"] + b" "}), False, "runs.jsonl"),
        (lambda m: m.pop("runs.jsonl"), True, "runs.jsonl"),
        (other_points, True, "metrics/"),
        (no_points, True, "metrics/"),
        (with_run("points", 1), True, "metrics/"),
        (with_run("lines", 9), True, "logs/"),
        (with_run("state", "ROOT"), True, "runs.jsonl:1.state"),
        (with_run("study", "s_NOTTHERE"), True, "runs.jsonl:1.study"),
        (with_run("id", "../x"), True, "runs.jsonl:1.id"),
        (with_run("tenant_id", "o_X"), True, "runs.jsonl:1.tenant_id"),
        (with_spec(b"1" * 30), True, "runs.jsonl:1.spec"),
        (with_spec(b'"\\u0000"'), True, "runs.jsonl:1.spec"),
        (with_spec(b"[" * 100 + b"]" * 100), True, "runs.jsonl:1.spec"),
        (with_run("progress", {"step": "far"}), True, "runs.jsonl:1.progress.step"),
        (with_run("origin", {"a": "\0"}), True, "runs.jsonl:1.origin"),
        (with_run("created_at", "0001-01-01T00:00:00+23:00"), True, "runs.jsonl:1.created_at"),
        (with_run("created_at", "2026-01-01T00:00:00"), True, "runs.jsonl:1.created_at"),
        (with_run("recipe_version", "\0"), True, "runs.jsonl:1.recipe_version"),
        (with_study("arms", [{"a": 1}]), True, "studies.jsonl:1.arms.0"),
        (with_run("artifacts", [{"path": "../up", "sha256": "0" * 64, "size_bytes": 1}]), True, "path"),
        (with_run("artifacts", [{"path": "a", "sha256": "0" * 64, "size_bytes": 1}]), True, "runs.jsonl:1.artifacts"),
    ],
    ids=lambda value: value.replace("/", "-") if isinstance(value, str) else "",
)
def test_a_hostile_archive_is_refused_whole(cast: Cast, change: Change, seal: bool, place: str) -> None:
    fill(cast)
    body = rebuilt(exported(cast.ada), change, seal=seal)
    answer = send(cast.olga, body)
    assert answer.status == 422, answer.text
    assert next(iter(answer.body["fields"])).startswith(place)
    assert nothing_came(cast)


def test_members_twice_no_zip_and_too_much_are_refused(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from django.conf import settings

    fill(cast)
    archive = exported(cast.ada)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = rebuilt(archive, lambda m: None, twice="runs.jsonl")
    assert send(cast.olga, twice).body["fields"] == {"runs.jsonl": "It is there twice."}
    assert send(cast.olga, b"PK\x03\x04 but no zip").status == 422
    plain = rebuilt(archive, lambda m: None)
    for cut in (len(plain) // 3, len(plain) - 5):
        assert send(cast.olga, plain[:cut]).status == 422
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, max_import_bytes=5000))
    refused = send(cast.olga, plain)
    assert (refused.status, refused.body["limit"]) == (413, 5000)
    assert nothing_came(cast)


def nothing_came(cast: Cast) -> bool:
    with superuser() as owner:
        row = owner.execute("select count(*) from run where tenant_id = %s", [cast.olga.tenant]).fetchone()
    return row == (0,)
