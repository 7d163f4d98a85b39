"""Deleting: invisible at once, back on request, and gone for good with every byte when its time has come."""

from __future__ import annotations

import pytest
from django.conf import settings

from stillroom.core.tenancy import tenant_tx
from stillroom.runs.models import CheckpointRecord, Run
from stillroom.telemetry.services.artifacts import artifact_publish, artifact_receive, stored_file
from stillroom.telemetry.services.sweep import sweep
from support.cast import PROJECT, Cast, Person, running, small_spec
from support.database import superuser
from support.logged import Logged, logged

TABLES = ("series_chunk", "log_chunk", "series", "artifact", "run_event", "run_fence", "run_attempt", "checkpoint")


def full(person: Person, content: bytes = b"weights", path: str = "model.bin") -> Logged:
    """An ended run with points, lines and a file."""
    run = logged(person, name="doomed")
    run.batch({"loss": ([1, 2], [3.0, 4.0], None)}, logs=[{"time": 1.7e9, "message": "line"}])
    attach(run, path, content)
    run.end()
    return run


def attach(run: Logged, path: str, content: bytes) -> str:
    digest, size = artifact_receive(tenant_id=run.person.tenant, chunks=[content], sha256=None)
    with tenant_tx(run.person.tenant):
        artifact_publish(run_id=run.id, epoch=1, path=path, sha256=digest, size_bytes=size)
    return digest


def rows(run_id: str) -> dict[str, int]:
    with superuser() as owner:
        found = {}
        for table in TABLES:
            row = owner.execute(f"select count(*) from {table} where run_id = %s", [run_id]).fetchone()
            found[table] = row[0] if row else 0
        return {table: count for table, count in found.items() if count}


def test_a_deleted_run_is_nowhere_until_it_is_restored(cast: Cast) -> None:
    run = full(cast.ada)
    thrown = cast.mel.http.delete(f"/runs/{run.id}")
    assert (thrown.status, thrown.body["kind"], thrown.body["runs"]) == (200, "run", 1)
    http = cast.ada.http
    for path in ("", "/series", "/logs", "/artifacts", "/artifacts/model.bin", "/events"):
        assert http.get(f"/runs/{run.id}{path}").status == 404, path
    assert http.post("/series/query", {"runs": [run.id], "keys": ["loss"]}).status == 404
    assert http.get("/runs").body["total"] == 0
    assert http.get(f"/orgs/aster/projects/{PROJECT}").body["runs"] == 0
    (item,) = http.get("/trash").body["items"]
    assert (item["id"], item["trashed_by"]) == (run.id, "mel@example.org")
    assert item["bytes"] > len(b"weights")
    assert cast.olga.http.get("/trash").body["items"] == []
    assert cast.mel.http.post(f"/trash/{run.id}/restore").status == 200
    assert http.get(f"/runs/{run.id}").body["metrics"]["loss"]["n"] == 2
    assert http.get("/trash").body["items"] == []
    actions = [entry["action"] for entry in http.get("/audit").body["items"]]
    assert actions[:2] == ["run.restore", "run.trash"]


def test_purging_frees_every_row_and_the_content_nobody_else_names(cast: Cast) -> None:
    run = full(cast.ada)
    other = full(cast.ada, content=b"shared", path="s.bin")
    attached = logged(cast.ada)
    shared = attach(attached, "s.bin", b"shared")
    own = attach(attached, "own.bin", b"mine alone")
    attached.end()
    assert cast.ada.http.delete(f"/runs/{attached.id}").status == 200
    assert cast.mel.http.delete(f"/trash/{attached.id}").status == 403
    purged = cast.adam.http.delete(f"/trash/{attached.id}")
    assert purged.status == 200
    assert purged.body["freed_bytes"] == len(b"mine alone"), "it had no points"
    assert rows(attached.id) == {}
    assert not stored_file(cast.ada.tenant, own).exists()
    assert stored_file(cast.ada.tenant, shared).read_bytes() == b"shared", f"{other.id} still names it"
    assert cast.ada.http.delete(f"/trash/{attached.id}").status == 404
    assert rows(run.id)["series_chunk"] == 1
    cast.ada.http.delete(f"/runs/{run.id}")
    expected = cast.ada.http.get("/trash").body["items"][0]["bytes"]
    assert cast.ada.http.delete(f"/trash/{run.id}").body["freed_bytes"] == expected > 0
    assert rows(run.id) == {}
    entry = cast.ada.http.get("/audit").body["items"][0]
    assert (entry["action"], entry["after"]["freed_bytes"]) == ("run.purge", expected)


def test_a_run_that_goes_on_cannot_be_deleted(cast: Cast) -> None:
    run = running(cast.ada)
    refused = cast.ada.http.delete(f"/runs/{run.id}")
    assert (refused.status, refused.body["code"], refused.body["runs"]) == (409, "trash.active", [run.id])
    assert cast.ada.http.delete(f"/orgs/aster/projects/{PROJECT}").status == 409


def test_a_project_goes_and_comes_back_whole_and_its_name_is_free_meanwhile(cast: Cast) -> None:
    http = cast.ada.http
    run, earlier = full(cast.ada), full(cast.ada)
    http.delete(f"/runs/{earlier.id}")
    thrown = http.delete(f"/orgs/aster/projects/{PROJECT}").body
    assert http.get(f"/orgs/aster/projects/{PROJECT}").status == 404
    assert cast.mel.http.post(f"/trash/{thrown['id']}/restore").status == 403
    alone = http.post(f"/trash/{earlier.id}/restore")
    assert (alone.status, alone.body["code"]) == (409, "trash.project")
    assert http.post("/orgs/aster/projects", {"slug": PROJECT}).status == 201
    assert http.post(f"/trash/{thrown['id']}/restore").status == 409
    assert http.delete(f"/orgs/aster/projects/{PROJECT}").status == 200
    assert http.post(f"/trash/{thrown['id']}/restore").status == 200
    assert http.get(f"/runs/{run.id}").status == 200
    assert http.get(f"/runs/{earlier.id}").status == 404, "it was thrown away by itself"


def test_a_purged_project_takes_its_studies_and_runs_along(cast: Cast) -> None:
    http = cast.ada.http
    run = full(cast.ada)
    with superuser() as owner:
        owner.execute(
            "insert into study (id, tenant_id, project_id, name, recipe, arms, seeds, idempotency_hash, created_at,"
            " trashed_by, trashed_with) select 's_TEST', tenant_id, project_id, 's', 'r', '[]', '[]', '', now(), '', ''"
            " from run where id = %s",
            [run.id],
        )
        owner.execute("update run set study_id = 's_TEST' where id = %s", [run.id])
    item = http.delete(f"/orgs/aster/projects/{PROJECT}").body
    assert http.delete(f"/trash/{item['id']}").status == 200
    with superuser() as owner:
        left = owner.execute("select (select count(*) from run), (select count(*) from study)").fetchone()
    assert left == (0, 0)


def test_a_key_whose_run_is_in_the_trash_says_so(cast: Cast) -> None:
    http = cast.ada.http
    place, payload = f"/orgs/aster/projects/{PROJECT}/runs", {"recipe": "optimizer_benchmark", "spec": small_spec()}
    key = {"Idempotency-Key": "once"}
    run = http.post(place, payload, headers=key).body["id"]
    http.post(f"/runs/{run}/cancel")
    http.delete(f"/runs/{run}")
    again = http.post(place, payload, headers=key)
    assert (again.status, again.body["code"]) == (409, "idempotency.trashed")
    http.delete(f"/trash/{run}")
    assert http.post(place, payload, headers=key).status == 201


def test_a_study_purged_leaves_runs_that_were_restored(cast: Cast) -> None:
    http = cast.ada.http
    study = http.post(
        f"/orgs/aster/projects/{PROJECT}/studies",
        {"name": "s", "recipe": "optimizer_benchmark", "spec": small_spec(), "seeds": [0, 1]},
    ).body
    http.post(f"/studies/{study['id']}/cancel")
    assert http.delete(f"/studies/{study['id']}").body["runs"] == 2
    assert http.post(f"/trash/{study['runs'][0]}/restore").status == 200
    assert http.delete(f"/trash/{study['id']}").status == 200
    assert http.get(f"/runs/{study['runs'][0]}").body["study"] is None
    assert http.get("/runs").body["total"] == 1


def test_the_sweep_empties_what_is_old_and_nothing_else(cast: Cast) -> None:
    old, young = full(cast.ada), full(cast.ada, content=b"young")
    for run in (old, young):
        cast.ada.http.delete(f"/runs/{run.id}")
    with superuser() as owner:
        owner.execute(
            "update run set trashed_at = trashed_at - make_interval(days => %s) where id = %s",
            [settings.ENV.trash_days + 1, old.id],
        )
    assert sweep(tenant_id=cast.ada.tenant) > 0
    assert [item["id"] for item in cast.ada.http.get("/trash").body["items"]] == [young.id]
    assert rows(old.id) == {}


def test_retention_is_off_until_an_owner_sets_it_and_spares_what_is_tagged(cast: Cast) -> None:
    old, kept = full(cast.ada), full(cast.ada)
    cast.ada.http.patch(f"/runs/{kept.id}", {"tags": {"keep": "paper"}})
    with superuser() as owner:
        owner.execute("update run set ended_at = ended_at - interval '40 days'")
    sweep(tenant_id=cast.ada.tenant)
    assert cast.ada.http.get("/trash").body["items"] == []
    assert cast.adam.http.call("PUT", "/orgs/aster/storage", {"retain_days": 30}).status == 403
    assert cast.ada.http.call("PUT", "/orgs/aster/storage", {"retain_days": 30}).body["policy"]["retain_days"] == 30
    sweep(tenant_id=cast.ada.tenant)
    (item,) = cast.ada.http.get("/trash").body["items"]
    assert (item["id"], item["trashed_by"]) == (old.id, "retention")


def test_replaced_content_is_swept(cast: Cast) -> None:
    run = logged(cast.ada)
    first = attach(run, "a", b"first")
    attach(run, "a", b"second")
    assert sweep(tenant_id=cast.ada.tenant) == len(b"first")
    assert not stored_file(cast.ada.tenant, first).exists()
    assert cast.ada.http.get("/orgs/aster/storage").body["artifact_bytes"] == len(b"second")


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ({}, [10, 20, 30, 40, 50]),
        ({"keep_last": 2}, [40, 50]),
        ({"keep_every": 20}, [20, 40, 50]),
        ({"keep_best": 1, "best_metric": "loss"}, [20, 50]),
        ({"keep_best": 1, "best_metric": "loss", "best_goal": "max", "keep_last": 1}, [10, 50]),
    ],
)
def test_checkpoints_are_kept_by_rule(cast: Cast, policy: dict[str, object], left: list[int]) -> None:
    run = logged(cast.ada)
    run.write("loss", [9, 19, 29, 39, 49], [5.0, 1.0, 2.0, float("nan"), 3.0])
    for step in (10, 20, 30, 40, 50):
        digest = attach(run, f"c/{step}", f"state {step}".encode())
        file = {"path": f"c/{step}", "name": "s", "size_bytes": 8, "sha256": digest}
        with tenant_tx(cast.ada.tenant):
            CheckpointRecord.objects.create(
                tenant_id=cast.ada.tenant, run=Run.objects.get(id=run.id), epoch=1, step=step, files=[file]
            )
    cast.ada.http.call("PUT", "/orgs/aster/storage", policy)
    sweep(tenant_id=cast.ada.tenant)
    assert len(cast.ada.http.get(f"/runs/{run.id}/checkpoints").body["items"]) == 5, "the run goes on"
    run.end()
    freed = sweep(tenant_id=cast.ada.tenant)
    items = cast.ada.http.get(f"/runs/{run.id}/checkpoints").body["items"]
    assert [item["step"] for item in items] == left
    assert all(item["kept_by"] for item in items)
    files = [item["path"] for item in cast.ada.http.get(f"/runs/{run.id}/artifacts").body["items"]]
    assert files == [f"c/{step}" for step in left]
    assert freed == 8 * (5 - len(left))
