"""MLflow's filters and orders over real runs: every clause, alias, quote and direction, and paging under inserts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from mlflow.entities import Metric, Param, RunTag

from support.tracking import Server, refused

NASTY = "'; drop table run; --"
RUNS: list[tuple[str, dict[str, float], dict[str, str], dict[str, str]]] = [
    ("one", {"loss": 0.1, "val/acc": 0.9}, {"lr": "0.1", "model": "ResNet"}, {"team": "red"}),
    ("two", {"loss": 0.2, "val/acc": math.nan}, {"lr": "0.2", "model": "resnet18"}, {"team": "blue", "a b": "x"}),
    ("three", {"loss": math.nan}, {"lr": "0.3", "p q": "1"}, {}),
    ("four", {"loss": math.inf}, {"model": "vit%"}, {"team": NASTY}),
    ("five", {}, {}, {"team": "red"}),
]


@pytest.fixture
def client(server: Server) -> Any:
    made = server.client()
    for at, (name, metrics, params, tags) in enumerate(RUNS):
        run = made.create_run("0", run_name=name, start_time=1000 * (at + 1), tags=tags).info.run_id
        made.log_batch(run, [Metric(k, v, 1, 1) for k, v in metrics.items()], [Param(k, v) for k, v in params.items()])
        if name in ("one", "four"):
            made.set_terminated(run, "FINISHED" if name == "one" else "FAILED", end_time=9000)
    return made


def names(client: Any, query: str = "", **more: Any) -> list[str]:
    return [run.info.run_name for run in client.search_runs(["0"], query, **more)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "five four three two one"),
        ("metrics.loss < 0.15", "one"),
        ("metrics.loss <= 0.2 and metric.loss >= 0.2", "two"),
        ("metrics.loss != 0.1", "four three two"),
        ("metrics.'loss' < 0.15", "one"),
        ("tags.'a b' = 'x'", "two"),
        ("`run name` = 'two'", "two"),
        ("metrics.loss > 1e300", "four"),
        ("metrics.`val/acc` > 0.5", "one"),
        ('metrics."val/acc" > 0.5 AND params.lr = "0.1"', "one"),
        ("params.model = 'ResNet'", "one"),
        ("params.model != 'ResNet'", "four two"),
        ("param.model LIKE 'Res%'", "one"),
        ("parameters.model ILIKE 'res%'", "two one"),
        ("parameter.model LIKE 'vit%'", "four"),
        ("params.model LIKE '_esnet18'", "two"),
        ("params.`p q` = '1'", "three"),
        ("params.model IS NULL", "five three"),
        ("params.model IS NOT NULL", "four two one"),
        ("tags.team = 'red'", "five one"),
        ("tag.team != 'red'", "four two"),
        ("tags.`a b` = 'x'", "two"),
        ("tags.team IS NULL", "three"),
        (f"tags.team = \"{NASTY}\"", "four"),
        ("tags.mlflow.runName = 'two'", "two"),
        ("attributes.run_name = 'two'", "two"),
        ("attribute.run_name LIKE 't%'", "three two"),
        ("run_name ILIKE 'T%'", "three two"),
        ("attr.`run name` = 'two'", "two"),
        ("run.status = 'FINISHED'", "one"),
        ("status = 'RUNNING'", "five three two"),
        ("status != 'running'", "four one"),
        ("attributes.start_time >= 2000 and attributes.created < 4000", "three two"),
        ("end_time = 9000", "four one"),
        ("attributes.user_id != 'nobody'", "five four three two one"),
        ("attributes.artifact_uri LIKE 'mlflow-artifacts:/0/r\\_%'", ""),
        ("attributes.artifact_uri LIKE 'mlflow-artifacts:/0/r_%'", "five four three two one"),
        ("(tags.team = 'red' or params.lr = '0.3') and not run_name = 'five'", "three one"),
    ],
)  # fmt: skip
def test_filters(client: Any, query: str, found: str) -> None:
    assert names(client, query) == found.split()


def test_run_ids_in_a_list(client: Any) -> None:
    ids = [run.info.run_id for run in client.search_runs(["0"])]
    assert names(client, f"attributes.run_id IN ('{ids[0]}', '{ids[1]}')") == ["five", "four"]
    assert names(client, f"run_id NOT IN ('{ids[0]}', '{ids[1]}')") == ["three", "two", "one"]
    assert names(client, f"run_id = '{ids[4]}'") == ["one"]


@pytest.mark.parametrize(
    "query",
    [
        "metrics.loss > 'x'", "metrics.loss LIKE 'x'", "params.lr > 0.1", "params.lr = 0.1", "params.lr > '0.1'",
        "tags.team < 'x'", "attributes.nothing = 'x'", "nothing = 'x'", "stuff.key = 'x'", "metrics.loss >",
        "metrics.loss", "metrics.loss > 1 metrics.loss < 2", "AND metrics.loss > 1", "params.model = 'open",
        "attributes.start_time = 'x'", "run_name > 'x'", "datasets.size = 'x'", "params.a.b.c LIKE", "= 3", "()",
    ],
)  # fmt: skip
def test_a_broken_filter_is_an_invalid_parameter(client: Any, query: str) -> None:
    message = refused("INVALID_PARAMETER_VALUE", lambda: names(client, query))
    assert "column" in message


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("metrics.loss", "one two four three five"),
        ("metrics.loss ASC", "one two four three five"),
        ("metrics.loss DESC", "four two one three five"),
        ("metrics.`val/acc` desc", "one two five four three"),
        ("params.lr DESC", "three two one five four"),
        ("params.lr", "one two three five four"),
        ("tags.team", "four two five one three"),
        ("attributes.start_time", "one two three four five"),
        ("start_time DESC", "five four three two one"),
        ("attributes.end_time", "four one five three two"),
        ("run_name", "five four one three two"),
        ("status", "four one five three two"),
    ],
)  # fmt: skip
def test_orders(client: Any, order: str, found: str) -> None:
    assert names(client, order_by=[order]) == found.split()


def test_a_second_order_breaks_ties_of_the_first(client: Any) -> None:
    assert names(client, order_by=["status DESC", "run_name ASC"]) == ["five", "three", "two", "one", "four"]
    refused("INVALID_PARAMETER_VALUE", lambda: names(client, order_by=["nothing"]))
    refused("INVALID_PARAMETER_VALUE", lambda: names(client, order_by=["metrics.loss SIDEWAYS"]))


def test_pages_show_each_run_once_while_others_are_made(client: Any, server: Server) -> None:
    for order in (["metrics.loss DESC"], ["start_time ASC"], []):
        seen: list[str] = []
        token = None
        while True:
            page = client.search_runs(["0"], "", max_results=2, order_by=order, page_token=token)
            seen += [run.info.run_name for run in page if not run.info.run_name.startswith("late")]
            token = page.token
            if not token:
                break
            client.create_run("0", run_name=f"late {len(seen)}", start_time=10)
        assert list(seen) == [name for name in names(client, order_by=order) if not name.startswith("late")]
        assert len(seen) == 5


def test_a_page_token_is_good_for_its_own_query_alone(client: Any, server: Server) -> None:
    token = client.search_runs(["0"], "", max_results=1).token
    for bad in (token[:-2], token + "x", "nonsense", "e30="):
        refused("INVALID_PARAMETER_VALUE", lambda bad=bad: client.search_runs(["0"], "", 1, 1, page_token=bad))
    refused("INVALID_PARAMETER_VALUE", lambda: client.search_runs(["0"], "run_name = 'x'", 1, 1, page_token=token))


@pytest.mark.parametrize("most", [0, -1, 50_001, "x"])
def test_max_results_has_bounds(client: Any, server: Server, most: object) -> None:
    answer = server.post("runs/search", {"experiment_ids": ["0"], "max_results": most})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_only_the_experiments_asked_for(client: Any) -> None:
    other = client.create_experiment("other")
    client.create_run(other, run_name="elsewhere")
    assert names(client) == ["five", "four", "three", "two", "one"]
    assert [run.info.run_name for run in client.search_runs([other])] == ["elsewhere"]
    assert len(client.search_runs([other, "0"])) == 6
    assert client.search_runs(["123456"]) == []
    assert client.search_runs([]) == []


def test_tags_set_later_are_found(client: Any) -> None:
    run = client.search_runs(["0"], "run_name = 'three'")[0].info.run_id
    client.log_batch(run, tags=[RunTag("team", "green"), RunTag("mlflow.note.content", "why")])
    assert names(client, "tags.team = 'green' and tags.mlflow.note.content LIKE 'w%'") == ["three"]
