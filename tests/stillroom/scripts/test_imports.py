"""Imports end to end: what the source holds is what the platform shows, and again adds only what is new."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from stillroom_client.__main__ import main
from support.mlflow_server import mlflow_server
from support.scripts import Bench


def bring(bench: Bench, *arguments: str) -> int:
    return main(["import", *arguments, "--project", bench.project])


def times(bench: Bench, run: str, key: str) -> list[float]:
    found = bench.cast.mel.http.post("/series/query", {"runs": [run], "keys": [key], "x": "time"}).body["series"]
    return list(found[0]["x"])


def test_tensorboard_point_for_point(bench: Bench, tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path / "logs" / "one"))
    values = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    for step, value in enumerate(values):
        writer.add_scalar("train/loss", value, step * 3, walltime=1.7e9 + step / 7)
        writer.add_scalar("new", float(value) * 2, step, walltime=1.7e9, new_style=True)
    writer.add_scalar("train/loss", math.nan, 1500, walltime=1.7e9 + 100)
    writer.add_text("note", "hello", 3, walltime=1.7e9)
    writer.add_image("pic", np.zeros((3, 4, 4), np.uint8), 2)
    writer.add_histogram("w", np.arange(10.0), 1)
    writer.close()
    assert bring(bench, "tensorboard", str(tmp_path / "logs")) == 0
    (run,) = bench.runs()
    assert (run["name"], run["state"]) == ("one", "SUCCEEDED")
    assert bench.points(run["id"], "train/loss")[:500] == [(n * 3, float(value)) for n, value in enumerate(values)]
    assert times(bench, run["id"], "train/loss")[:500] == [round(1.7e9 + n / 7, 6) for n in range(500)], "microseconds"
    assert bench.points(run["id"], "new") == [(n, float(np.float32(float(v) * 2))) for n, v in enumerate(values)]
    metrics = bench.cast.mel.http.get(f"/runs/{run['id']}").body["metrics"]
    assert (metrics["train/loss"]["n"], metrics["train/loss"]["last"]) == (501, "NaN")
    assert (metrics["w/min"]["last"], metrics["w/max"]["last"], metrics["w/mean"]["last"]) == (0, 9, 4.5)
    assert bench.log(run["id"]) == ["note [3]: hello"]
    files = bench.cast.mel.http.get(f"/runs/{run['id']}/artifacts").body["items"]
    assert [(one["path"], one["media_type"]) for one in files] == [("images/pic/2.png", "image/png")]


def test_again_adds_only_what_is_new(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = SummaryWriter(str(tmp_path / "logs"))
    for step in range(10):
        writer.add_scalar("x", step, step)
    writer.flush()
    bring(bench, "tensorboard", str(tmp_path / "logs"))
    first = bench.runs()
    bring(bench, "tensorboard", str(tmp_path / "logs"))
    assert bench.runs() == first, "importing the same again changes nothing at all"
    assert "nothing new" in capsys.readouterr().out
    writer.add_scalar("x", 10, 10)
    writer.add_scalar("y", 1, 1)
    writer.close()
    bring(bench, "tensorboard", str(tmp_path / "logs"))
    (run,) = bench.runs()
    assert (run["id"], run["state"]) == (first[0]["id"], "SUCCEEDED")
    assert bench.points(run["id"], "x") == [(n, n) for n in range(11)]
    assert bench.points(run["id"], "y") == [(1, 1)]


def test_a_source_whose_past_has_changed_is_refused_by_name(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("step,loss\n0,1\n1,2\n")
    assert bring(bench, "table", str(table)) == 0
    table.write_text("step,loss\n0,1\n1,3\n")
    assert bring(bench, "table", str(table)) == 1
    assert "loss" in capsys.readouterr().err
    assert bench.points(bench.runs()[0]["id"], "loss") == [(0, 1), (1, 2)]


def test_an_import_killed_in_the_middle_is_mended_by_importing_again(bench: Bench, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("step,loss\n" + "".join(f"{n},{n}\n" for n in range(50_000)))
    dying = f"""
        from stillroom_client import points
        original, left = points.AttemptApi.post, [2]
        def post(self, body, **options):
            ack = original(self, body, **options)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return ack
        points.AttemptApi.post = post
        from stillroom_client.__main__ import main
        main(['import', 'table', {str(table)!r}, '--project', '{bench.project}'])
    """
    assert bench.script(dying).returncode != 0
    assert bring(bench, "table", str(table)) == 0
    (run,) = bench.runs()
    assert (run["state"], run["name"]) == ("SUCCEEDED", "t")
    shown = bench.cast.mel.http.get(f"/runs/{run['id']}").body["metrics"]["loss"]
    assert (shown["n"], shown["last"], shown["max"]) == (50_000, 49_999, 49_999)


def test_rows_of_points_and_columns_by_name(bench: Bench, tmp_path: Path) -> None:
    lines = tmp_path / "t.jsonl"
    lines.write_text(
        '{"who": "a", "it": 0, "m": "loss", "v": 1.5, "at": "2026-01-01T00:00:00Z"}\n'
        '{"who": "b", "it": 0, "m": "loss", "v": "NaN", "at": "2026-01-01T00:00:01Z"}\n'
        '{"who": "a", "it": 1, "m": "acc", "v": 0.5, "at": 1767225602000}\n'
    )
    columns = ("--run", "who", "--step", "it", "--key", "m", "--value", "v", "--time", "at")
    assert bring(bench, "table", str(lines), *columns) == 0
    a, b = sorted(bench.runs(), key=lambda run: str(run["name"]))
    assert bench.points(a["id"], "loss") == [(0, 1.5)]
    assert times(bench, a["id"], "acc") == [1767225602.0]
    assert bench.cast.mel.http.get(f"/runs/{b['id']}").body["metrics"]["loss"]["last"] == "NaN"


@pytest.mark.parametrize("door", ["folder", "server"])
def test_mlflow(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    root = tmp_path / "mlruns"
    client = MlflowClient(tracking_uri=root.as_uri())
    experiment = client.create_experiment("digits")
    run = client.create_run(experiment, run_name="good", start_time=1_700_000_000_000)
    points = [Metric("train/loss", 1 / (n + 1), 1_700_000_000_000 + n, n) for n in range(2000)]
    points.append(Metric("odd", math.nan, 1_700_000_000_000, -5))
    for start in range(0, len(points), 1000):
        client.log_batch(run.info.run_id, points[start : start + 1000])
    client.log_batch(run.info.run_id, params=[Param("lr", "0.1")], tags=[RunTag("team", "a"), RunTag("its", "x: y")])
    (tmp_path / "note.txt").write_text("note")
    client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"), "deep")
    client.set_terminated(run.info.run_id, "KILLED")
    gone = client.create_run(experiment)
    client.delete_run(gone.info.run_id)
    if door == "folder":
        assert bring(bench, "mlflow", str(root)) == 0
    else:
        with mlflow_server(client, root) as url:
            assert bring(bench, "mlflow", url, "--experiment", "digits") == 0
            assert bring(bench, "mlflow", url, "--experiment", "nowhere") == 1
    (shown,) = bench.runs()
    assert (shown["name"], shown["state"], shown["spec"]) == ("good", "CANCELLED", {"lr": "0.1"})
    assert {"team": "a", "its": "x: y", "mlflow.experiment": "digits"}.items() <= shown["tags"].items()
    assert bench.points(shown["id"], "train/loss") == [(n, 1 / (n + 1)) for n in range(2000)]
    metrics = bench.cast.mel.http.get(f"/runs/{shown['id']}").body["metrics"]
    assert (metrics["odd"]["last"], metrics["odd"]["last_step"]) == ("NaN", -5)
    files = bench.cast.mel.http.get(f"/runs/{shown['id']}/artifacts").body["items"]
    assert [one["path"] for one in files] == ["deep/note.txt"]


def test_a_project_is_made_on_the_way_when_asked_for(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("step,loss\n1,2\n2,1\n")
    org = bench.project.partition("/")[0]
    place = ["import", "table", str(tmp_path / "t.csv"), "--project", f"{org}/made-on-the-way"]
    assert main(place) != 0
    for _ in range(2):
        assert main([*place, "--create"]) == 0
    found = bench.cast.mel.http.get(f"/orgs/{org}/projects/made-on-the-way/runs").body["items"]
    (run,) = found
    assert bench.points(run["id"], "loss") == [(1, 2.0), (2, 1.0)]
