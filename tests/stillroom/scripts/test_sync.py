"""Offline runs, kills and lost connections: nothing that was kept is lost, nothing is doubled."""

from __future__ import annotations

import signal
from datetime import timedelta

from django.utils import timezone

import stillroom_client
from stillroom.runs.models import RunLease
from stillroom.scheduling.services.reap import reap
from stillroom_client.folder import RunFolder
from stillroom_client.start import sync_all
from support.cast import in_tenant
from support.scripts import Bench


def test_an_offline_run_appears_when_it_is_synced_and_only_once(bench: Bench, tmp_path: object) -> None:
    with stillroom_client.init(bench.project, "off", {"a": 1}, mode="offline", system=False) as run:
        for step in range(100):
            run.log({"x": step}, step=step)
        run.config["b"] = 2
    assert (run.id, bench.runs()) == (None, [])
    assert [done.outcome for done in bench.sync()] == ["sent"]
    assert bench.sync() == []
    (shown,) = bench.runs()
    assert (shown["state"], shown["name"], shown["spec"]) == ("SUCCEEDED", "off", {"a": 1, "b": 2})
    assert bench.points(shown["id"], "x") == [(n, n) for n in range(100)]


def test_killed_in_the_middle_of_logging_then_synced(bench: Bench) -> None:
    body = f"""
        run = stillroom.init('{bench.project}', system=False)
        for step in range(2000):
            run.log({{'x': step}}, step=step)
        assert run.flush()
        print(run.id, flush=True)
        step = 2000
        while True:
            run.log({{'x': step}}, step=step)
            step += 1
    """
    run = bench.killed(body).split()[0]
    assert [done.outcome for done in bench.sync()] == ["sent"]
    points = bench.points(run, "x")
    n = bench.cast.mel.http.get(f"/runs/{run}").body["metrics"]["x"]["n"]
    assert n >= 2000, "what was acknowledged is there"
    assert points[-1] == (n - 1, n - 1), "without a gap and without a repetition"
    assert bench.runs()[0]["state"] == "FAILED"


def test_killed_in_the_middle_of_syncing_at_every_call(bench: Bench) -> None:
    with stillroom_client.init(bench.project, mode="offline", system=False) as run:
        for step in range(300):
            run.log({"x": step}, step=step)
            if step % 50 == 0:
                run.flush()
        run.log_artifact(__file__)
    for calls in (1, 2, 4, 7, 9):
        # The process dies right after the n-th answer of the platform, before it can note anything down.
        bench.script(
            f"""
            from stillroom_client.start import sync_all
            import httpx
            left, original = [{calls}], httpx.Client.request
            def dying(self, *arguments, **options):
                answer = original(self, *arguments, **options)
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return answer
            httpx.Client.request = dying
            list(sync_all())
            """
        )
    bench.sync()
    (shown,) = bench.runs()
    assert shown["state"] == "SUCCEEDED"
    assert bench.points(shown["id"], "x") == [(n, n) for n in range(300)]
    assert len(bench.cast.mel.http.get(f"/runs/{shown['id']}/artifacts").body["items"]) == 1


def test_a_run_given_up_for_silence_is_taken_over_by_its_own_rest(bench: Bench) -> None:
    run = stillroom_client.init(bench.project, system=False)
    run.log({"x": 0}, step=0)
    assert run.flush()
    lose(bench, str(run.id))
    run.log({"x": 1}, step=1)
    run.finish()
    (shown,) = bench.runs()
    assert (shown["state"], shown["epoch"]) == ("SUCCEEDED", 2)
    assert bench.points(shown["id"], "x") == [(0, 0), (1, 1)]


def test_a_kill_while_taking_over_does_not_double(bench: Bench) -> None:
    body = f"""
        run = stillroom.init('{bench.project}', system=False)
        for step in range(10):
            run.log({{'x': step}}, step=step)
        assert run.flush()
        for step in range(10, 20):
            run.log({{'x': step}}, step=step)
        run._spool_now()
        print(run.id, flush=True)
        signal.pause()
    """
    run = bench.killed(body).split()[0]
    lose(bench, run)
    dying = """
        from stillroom_client import uploader
        original = uploader.Uploader._call
        def call(self, method, path, body):
            answer = original(self, method, path, body)
            if path == '/reopen':
                os.kill(os.getpid(), signal.SIGKILL)
            return answer
        uploader.Uploader._call = call
        from stillroom_client.start import sync_all
        list(sync_all())
    """
    assert bench.script(dying).returncode == -signal.SIGKILL
    assert [done.outcome for done in bench.sync()] == ["sent"]
    assert bench.points(run, "x") == [(n, n) for n in range(20)]


def test_without_a_platform_the_script_goes_on_and_nothing_is_lost(bench: Bench) -> None:
    done = bench.script(
        f"run = stillroom.init('{bench.project}', 'later', system=False)\nrun.log({{'x': 1}})\n"
        "run.finish(timeout_s=0.5)\n",
        STILLROOM_URL="http://127.0.0.1:9",
    )
    assert done.returncode == 0
    assert "stillroom sync" in done.stderr
    (path,) = list(bench.folder.iterdir())
    folder = RunFolder(path)
    folder.update(url="")
    folder.close()
    assert [one.outcome for one in bench.sync()] == ["sent"]
    assert bench.points(bench.runs()[0]["id"], "x") == [(0, 1)]


def test_a_live_run_is_left_alone_by_sync(bench: Bench) -> None:
    run = stillroom_client.init(bench.project, mode="offline", system=False)
    assert [done.outcome for done in bench.sync()] == ["busy"]
    run.finish()


def test_another_persons_token_cannot_send_it(bench: Bench) -> None:
    with stillroom_client.init(bench.project, mode="offline", system=False) as run:
        run.log({"x": 1})
    from stillroom_client.transport import Transport

    stranger = Transport(bench.env["STILLROOM_URL"], bench.cast.olga.http.token)
    assert [done.outcome for done in sync_all(bench.folder, transport=stranger)] == ["failed"]
    assert [done.outcome for done in bench.sync()] == ["sent"]


def lose(bench: Bench, run: str) -> None:
    """Let the lease of a run end long ago, and the reaper come by."""
    with in_tenant(bench.cast.mel):
        RunLease.objects.filter(run_id=run).update(lease_until=timezone.now() - timedelta(minutes=5))
    assert reap() == 1
