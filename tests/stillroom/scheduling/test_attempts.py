"""The life of attempts: leases, fencing, cancel, loss, resume. Every arrow of the lifecycle table, over HTTP."""

from __future__ import annotations

import threading

import pytest
from django.db import IntegrityError, connections
from django.test.utils import CaptureQueriesContext

from stillroom.core.tenancy import SCHED, sched_tx
from stillroom.runs.catalog import spec_spread
from stillroom.runs.models import RunFence
from stillroom.scheduling.models import Allocation, Device
from stillroom.scheduling.services.dispatch import dispatch, sweep
from stillroom.scheduling.services.reap import reap
from support.cast import Cast, Http, attach_node, run_token, running, submit, take
from support.database import superuser
from support.threads import at_once


def expire(run: str) -> None:
    """Let a lease run out an hour ago."""
    with superuser() as owner:
        owner.execute("update run_lease set lease_until = now() - interval '1 hour' where run_id = %s", [run])


def ready_again(run: str) -> None:
    """End a run's backoff."""
    with superuser() as owner:
        owner.execute("update run set not_before = null where id = %s", [run])


def state(cast: Cast, run: str) -> str:
    return str(cast.ada.http.get(f"/runs/{run}").body["state"])


def test_a_run_goes_from_submit_to_success(cast: Cast) -> None:
    run = running(cast.ada)
    assert state(cast, run.id) == "RUNNING"
    assert run.points(1).status == 200
    assert run.node.finish(run.id, run.epoch, final_seq=1).body == {"state": "SUCCEEDED"}
    history = cast.ada.http.get(f"/runs/{run.id}/events").body
    path = [event["to_state"] for event in history["items"]]
    assert path == ["QUEUED", "ASSIGNED", "STARTING", "RUNNING", "SUCCEEDED"]
    assert history["attempts"][0]["outcome"] == "succeeded"


def test_only_one_of_two_claims_wins(cast: Cast) -> None:
    node = attach_node()
    run = submit(cast.ada)
    dispatch()
    first, again = node.claim(run, 1), node.claim(run, 1)
    assert first.status == again.status == 200, "its first answer may have been lost on the way"
    assert {**first.body, "run_token": ""} == {**again.body, "run_token": ""}
    assert first.body["spread"] == 1
    node.started(run, 1)
    late = node.claim(run, 1)
    assert (late.status, late.body["code"]) == (409, "run.not_claimable")


def test_a_claim_tells_over_how_many_devices_the_program_spreads() -> None:
    assert spec_spread("language_model", {"data_parallel": 2}) == 2
    # Such a run fails in its own program, which can say why.
    assert spec_spread("language_model", {"data_parallel": "wide"}) == spec_spread("gone", {}) == 1


def test_a_node_cannot_claim_what_was_given_to_another(cast: Cast) -> None:
    first = attach_node("first", slots=1)
    run = submit(cast.ada)
    dispatch()
    second = attach_node("second", slots=1)
    assert second.claim(run, 1).status == 409
    assert first.claim(run, 1).status == 200
    assert second.started(run, 1).status == 409
    assert second.finish(run, 1).status == 409


def test_a_device_never_has_two_holders(cast: Cast) -> None:
    run = running(cast.ada, attach_node(slots=1))
    submit(cast.ada)
    assert dispatch() == 0
    with sched_tx():
        device = Device.objects.get()
    with pytest.raises(IntegrityError), sched_tx():
        Allocation.objects.create(
            tenant_id=cast.ada.tenant, run_id=run.id, epoch=9, device=device, from_at="2026-01-01T00:00Z"
        )


def test_four_schedulers_at_once_assign_each_run_once(cast: Cast) -> None:
    attach_node(slots=3)
    for seed in range(6):
        submit(cast.ada, seed=seed)
    at_once(4, lambda: [dispatch() for _ in range(5)])
    with sched_tx():
        held = list(Allocation.objects.filter(to_at__isnull=True).values_list("device_id", "run_id"))
    assert len(held) == 3
    assert len({device for device, _ in held}) == len({run for _, run in held}) == 3


def test_a_waiting_run_says_why(cast: Cast) -> None:
    run = submit(cast.ada)
    dispatch()
    assert cast.ada.http.get(f"/runs/{run}/why-waiting").body["code"] == "no_node"
    attach_node(slots=1)
    dispatch()
    second = submit(cast.ada, seed=1)
    dispatch()
    why = cast.ada.http.get(f"/runs/{second}/why-waiting").body
    assert why == {"code": "capacity", "message": "Next. All 1 cpu are in use or promised.", "rank": 1}
    assert cast.ada.http.get(f"/runs/{run}/why-waiting").body is None


def test_a_flood_of_one_tenant_does_not_hold_back_another(cast: Cast) -> None:
    node = attach_node(slots=1)
    flood = [submit(cast.ada, seed=seed) for seed in range(4)]
    dispatch()
    late = submit(cast.olga)
    first = take(cast.ada, node, flood[0])
    node.finish(first.id, first.epoch)
    dispatch()
    assert cast.olga.http.get(f"/runs/{late}").body["state"] == "ASSIGNED"
    assert [state(cast, run) for run in flood] == ["SUCCEEDED", "QUEUED", "QUEUED", "QUEUED"]


def test_a_pass_costs_the_same_for_a_long_queue(cast: Cast) -> None:
    def queries_with(runs: int) -> int:
        for seed in range(runs):
            submit(cast.ada, seed=seed)
        with CaptureQueriesContext(connections[SCHED]) as seen:
            dispatch()
        return len(seen)

    assert queries_with(2) == queries_with(20)


def test_a_row_that_somebody_holds_stops_no_pass(cast: Cast) -> None:
    attach_node(slots=2)
    held, other, third = (submit(cast.ada, seed=seed) for seed in range(3))
    with superuser() as owner, owner.transaction():
        owner.execute("set local lock_timeout = '1s'")
        owner.execute("select from run where id in (%s, %s) for update", [held, third])
        worker = threading.Thread(target=dispatch)
        worker.start()
        worker.join(timeout=20)
        stuck = worker.is_alive()
    worker.join()
    assert not stuck
    assert state(cast, other) == "ASSIGNED"
    dispatch()
    assert state(cast, held) == "ASSIGNED"


def test_the_maximum_of_a_tenant_holds(cast: Cast) -> None:
    attach_node(slots=4)
    with superuser() as owner:
        owner.execute(
            "insert into quota (id, tenant_id, kind_id, max_devices, updated_at) values ('q_1', %s, 'cpu', 1, now())",
            [cast.ada.tenant],
        )
    runs = [submit(cast.ada, seed=seed) for seed in range(3)]
    other = submit(cast.olga)
    dispatch()
    assert [state(cast, run) for run in runs] == ["ASSIGNED", "QUEUED", "QUEUED"]
    assert cast.ada.http.get(f"/runs/{runs[1]}").body["waiting"]["code"] == "quota"
    assert cast.olga.http.get(f"/runs/{other}").body["state"] == "ASSIGNED"


@pytest.mark.parametrize("moment", ["QUEUED", "ASSIGNED", "STARTING", "RUNNING"])
def test_cancel_at_every_moment_ends_in_cancelled(cast: Cast, moment: str) -> None:
    node = attach_node()
    run = submit(cast.ada)
    epoch = 1
    if moment != "QUEUED":
        dispatch()
    if moment in ("STARTING", "RUNNING"):
        assert node.claim(run, epoch).status == 200
    if moment == "RUNNING":
        assert node.started(run, epoch).status == 200
    assert cast.ada.http.post(f"/runs/{run}/cancel").status == 200
    if moment in ("STARTING", "RUNNING"):
        beat = node.beat((run, epoch)).body["runs"][0]
        assert (beat["ok"], beat["intent"]) == (True, "cancel")
        assert node.http.post(f"/agent/runs/{run}/stopping", {"epoch": epoch}).body == {"state": "STOPPING"}
        assert node.finish(run, epoch, outcome="stopped").status == 200
    dispatch()
    assert state(cast, run) == "CANCELLED"
    assert node.claim(run, epoch).status == 409
    with sched_tx():
        assert not Allocation.objects.filter(to_at__isnull=True).exists()
    assert cast.ada.http.post(f"/runs/{run}/cancel").status == 200, "cancelling twice is no error"


def test_a_run_that_finished_before_the_cancel_keeps_its_state(cast: Cast) -> None:
    run = running(cast.ada)
    run.node.finish(run.id, run.epoch)
    assert cast.ada.http.post(f"/runs/{run.id}/cancel").body["state"] == "SUCCEEDED"


def test_pause_holds_with_the_checkpoint_and_resume_goes_on_from_it(cast: Cast) -> None:
    run = running(cast.ada)
    files = [{"path": "checkpoints/step-7/state.json", "name": "state.json", "size_bytes": 2, "sha256": "0" * 64}]
    saved = run.node.http.post(f"/agent/runs/{run.id}/checkpoint", {"epoch": run.epoch, "step": 7, "files": files})
    assert saved.status == 204
    cast.ada.http.post(f"/runs/{run.id}/pause")
    run.node.finish(run.id, run.epoch, outcome="stopped")
    assert state(cast, run.id) == "HELD"
    assert dispatch() == 0
    assert cast.ada.http.post(f"/runs/{run.id}/resume").body["state"] == "QUEUED"
    dispatch()
    claim = run.node.claim(run.id, 2).body
    assert (claim["resume"]["step"], claim["resume"]["files"]) == (7, files)
    assert cast.ada.http.get(f"/runs/{run.id}").body["attempt"] == 1, "a pause does not spend an attempt"


def test_finish_waits_for_the_missing_tail(cast: Cast) -> None:
    run = running(cast.ada)
    run.points(1)
    early = run.node.finish(run.id, run.epoch, final_seq=2)
    assert (early.status, early.body["code"], early.body["last_seq"]) == (409, "run.tail_missing", 1)
    run.points(2)
    assert run.node.finish(run.id, run.epoch, final_seq=2).status == 200
    assert run.node.finish(run.id, run.epoch, final_seq=2).body["code"] == "run.stale"


def test_a_lost_attempt_is_requeued_and_its_zombie_is_fenced(cast: Cast) -> None:
    run = running(cast.ada)
    assert run.points(1).status == 200
    expire(run.id)
    assert reap() == 1
    assert state(cast, run.id) == "QUEUED"
    for answer in (run.points(2), run.http.put(f"/runs/{run.id}/artifacts/a?epoch={run.epoch}", b"x")):
        assert (answer.status, answer.body["code"]) == (409, "ingest.stale_epoch")
    assert run.node.finish(run.id, run.epoch, final_seq=1).status == 409
    assert run.node.beat((run.id, run.epoch)).body["runs"][0]["ok"] is False
    with superuser() as owner:
        assert owner.execute("select status from device where id in (select device_id from allocation)").fetchone() == (
            "quarantined",
        )
    run.node.beat()
    with superuser() as owner:
        assert owner.execute("select count(*) from device where status = 'quarantined'").fetchone() == (0,)
    ready_again(run.id)
    dispatch()
    again = take(cast.ada, run.node, run.id)
    assert again.epoch > run.epoch
    assert again.points(1).status == 200
    assert run.points(2).status == 409


def test_a_heartbeat_keeps_the_lease(cast: Cast) -> None:
    run = running(cast.ada)
    with superuser() as owner:
        owner.execute("update run_lease set lease_until = now() + interval '1 second' where run_id = %s", [run.id])
    beat = run.node.beat((run.id, run.epoch)).body["runs"][0]
    assert beat["ok"] is True
    assert Http(beat["run_token"]).get(f"/runs/{run.id}/artifacts").status == 200
    assert reap() == 0


def test_attempts_are_bounded(cast: Cast) -> None:
    run = running(cast.ada, max_attempts=2)
    for epoch in (1, None):
        expire(run.id)
        assert reap() == 1
        if epoch:
            run.node.beat()
            ready_again(run.id)
            dispatch()
            take(cast.ada, run.node, run.id)
    body = cast.ada.http.get(f"/runs/{run.id}").body
    assert (body["state"], body["reason"]["code"]) == ("FAILED", "lost")


def test_a_failure_that_may_pass_is_tried_again_and_one_that_may_not_is_not(cast: Cast) -> None:
    error = {"code": "process.killed", "message": "Killed by signal 9."}
    run = running(cast.ada, max_attempts=2)
    first = run.node.finish(run.id, run.epoch, outcome="failed", error=error, retryable=True)
    assert first.body == {"state": "QUEUED"}
    ready_again(run.id)
    dispatch()
    again = take(cast.ada, run.node, run.id)
    assert again.node.finish(run.id, again.epoch, outcome="failed", error=error, retryable=True).body == {
        "state": "FAILED"
    }
    bad = running(cast.ada, run.node, seed=8)
    assert bad.node.finish(
        bad.id, bad.epoch, outcome="failed", error={"code": "training.non_finite", "message": "NaN."}
    ).body == {"state": "FAILED"}
    assert cast.ada.http.get(f"/runs/{bad.id}").body["reason"] == {"code": "training.non_finite", "message": "NaN."}


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(cast: Cast) -> None:
    run = running(cast.ada)
    for step in (5, 9):
        files = [{"path": f"checkpoints/{step}/s", "name": "s", "size_bytes": 1, "sha256": "0" * 64}]
        run.node.http.post(f"/agent/runs/{run.id}/checkpoint", {"epoch": run.epoch, "step": step, "files": files})
    run.node.finish(run.id, run.epoch, outcome="failed", error={"code": "process.killed"}, retryable=True)
    ready_again(run.id)
    dispatch()
    assert run.node.claim(run.id, 2).body["resume"]["step"] == 9
    error = {"code": "checkpoint.invalid", "message": "sha256 differs."}
    run.node.finish(run.id, 2, outcome="failed", error=error, retryable=True)
    ready_again(run.id)
    dispatch()
    assert run.node.claim(run.id, 3).body["resume"]["step"] == 5


def test_a_restarted_agent_gives_its_runs_back_at_once(cast: Cast) -> None:
    run = running(cast.ada)
    attach_node(incarnation="two")
    assert state(cast, run.id) == "QUEUED"
    with superuser() as owner:
        assert owner.execute("select count(*) from device where status = 'free'").fetchone() == (2,)


def test_a_node_that_leaves_gets_no_more_work(cast: Cast) -> None:
    node = attach_node()
    node.http.post("/agent/heartbeat", {"incarnation": node.incarnation, "leaving": True})
    run = submit(cast.ada)
    assert dispatch() == 0
    assert cast.ada.http.get(f"/runs/{run}/why-waiting").body["code"] == "no_node"
    attach_node(incarnation="two")
    assert dispatch() == 1


def test_the_sweep_wakes_a_node_again(cast: Cast) -> None:
    attach_node()
    run = submit(cast.ada)
    dispatch()
    assert sweep() == 0, "the first wake is fresh"
    with superuser() as owner:
        owner.execute("update run_lease set woken_at = now() - interval '1 minute' where run_id = %s", [run])
    assert sweep() == 1


def test_the_ledger_is_the_integral_of_the_allocations(cast: Cast) -> None:
    run = running(cast.ada)
    run.node.finish(run.id, run.epoch)
    with superuser() as owner:
        row = owner.execute(
            "select u.device_seconds, extract(epoch from a.to_at - a.from_at)::float8 "
            "from usage_ledger u join allocation a using (run_id, epoch)"
        ).fetchall()
    assert len(row) == 1
    assert row[0][0] == pytest.approx(row[0][1], abs=1e-5)
    usage = cast.ada.http.get("/usage").body["items"]
    assert usage[0]["kind"] == "cpu"
    assert cast.olga.http.get("/usage").body["items"] == []


def test_the_trigger_refuses_what_the_table_does_not_allow(cast: Cast) -> None:
    run = running(cast.ada)
    run.node.finish(run.id, run.epoch)
    with superuser() as owner:
        for change in ("state = 'RUNNING'", "epoch = 0"):
            with pytest.raises(Exception, match="may not"):
                owner.execute(f"update run set {change} where id = %s", [run.id])


def test_a_run_token_opens_its_own_attempt_only(cast: Cast) -> None:
    node = attach_node()
    first, second = running(cast.ada, node), running(cast.ada, node, seed=1)
    assert first.http.get(f"/runs/{first.id}/artifacts").status == 200
    for path in (f"/runs/{second.id}/artifacts", f"/runs/{second.id}/artifacts/x"):
        assert first.http.get(path).status in (403, 404)
    assert first.http.get("/me").status == 404
    assert first.http.post(f"/runs/{first.id}/cancel").status == 403
    assert first.http.post("/agent/heartbeat", {"incarnation": "one"}).status == 403
    stale = run_token(cast.ada, first.id, first.epoch, valid_s=-1)
    assert stale.get(f"/runs/{first.id}/artifacts").status == 401


def test_an_external_run_lives_by_its_points_and_is_lost_in_silence(cast: Cast) -> None:
    made = cast.mel.http.post("/orgs/aster/projects/first/runs", {"external": True, "name": "notebook"}).body
    assert (made["state"], made["epoch"]) == ("RUNNING", 1)
    series = [{"key": "loss", "step": [1], "value": [0.5], "time": [1.7e9]}]
    assert cast.mel.http.post(f"/runs/{made['id']}/points", {"epoch": 1, "seq": 1, "series": series}).status == 200
    assert cast.mel.http.post(f"/runs/{made['id']}/heartbeat").status == 204
    expire(made["id"])
    assert reap() == 1
    assert state(cast, made["id"]) == "LOST"
    (attempt,) = cast.mel.http.get(f"/runs/{made['id']}/events").body["attempts"]
    assert (attempt["outcome"], attempt["ended_at"] is None) == ("lost", False)
    with sched_tx():
        assert RunFence.objects.get(run_id=made["id"]).open is False
    other = cast.mel.http.post("/orgs/aster/projects/first/runs", {"external": True}).body
    assert cast.mel.http.post(f"/runs/{other['id']}/finish", {"state": "SUCCEEDED"}).body["state"] == "SUCCEEDED"
