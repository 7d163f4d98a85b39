"""A script that knows only MLflow logs into a whole installation; whoever follows the run sees its points arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.platform import Platform
from support.stream import Follower

pytestmark = [pytest.mark.xdist_group("journeys"), pytest.mark.slow]

STEPS = 30


def test_a_run_of_mlflow_is_followed_live(
    installation: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", installation.token)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", installation.url)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=installation.url)
    experiment = client.get_experiment_by_name(installation.project)
    run = client.create_run(experiment.experiment_id, run_name="from a script").info.run_id
    follower = Follower(installation, run)
    follower.start()
    client.log_param(run, "lr", 0.1)
    for step in range(STEPS):
        client.log_metric(run, "loss", 1 / (1 + step), timestamp=1_700_000_000_000 + step, step=step)
    client.log_text(run, "done", "notes.txt")
    client.set_terminated(run)
    follower.join(60)
    assert not follower.is_alive()
    assert follower.gaps == []
    expected = {("loss", float(step)): 1 / (1 + step) for step in range(STEPS)}
    assert follower.points == expected
    assert dict(installation.points(run, "loss")) == {float(step): 1 / (1 + step) for step in range(STEPS)}
    ended = installation.run(run)
    assert (ended["state"], ended["name"], ended["spec"]) == ("SUCCEEDED", "from a script", {"lr": "0.1"})
    listed = installation.api(
        "GET", f"/orgs/{installation.org}/projects/{installation.project}/runs?q=params.lr%20%3D%200.1"
    )
    assert [item["id"] for item in listed["items"]] == [run]
    assert client.get_run(run).data.metrics == {"loss": 1 / STEPS}
