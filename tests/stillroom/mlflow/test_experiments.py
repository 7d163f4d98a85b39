"""Experiments through MLflow's own client: names, life cycle, tags, search, races; and projects as experiments."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from support.cast import PROJECT
from support.tracking import Server, refused, use


def test_create_get_rename_delete_restore(server: Server) -> None:
    client = server.client()
    made = client.create_experiment("Erste Brände / 1", tags={"a": "1"})
    found = client.get_experiment(made)
    assert (found.name, found.lifecycle_stage, found.tags) == ("Erste Brände / 1", "active", {"a": "1"})
    assert found.artifact_location == f"mlflow-artifacts:/{made}"
    assert client.get_experiment_by_name("Erste Brände / 1").experiment_id == made
    client.rename_experiment(made, "second")
    assert client.get_experiment(made).name == "second"
    run = client.create_run(made).info.run_id
    gone = client.create_run(made).info.run_id
    client.delete_run(gone)
    client.delete_experiment(made)
    assert client.get_experiment(made).lifecycle_stage == "deleted"
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    refused("INVALID_PARAMETER_VALUE", lambda: client.create_run(made))
    refused("INVALID_PARAMETER_VALUE", lambda: client.set_experiment_tag(made, "a", "2"))
    refused("INVALID_STATE", lambda: client.rename_experiment(made, "third"))
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.delete_experiment(made))
    refused("RESOURCE_ALREADY_EXISTS", lambda: client.create_experiment("second"))
    client.restore_experiment(made)
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.restore_experiment(made))
    assert [run.info.run_id for run in client.search_runs([made])] == [run]
    client.create_run(made)


def test_names_are_taken_once(server: Server) -> None:
    client = server.client()
    one, two = client.create_experiment("one"), client.create_experiment("two")
    refused("RESOURCE_ALREADY_EXISTS", lambda: client.create_experiment("one"))
    refused("RESOURCE_ALREADY_EXISTS", lambda: client.rename_experiment(two, "one"))
    client.rename_experiment(one, "one")
    long = "x" * 500
    assert client.get_experiment(client.create_experiment(long)).name == long
    refused("INVALID_PARAMETER_VALUE", lambda: client.create_experiment("x" * 501))
    answer = server.post("experiments/create", {"name": ""})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_the_default_experiment_cannot_be_deleted(server: Server) -> None:
    client = server.client()
    refused("INVALID_PARAMETER_VALUE", lambda: client.delete_experiment("0"))


def test_many_at_once_make_an_experiment_once(server: Server) -> None:
    use(server, "mel")
    client = server.client()
    made: list[str] = []
    refusals: list[str] = []

    def work() -> None:
        try:
            made.append(client.create_experiment("race"))
        except MlflowException as error:
            refusals.append(error.error_code)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert refusals == ["RESOURCE_ALREADY_EXISTS"] * 5


def test_many_at_once_meet_the_default_experiment(server: Server) -> None:
    client = server.client()
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(client.create_run("0").info.experiment_id)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["0"] * 5


def test_tags(server: Server) -> None:
    client = server.client()
    made = client.create_experiment("tagged")
    client.set_experiment_tag(made, "k", "v" * 20_000)
    client.set_experiment_tag(made, "n", 5)
    assert client.get_experiment(made).tags == {"k": "v" * 20_000, "n": "5"}
    client.delete_experiment_tag(made, "k")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.delete_experiment_tag(made, "k"))
    refused("INVALID_PARAMETER_VALUE", lambda: client.set_experiment_tag(made, "k", "v" * 20_001))


def test_search(server: Server) -> None:
    client = server.client()
    ids = {name: client.create_experiment(name, tags={"team": name[0]}) for name in ("alpha", "Beta", "betb")}
    client.delete_experiment(ids["betb"])

    def names(query: str = "", view: int = ViewType.ACTIVE_ONLY, order: list[str] | None = None) -> list[str]:
        found = client.search_experiments(view, 1000, query, order)
        return [one.name for one in found if one.name not in ("Default", PROJECT)]

    assert names() == ["Beta", "alpha"]
    assert names(view=ViewType.ALL) == ["betb", "Beta", "alpha"]
    assert names(view=ViewType.DELETED_ONLY) == ["betb"]
    assert names("name = 'alpha'") == ["alpha"]
    assert names("name LIKE 'b%'", ViewType.ALL) == ["betb"]
    assert names("attribute.name ILIKE 'b%'", ViewType.ALL) == ["betb", "Beta"]
    assert names("tags.team = 'B'") == ["Beta"]
    assert names("tag.team != 'B'") == ["alpha"]
    assert names("creation_time > 0 and name != 'alpha'") == ["Beta"]
    assert names(order=["name ASC"]) == ["Beta", "alpha"]
    assert names(order=["name DESC"]) == ["alpha", "Beta"]
    assert names(order=["experiment_id"]) == ["alpha", "Beta"]
    for bad in ("name < 3 and", "nothing = 'x'", "metrics.x > 1", "name ~ 'x'"):
        refused("INVALID_PARAMETER_VALUE", lambda bad=bad: names(bad))
    seen: list[str] = []
    token: Any = None
    while True:
        page = client.search_experiments(max_results=1, page_token=token)
        seen += [one.name for one in page]
        token = page.token
        if not token:
            break
    assert sorted(seen) == ["Beta", "Default", "alpha", PROJECT]
    refused("INVALID_PARAMETER_VALUE", lambda: client.search_experiments(page_token="x"))
    for most in (0, -1, 50_001):
        assert server.post("experiments/search", {"max_results": most}).status_code == 400
    assert server.get("experiments/search", max_results=1).status_code == 200


def test_a_project_is_an_experiment_and_the_other_way_round(server: Server) -> None:
    client = server.client()
    found = client.get_experiment_by_name(PROJECT)
    assert client.get_experiment(found.experiment_id).name == PROJECT
    client.create_experiment("Große Brände: 2")
    slugs = [project["slug"] for project in server.cast.mel.http.get("/orgs/aster/projects").body["items"]]
    assert slugs == ["default", PROJECT, "groe-brande-2"]
    run = client.create_run(found.experiment_id, run_name="seen").info.run_id
    listed = server.cast.vera.http.get(f"/orgs/aster/projects/{PROJECT}/runs").body["items"]
    assert [one["id"] for one in listed] == [run]


@pytest.mark.parametrize("text", ["999999999999999999", "5", "-1", "9" * 25, "p_0000000000"])
def test_an_unknown_experiment_does_not_exist(server: Server, text: str) -> None:
    client = server.client()
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_experiment(text))
    assert client.get_experiment_by_name("nothing") is None
    answer = server.get("experiments/get-by-name", experiment_name="nothing")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize("text", ["abc", "x" * 60, "1; drop table run", "p_"])
def test_what_is_no_experiments_id_is_an_invalid_parameter(server: Server, text: str) -> None:
    client = server.client()
    refused("INVALID_PARAMETER_VALUE", lambda: client.get_experiment(text))
    refused("INVALID_PARAMETER_VALUE", lambda: client.create_run(text))
    refused("INVALID_PARAMETER_VALUE", lambda: client.search_runs([text]))


@pytest.mark.parametrize(
    "query",
    [
        "name > 'a'", "creation_time = 'x'", "creation_time LIKE '1%'", "name LIKE 5", "tags.g = 5", "tags.g > 'x'",
        "metrics.x > 1", "name =", "nothing = 'x'",
    ],
)  # fmt: skip
def test_a_filter_of_the_wrong_type_is_an_invalid_parameter(server: Server, query: str) -> None:
    message = refused("INVALID_PARAMETER_VALUE", lambda: server.client().search_experiments(filter_string=query))
    assert "column" in message


def test_files_may_lie_elsewhere_but_never_in_another_experiments_place(server: Server) -> None:
    client = server.client()
    made = client.create_experiment("elsewhere", artifact_location="s3://bucket/here")
    assert client.create_run(made).info.artifact_uri.startswith("s3://bucket/here/r_")
    for bad in ("mlflow-artifacts:/0", "mlflow-artifacts://host/../x", "s3://b/%2e%2e/x", "runs:/r/x", "s3://b/x#y"):
        refused("INVALID_PARAMETER_VALUE", lambda bad=bad: client.create_experiment("no", artifact_location=bad))


def test_a_viewer_reads_and_does_not_write(server: Server) -> None:
    run = server.client().create_run("0").info.run_id
    client = server.client("vera")
    assert client.get_run(run).info.run_id == run
    refused("PERMISSION_DENIED", lambda: client.create_experiment("no"))
    refused("PERMISSION_DENIED", lambda: client.log_metric(run, "m", 1.0))
    refused("PERMISSION_DENIED", lambda: client.delete_run(run))
