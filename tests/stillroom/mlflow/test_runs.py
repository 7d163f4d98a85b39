"""Runs through MLflow's own client: logging, reading back, life cycle, nesting, resuming."""

from __future__ import annotations

import math
import threading
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag, ViewType

from stillroom.core.tenancy import tenant_tx
from stillroom.runs.models import Run, RunLease
from support.tracking import Server, refused, use

HUGE = 1.7976931348623157e308


def history(client: Any, run: str, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run, key)]


def test_two_variables_are_all_it_takes(server: Server) -> None:
    use(server, "mel")
    mlflow.set_experiment("köln & co")
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_params({"lr": 0.1, "optimizer/name": "sgd", "wörter": "ja"})
        mlflow.log_metrics({"loss": 1.0, "acc": 0.5}, step=0)
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.set_tag("team", "red")
    found = mlflow.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == found.data.tags["mlflow.runName"] == "first"
    assert found.data.params == {"lr": "0.1", "optimizer/name": "sgd", "wörter": "ja"}
    assert found.data.metrics == {"loss": 0.5, "acc": 0.5}
    assert found.data.tags["team"] == "red"
    assert found.info.end_time >= found.info.start_time
    seen = server.cast.mel.http.get(f"/runs/{run.info.run_id}").body
    assert (seen["state"], seen["spec"]["lr"], seen["metrics"]["loss"]["last"]) == ("SUCCEEDED", "0.1", 0.5)
    chart = server.cast.vera.http.post("/series/query", {"runs": [run.info.run_id], "keys": ["loss"]}).body
    assert chart["series"][0]["value"] == [1.0, 0.5]


def test_without_an_experiment_runs_go_to_the_default_one(server: Server) -> None:
    client = server.client()
    run = client.create_run("0")
    assert run.info.experiment_id == "0"
    assert client.get_experiment("0").name == "Default"
    assert run.info.run_name
    assert run.info.lifecycle_stage == "active"
    assert run.info.status == "RUNNING"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, HUGE, -HUGE, 5e-324, -0.0, 0.1 + 0.2], ids=str)
def test_every_double_comes_back(server: Server, value: float) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    client.log_metric(run, "m", value, timestamp=123, step=-7)
    client.log_batch(run, metrics=[Metric("n", value, 124, 2**62)])
    for key, stamp, step in (("m", 123, -7), ("n", 124, 2**62)):
        (point,) = client.get_metric_history(run, key)
        assert repr(point.value) == repr(value)
        assert (point.timestamp, point.step) == (stamp, step)
        assert repr(client.get_run(run).data.metrics[key]) == repr(value)


def test_the_latest_metric_is_the_greatest_by_step_time_value_in_any_order(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    points = [(3, 10, 1.0), (3, 10, 7.0), (3, 9, 100.0), (1, 999, 50.0), (-2, 5, 9.0)]
    for step, stamp, value in points:
        client.log_metric(run, "m", value, timestamp=stamp, step=step)
    assert client.get_run(run).data.metrics["m"] == 7.0
    backwards = client.create_run("0").info.run_id
    client.log_batch(backwards, metrics=[Metric("m", value, stamp, step) for step, stamp, value in reversed(points)])
    assert client.get_run(backwards).data.metrics["m"] == 7.0
    assert len(client.get_metric_history(run, "m")) == len(client.get_metric_history(backwards, "m")) == 5
    client.log_metric(run, "m", math.nan, timestamp=11, step=3)
    assert math.isnan(client.get_run(run).data.metrics["m"])


def test_every_write_sent_twice_leaves_what_once_leaves(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    batch = {
        "metrics": [Metric("m", value, 1000 + step, step) for step, value in enumerate([1.0, math.nan, 3.0])],
        "params": [Param("p", "1")],
        "tags": [RunTag("t", "1")],
    }
    for _ in range(2):
        client.log_batch(run, **batch)
        client.log_metric(run, "m", 9.0, timestamp=5, step=1)
        client.log_param(run, "p", "1")
        client.set_tag(run, "t", "1")
        client.update_run(run, status="FINISHED", name="x")
    assert len(client.get_metric_history(run, "m")) == 4
    assert client.get_run(run).data.metrics["m"] == 3.0
    assert server.cast.mel.http.get(f"/runs/{run}").body["metrics"]["m"]["n"] == 4


def test_a_parameter_never_changes_and_a_batch_is_all_or_nothing(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    client.log_param(run, "lr", "0.1")
    assert "0.1" in refused("INVALID_PARAMETER_VALUE", lambda: client.log_param(run, "lr", "0.2"))
    bodies: list[dict[str, Any]] = [
        {"params": [{"key": "lr", "value": "0.2"}]},
        {"params": [{"key": "a", "value": "1"}, {"key": "a", "value": "1"}]},
        {"metrics": [{"key": "m", "value": "many", "timestamp": 1}]},
        {"metrics": [{"key": "m", "value": 1.0, "timestamp": 1}, {"key": "../m", "value": 1.0, "timestamp": 1}]},
        {"tags": [{"key": "t" * 251, "value": "1"}]},
    ]
    for body in bodies:
        more = {"metrics": [{"key": "ok", "value": 1.0, "timestamp": 1}], "tags": [{"key": "ok", "value": "1"}]}
        answer = server.post(
            "runs/log-batch",
            {"run_id": run, **more, **{key: [*more.get(key, []), *value] for key, value in body.items()}},
        )
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), body
    data = client.get_run(run).data
    assert data.params == {"lr": "0.1"}
    assert data.metrics == {}
    assert "ok" not in data.tags


def test_name_and_name_tag_are_one(server: Server) -> None:
    client = server.client()

    def names(run: str) -> set[str]:
        found = client.get_run(run)
        return {found.info.run_name, found.data.tags["mlflow.runName"]}

    run = client.create_run("0", tags={"mlflow.runName": "tagged"}).info.run_id
    assert names(run) == {"tagged"}
    client.set_tag(run, "mlflow.runName", "again")
    assert names(run) == {"again"}
    client.update_run(run, name="n" * 250)
    assert names(run) == {"n" * 250}
    client.delete_tag(run, "mlflow.runName")
    assert names(run) == {"n" * 250}
    server.cast.mel.http.patch(f"/runs/{run}", {"name": "from the web"})
    client.update_run(run, name="short")
    assert names(run) == {"short"}
    refused("INVALID_PARAMETER_VALUE", lambda: client.create_run("0", run_name="a", tags={"mlflow.runName": "b"}))


def test_tags(server: Server) -> None:
    client = server.client()
    run = client.create_run("0", tags={"a": "1", "mlflow.note.content": "why"}).info.run_id
    client.set_tag(run, "a", "2")
    client.set_tag(run, "long", "x" * 8000)
    name = client.get_run(run).info.run_name
    client.set_tag(run, "mlflow.runName", "")
    assert client.get_run(run).info.run_name == name
    assert client.get_run(run).data.tags["a"] == "2"
    assert server.cast.mel.http.get(f"/runs/{run}").body["notes"] == "why"
    client.delete_tag(run, "a")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.delete_tag(run, "a"))


def test_a_deleted_run_is_hidden_readable_closed_and_comes_back(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    client.delete_run(run)
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"

    def listed(view: int) -> list[str]:
        return [found.info.run_id for found in client.search_runs(["0"], run_view_type=view)]

    assert (listed(ViewType.ACTIVE_ONLY), listed(ViewType.DELETED_ONLY), listed(ViewType.ALL)) == ([], [run], [run])
    for work in (
        lambda: client.log_metric(run, "m", 1.0),
        lambda: client.log_param(run, "p", 1),
        lambda: client.set_tag(run, "t", 1),
        lambda: client.log_batch(run, metrics=[Metric("m", 1.0, 1, 1)]),
        lambda: client.set_terminated(run),
        lambda: client.log_text(run, "x", "a.txt"),
    ):
        with pytest.raises(Exception, match="deleted"):
            work()
    client.restore_run(run)
    client.log_metric(run, "m", 1.0)
    assert listed(ViewType.ACTIVE_ONLY) == [run]


def test_nested_and_resumed_runs(server: Server) -> None:
    use(server, "mel")
    mlflow.set_experiment("nest")
    with mlflow.start_run() as outer:
        with mlflow.start_run(nested=True) as inner:
            mlflow.log_metric("m", 1.0, step=1)
    child = mlflow.get_run(inner.info.run_id)
    assert child.data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert server.cast.mel.http.get(f"/runs/{inner.info.run_id}").body["parent"] == outer.info.run_id
    assert mlflow.get_parent_run(inner.info.run_id).info.run_id == outer.info.run_id
    children = mlflow.search_runs(
        filter_string=f"tags.mlflow.parentRunId = '{outer.info.run_id}'", output_format="list"
    )
    assert [run.info.run_id for run in children] == [inner.info.run_id]
    with mlflow.start_run(run_id=inner.info.run_id):
        assert server.client().get_run(inner.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("m", 2.0, step=2)
    client = server.client()
    assert client.get_run(inner.info.run_id).info.status == "FINISHED"
    assert history(client, inner.info.run_id, "m") == [(1, 1.0), (2, 2.0)]
    chart = server.cast.mel.http.post("/series/query", {"runs": [inner.info.run_id], "keys": ["m"]}).body
    assert chart["series"][0]["value"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("status", "state"), [("FINISHED", "SUCCEEDED"), ("FAILED", "FAILED"), ("KILLED", "CANCELLED")]
)
def test_how_a_run_ends(server: Server, status: str, state: str) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    client.set_terminated(run, status, end_time=2_000_000_000_000)
    info = client.get_run(run).info
    assert (info.status, info.end_time) == (status, 2_000_000_000_000)
    assert server.cast.mel.http.get(f"/runs/{run}").body["state"] == state
    client.log_metric(run, "late", 1.0)
    assert client.get_run(run).data.metrics == {"late": 1.0}, "a finished run takes late results"
    client.set_terminated(run, "FAILED")
    assert client.get_run(run).info.status == "FAILED"


def test_a_silent_run_is_lost_and_its_next_write_revives_it(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    client.log_metric(run, "m", 1.0, step=1)
    from stillroom.scheduling.services.reap import reap

    with tenant_tx(server.cast.mel.tenant):
        RunLease.objects.filter(run_id=run).update(lease_until="2020-01-01T00:00:00Z")
    reap()
    assert server.cast.mel.http.get(f"/runs/{run}").body["state"] == "LOST"
    assert client.get_run(run).info.status == "FAILED"
    client.log_metric(run, "m", 2.0, step=2)
    assert client.get_run(run).info.status == "RUNNING"
    assert history(client, run, "m") == [(1, 1.0), (2, 2.0)]
    with tenant_tx(server.cast.mel.tenant):
        assert Run.objects.get(id=run).epoch == 2


def test_four_threads_log_into_one_run(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    failures: list[Exception] = []

    def work(part: int) -> None:
        try:
            for step in range(12):
                metrics = [Metric("shared", float(part), 1000 + step, step), Metric(f"own/{part}", 1.0, 1, step)]
                client.log_batch(run, metrics, [Param(f"p{part}.{step}", "1")], [RunTag("last", str(part))])
                client.log_metric(run, "shared", float(part), timestamp=50_000 + part, step=step)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    data = client.get_run(run).data
    assert len(client.get_metric_history(run, "shared")) == 4 * 12 * 2
    assert [len(client.get_metric_history(run, f"own/{part}")) for part in range(4)] == [12] * 4
    assert len(data.params) == 48
    assert data.metrics["shared"] == 3.0


def test_asynchronous_logging_arrives(server: Server) -> None:
    use(server, "mel")
    mlflow.set_experiment("later")
    with mlflow.start_run() as run:
        for step in range(20):
            mlflow.log_metric("m", step, step=step, synchronous=False)
        mlflow.log_params({f"p{index}": index for index in range(150)}, synchronous=False)
        mlflow.flush_async_logging()
    client = server.client()
    assert history(client, run.info.run_id, "m") == [(step, float(step)) for step in range(20)]
    assert len(client.get_run(run.info.run_id).data.params) == 150


def test_a_run_of_a_node_is_readable_and_its_points_are_its_own(server: Server) -> None:
    from support.cast import running

    run = running(server.cast.mel)
    run.points(1, steps=[1, 2])
    client = server.client()
    found = client.get_run(run.id)
    assert found.info.status == "RUNNING"
    assert found.data.params["steps"]
    assert found.data.metrics["train/loss"] == 1 / 3
    assert len(client.get_metric_history(run.id, "train/loss")) == 2
    refused("INVALID_PARAMETER_VALUE", lambda: client.log_metric(run.id, "m", 1.0))
    refused("INVALID_PARAMETER_VALUE", lambda: client.log_param(run.id, "p", 1.0))
    client.set_tag(run.id, "seen", "yes")
    assert server.cast.mel.http.get(f"/runs/{run.id}").body["tags"] == {"seen": "yes"}


def test_metric_history_pages_and_intervals(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    other = client.create_run("0").info.run_id
    values = [math.sin(step / 50) for step in range(3000)]
    values[1234] = 99.0
    for start in range(0, 3000, 1000):
        part = range(start, start + 1000)
        client.log_batch(run, [Metric("m", values[step], 1000 + step, step) for step in part])
    client.log_metric(other, "m", 5.0, step=4)
    assert history(client, run, "m") == list(enumerate(values))
    assert client.get_metric_history(run, "nothing") == []
    seen: list[int] = []
    token = ""
    while token is not None:
        page = server.get("metrics/get-history", run_id=run, metric_key="m", max_results=700, page_token=token).json()
        seen += [point["step"] for point in page["metrics"]]
        token = page.get("next_page_token")
        client.log_metric(run, "m", 0.0, timestamp=1, step=5000 + len(seen))
    assert seen == list(range(3000))
    query = {"run_ids": [run, other, "r_0000000000"], "metric_key": "m", "max_results": 100}
    rows = server.get("metrics/get-history-bulk-interval", **query, start_step=0, end_step=2999).json()["metrics"]
    mine = [row for row in rows if row["run_id"] == run]
    assert len(mine) == 100
    assert [mine[0]["step"], mine[-1]["step"]] == [0, 2999]
    assert max(row["value"] for row in mine) == 99.0
    assert [row["step"] for row in mine] == sorted(row["step"] for row in mine)
    assert [row["value"] for row in rows if row["run_id"] == other] == [5.0]
    for most, steps in ((1, [2999]), (2, [0, 2999]), (3, [0, 1, 2999])):
        few = server.get("metrics/get-history-bulk-interval", run_ids=[run], metric_key="m", max_results=most,
                         start_step=0, end_step=2999).json()["metrics"]  # fmt: skip
        assert [row["step"] for row in few] == steps
    for bad in ({"start_step": 1}, {"start_step": 5, "end_step": 1}, {"max_results": 0}, {"max_results": 2501}):
        answer = server.get("metrics/get-history-bulk-interval", **{**query, **bad})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), bad
    assert server.get("metrics/get-history", run_id=run, metric_key="m", page_token="x").status_code == 400


def test_data_sets_are_inputs(server: Server) -> None:
    use(server, "mel")
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    mlflow.set_experiment("data")
    dataset = MetaDataset(HTTPDatasetSource("https://example.org/train.csv"), name="train", digest="abc")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training", tags={"v": "1"})
        mlflow.log_input(dataset, context="training")
    (entry,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("train", "abc")
    assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "training", "v": "1"}
    for query, n in (
        ("dataset.name = 'train'", 1), ("datasets.digest ILIKE 'AB%'", 1), ("dataset.context = 'eval'", 0),
        ("dataset.context IN ('training', 'eval')", 1), ("dataset.name = 'test'", 0),
    ):  # fmt: skip
        assert len(mlflow.search_runs(filter_string=query, output_format="list")) == n, query
    found = server.post("experiments/search-datasets", {"experiment_ids": [run.info.experiment_id]}).json()
    assert found["dataset_summaries"][0]["name"] == "train"
