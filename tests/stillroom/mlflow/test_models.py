"""Logged models and the registry through MLflow's own client."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus

from support.tracking import Server, refused, use


@pytest.fixture
def client(server: Server) -> Any:
    return server.client()


def test_a_model_is_logged_found_finished_tagged_and_deleted(server: Server, client: Any) -> None:
    run = client.create_run("0").info.run_id
    made = client.create_logged_model(
        "0", name="net", source_run_id=run, params={"d": "2"}, tags={"t": "1"}, model_type="agent"
    )
    assert made.model_id.startswith("m-")
    assert made.status == LoggedModelStatus.PENDING
    client.log_model_params(made.model_id, {"e": "3"})
    client.set_logged_model_tags(made.model_id, {"u": "2"})
    client.delete_logged_model_tag(made.model_id, "t")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.delete_logged_model_tag(made.model_id, "t"))
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    client.log_metric(run, "acc", 0.5, step=1, model_id=made.model_id, dataset_name="d", dataset_digest="1")
    client.log_metric(run, "acc", 0.9, step=2, model_id=made.model_id, dataset_name="d", dataset_digest="1")
    found = client.get_logged_model(made.model_id)
    assert (found.name, found.model_type, found.source_run_id) == ("net", "agent", run)
    assert (found.params, found.tags, found.status) == ({"d": "2", "e": "3"}, {"u": "2"}, LoggedModelStatus.READY)
    assert [(metric.key, metric.value, metric.step) for metric in found.metrics] == [("acc", 0.9, 2)]
    client.log_inputs(run, models=[LoggedModelInput(made.model_id)])
    client.log_outputs(run, [LoggedModelOutput(made.model_id, step=3)])
    links = client.get_run(run)
    assert [one.model_id for one in links.inputs.model_inputs] == [made.model_id]
    assert [(one.model_id, one.step) for one in links.outputs.model_outputs] == [(made.model_id, 3)]
    client.delete_logged_model(made.model_id)
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_logged_model(made.model_id))
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_logged_model("m-" + "0" * 32))
    refused("INVALID_PARAMETER_VALUE", lambda: client.create_logged_model("0", name="a/b"))
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.create_logged_model("0", name="n", source_run_id="r_0000000000"))


def test_models_are_searched(client: Any) -> None:
    run = client.create_run("0").info.run_id
    for name, acc in (("one", 0.1), ("two", 0.9), ("three", 0.5)):
        made = client.create_logged_model("0", name=name, params={"size": str(acc)}, tags={"k": name})
        client.log_metric(run, "acc", acc, model_id=made.model_id, dataset_name="test", dataset_digest="1")

    def names(query: str = "", **more: Any) -> list[str]:
        return [found.name for found in client.search_logged_models(["0"], query, **more)]

    assert sorted(names()) == ["one", "three", "two"]
    assert names("metrics.acc > 0.3 AND name != 'three'") == ["two"]
    assert names("params.size = '0.1'") == ["one"]
    assert names("tags.k LIKE 't%' and name LIKE '%o'") == ["two"]
    assert names("attributes.name IN ('one', 'x')") == ["one"]
    assert names(order_by=[{"field_name": "metrics.acc", "ascending": False}]) == ["two", "three", "one"]
    assert names("metrics.acc > 0", datasets=[{"dataset_name": "other"}]) == []
    order = [{"field_name": "metrics.acc", "dataset_name": "test", "ascending": True}]
    first = client.search_logged_models(["0"], max_results=2, order_by=order)
    rest = client.search_logged_models(["0"], max_results=2, order_by=order, page_token=first.token)
    assert [found.name for found in [*first, *rest]] == ["one", "three", "two"]
    refused("INVALID_PARAMETER_VALUE", lambda: names("nonsense >"))


def test_the_files_of_a_model(server: Server, client: Any, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w ü.bin").write_bytes(b"w" * 100)
    made = client.create_logged_model("0", name="net")
    client.log_model_artifacts(made.model_id, str(tmp_path))
    client.finalize_logged_model(made.model_id, "READY")
    assert made.artifact_location == f"mlflow-artifacts:/0/models/{made.model_id}/artifacts"
    assert [found.path for found in client.list_logged_model_artifacts(made.model_id)] == ["weights"]
    down = mlflow.artifacts.download_artifacts(f"models:/{made.model_id}", dst_path=str(tmp_path / "down"))
    assert (Path(down) / "weights" / "w ü.bin").read_bytes() == b"w" * 100
    listed = server.get(
        f"logged-models/{made.model_id}/artifacts/directories", artifact_directory_path="weights"
    ).json()
    assert [file["path"] for file in listed["files"]] == ["weights/w ü.bin"]


def test_the_sweep_leaves_the_content_of_models_alone(server: Server, client: Any, tmp_path: Path) -> None:
    from stillroom.core.tenancy import tenant_tx
    from stillroom.telemetry.services.artifacts import blobs_release

    made = client.create_logged_model("0", name="net")
    (tmp_path / "w.bin").write_bytes(b"weights")
    client.log_model_artifacts(made.model_id, str(tmp_path))
    digest = hashlib.sha256(b"weights").hexdigest()
    path = f"mlflow-artifacts/artifacts/0/models/{made.model_id}/artifacts/w.bin"
    with tenant_tx(server.cast.mel.tenant):
        assert blobs_release([digest]) == 0
    assert server.call("GET", path).content == b"weights"
    assert server.call("DELETE", path).status_code == 200
    with tenant_tx(server.cast.mel.tenant):
        assert blobs_release([digest]) == len(b"weights")
    assert server.call("GET", path).status_code == 404


def test_a_whole_model_is_logged_and_loaded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(server, "mel")
    mlflow.set_experiment("models")

    model = mlflow.models.Model()
    with mlflow.start_run() as run:
        model.run_id = run.info.run_id
        client = server.client()
        model_json = {**model.to_dict(), "artifact_path": "net", "run_id": run.info.run_id, "flavors": {"x": {}}}
        answer = server.post("runs/log-model", {"run_id": run.info.run_id, "model_json": json.dumps(model_json)})
        assert answer.status_code == 200, answer.text
    assert "net" in client.get_run(run.info.run_id).data.tags["mlflow.log-model.history"]
    assert server.post("runs/log-model", {"run_id": run.info.run_id, "model_json": "{}"}).status_code == 400
    assert server.post("runs/log-model", {"run_id": run.info.run_id, "model_json": "{"}).status_code == 400


@pytest.mark.parametrize(
    "source",
    ["file:///etc/passwd", "/etc/passwd", "relative/path", "C:/x", "s3://b/../x", "s3://b/%2e%2e/x", "runs:/r_0/x"],
)
def test_a_version_names_no_path_of_a_machine(client: Any, source: str) -> None:
    client.create_registered_model("net")
    refused("INVALID_PARAMETER_VALUE", lambda: client.create_model_version("net", source))
    assert client.search_model_versions("name = 'net'") == []
    assert client.create_model_version("net", "s3://bucket/model").version == "1"


def test_the_registry(client: Any) -> None:
    run = client.create_run("0").info.run_id
    made = client.create_registered_model("net", tags={"a": "1"}, description="d")
    assert (made.name, made.description, made.tags) == ("net", "d", {"a": "1"})
    refused("RESOURCE_ALREADY_EXISTS", lambda: client.create_registered_model("net"))
    for bad in ("", "a/b", "a:b"):
        refused("INVALID_PARAMETER_VALUE", lambda bad=bad: client.create_registered_model(bad))
    first = client.create_model_version("net", f"runs:/{run}/m", run_id=run, tags={"v": "1"})
    second = client.create_model_version("net", f"mlflow-artifacts:/0/{run}/artifacts/m", run_id=run)
    assert (first.version, second.version, first.status) in (("1", "2", "READY"), (1, 2, "READY"))
    client.set_registered_model_alias("net", "champion", first.version)
    assert str(client.get_model_version_by_alias("net", "champion").version) == "1"
    assert client.get_registered_model("net").aliases in ({"champion": "1"}, {"champion": 1})
    client.delete_registered_model_alias("net", "champion")
    refused("INVALID_PARAMETER_VALUE", lambda: client.get_model_version_by_alias("net", "champion"))
    for bad in ("latest", "v1", "a b"):
        refused("INVALID_PARAMETER_VALUE", lambda bad=bad: client.set_registered_model_alias("net", bad, "1"))
    client.set_registered_model_tag("net", "b", "2")
    client.delete_registered_model_tag("net", "a")
    client.update_registered_model("net", "new words")
    client.set_model_version_tag("net", "1", "w", "2")
    client.delete_model_version_tag("net", "1", "v")
    client.update_model_version("net", "1", "about one")
    found = client.get_model_version("net", "1")
    assert (found.tags, found.description, found.run_id) == ({"w": "2"}, "about one", run)
    assert client.get_model_version_download_uri("net", "2") == f"mlflow-artifacts:/0/{run}/artifacts/m"
    assert client.get_registered_model("net").tags == {"b": "2"}
    client.transition_model_version_stage("net", "1", "Production")
    client.transition_model_version_stage("net", "2", "production", archive_existing_versions=True)
    assert client.get_model_version("net", "1").current_stage == "Archived"
    refused("INVALID_PARAMETER_VALUE", lambda: client.transition_model_version_stage("net", "1", "nowhere"))
    client.rename_registered_model("net", "mesh")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model("net"))
    assert [
        str(one.version) for one in client.search_model_versions("name = 'mesh'", order_by=["version_number ASC"])
    ] == ["1", "2"]
    assert [str(one.version) for one in client.search_model_versions(f"run_id = '{run}' and tags.w = '2'")] == ["1"]
    client.delete_model_version("mesh", "1")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_model_version("mesh", "1"))
    third = client.create_model_version("mesh", "s3://bucket/x")
    assert str(third.version) == "3", "numbers are not used again"
    client.create_registered_model("other")
    assert [one.name for one in client.search_registered_models("name LIKE 'm%'")] == ["mesh"]
    assert [one.name for one in client.search_registered_models(order_by=["name DESC"])] == ["other", "mesh"]
    client.delete_registered_model("mesh")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model("mesh"))
