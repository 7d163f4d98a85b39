"""`stillroom_client.init` against the platform: what arrives, how a run ends, resuming and forking."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest

import stillroom_client
from stillroom_client.errors import ApiError
from support.scripts import Bench


def test_everything_that_is_logged_arrives(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "w.bin").write_bytes(b"weights")
    with stillroom_client.init(
        bench.project, "mine", {"lr": 0.1, "net": {"depth": 2}}, tags=["baseline"], group="g", system=False
    ) as run:
        for step in range(50):
            run.log({"loss": 1.0 / (1 + step), "eval": {"acc": step}}, step=step)
        run.log({"loss": math.nan}, step=50)
        run.log({"loss": math.inf})
        run.log_text("two\nlines")
        run.log_artifact(tmp_path / "model")
        run.log_table("t", ["a", "b"], [[1, 2]])
        run.config["epochs"] = 3
        run.summary["best"] = 0.5
        run.summary["verdict"] = "good"
        assert run.flush()
        assert run.url is not None
    (shown,) = bench.runs()
    assert (shown["state"], shown["name"], shown["external"]) == ("SUCCEEDED", "mine", True)
    assert shown["spec"] == {"lr": 0.1, "net": {"depth": 2}, "epochs": 3}
    assert shown["tags"] == {"baseline": "", "group": "g", "summary/verdict": "good"}
    assert bench.points(shown["id"], "eval/acc") == [(n, n) for n in range(50)]
    metrics = bench.cast.mel.http.get(f"/runs/{shown['id']}").body["metrics"]
    assert (metrics["loss"]["n"], metrics["loss"]["last_step"], metrics["summary/best"]["last"]) == (52, 51, 0.5)
    assert bench.log(shown["id"]) == ["two", "lines"]
    paths = {one["path"] for one in bench.cast.mel.http.get(f"/runs/{shown['id']}/artifacts").body["items"]}
    assert paths == {"model/deep/w.bin", "tables/t.csv"}
    assert list(bench.folder.iterdir()) == [], "what has arrived is not kept"


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        ("", "SUCCEEDED"),
        ("1 / 0", "FAILED"),
        ("sys.exit(3)", "FAILED"),
        ("sys.exit(0)", "SUCCEEDED"),
        ("raise KeyboardInterrupt", "CANCELLED"),
    ],
)
def test_how_a_script_ends_is_how_its_run_ends(bench: Bench, ending: str, state: str) -> None:
    done = bench.script(f"run = stillroom.init('{bench.project}', system=False)\nrun.log({{'x': 1}})\n{ending}\n")
    (shown,) = bench.runs()
    assert shown["state"] == state, done.stderr
    assert bench.points(shown["id"], "x") == [(0, 1)]
    assert any("ZeroDivisionError" in line for line in bench.log(shown["id"])) == (ending == "1 / 0")


def test_sigterm_cancels_and_keeps_what_was_logged(bench: Bench) -> None:
    body = f"""
        run = stillroom.init('{bench.project}', system=False)
        run.log({{'x': 1}})
        print('now', flush=True)
        signal.pause()
    """
    bench.killed(body, signal.SIGTERM)
    (shown,) = bench.runs()
    assert shown["state"] == "CANCELLED"
    assert bench.points(shown["id"], "x") == [(0, 1)]


def test_a_forked_child_does_not_end_its_parents_run(bench: Bench) -> None:
    body = f"""
        run = stillroom.init('{bench.project}', system=False)
        child = os.fork()
        if child == 0:
            sys.exit(1)
        os.waitpid(child, 0)
        run.log({{'x': 1}})
    """
    done = bench.script(body)
    (shown,) = bench.runs()
    assert (shown["state"], bench.points(shown["id"], "x")) == ("SUCCEEDED", [(0, 1)]), done.stderr


def test_what_is_printed_is_copied_when_asked(bench: Bench) -> None:
    done = bench.script(
        f"run = stillroom.init('{bench.project}', system=False, console=True)\nprint('hello')\n"
        "print('50 %\\r100 %')\nprint('oops', file=sys.stderr)\n"
    )
    assert "hello" in done.stdout
    (shown,) = bench.runs()
    assert bench.log(shown["id"]) == ["hello", "100 %", "oops"]


def test_resuming_goes_on_with_the_same_run(bench: Bench) -> None:
    with stillroom_client.init(bench.project, "r", {"a": 1}, system=False) as run:
        run.log({"x": 0.0})
        run.log({"x": 1.0})
    assert run.id is not None
    again = stillroom_client.init(resume=run.id, config={"b": 2}, system=False)
    again.log({"x": 2.0})
    again.finish("FAILED")
    (shown,) = bench.runs()
    assert (shown["id"], shown["state"], shown["epoch"]) == (run.id, "FAILED", 2)
    assert shown["spec"] == {"a": 1, "b": 2}
    assert bench.points(run.id, "x") == [(0, 0), (1, 1), (2, 2)]
    with stillroom_client.init(resume=f"{run.id}@0", system=False) as rewound:
        rewound.log({"x": 10.0})
    assert bench.points(run.id, "x") == [(0, 0), (1, 10)]


def test_a_fork_takes_the_configuration_and_names_its_parent(bench: Bench) -> None:
    with stillroom_client.init(bench.project, "p", {"a": 1, "b": 1}, system=False) as parent:
        parent.log({"x": 0.0})
    with stillroom_client.init(bench.project, "c", {"b": 2}, fork_from=f"{parent.id}@7", system=False) as child:
        child.log({"x": 8.0})
    shown = bench.cast.mel.http.get(f"/runs/{child.id}").body
    assert (shown["spec"], shown["parent"], shown["tags"]) == ({"a": 1, "b": 2}, parent.id, {"fork.step": "7"})
    assert bench.points(str(child.id), "x") == [(8, 8)]


def test_a_run_cancelled_on_the_platform_asks_its_script_to_stop(bench: Bench) -> None:
    run = stillroom_client.init(bench.project, system=False)
    bench.cast.mel.http.post(f"/runs/{run.id}/cancel")
    run.log({"x": 1})
    run.flush()
    assert run.should_stop
    run.finish()
    assert bench.runs()[0]["state"] == "CANCELLED"


def test_a_mistake_at_the_start_is_told_at_once_and_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(ApiError, match="project"):
        stillroom_client.init("aster/nowhere", system=False)
    assert list(bench.folder.iterdir()) == []


def test_disabled_does_nothing(bench: Bench) -> None:
    with stillroom_client.init(mode="disabled", config={"a": 1}) as run:
        run.log({"x": 1})
        run.config["b"] = 2
    assert bench.runs() == []
    assert dict(run.config) == {"a": 1, "b": 2}
    assert not bench.folder.exists()
