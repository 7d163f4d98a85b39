"""Every refusal is MLflow's JSON with the right code and status; another tenant's things look as if they never were."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.entities import Param, RunTag

from stillroom.config.settings import ENV
from support.cast import running
from support.database import superuser
from support.tracking import Server, refused


@pytest.fixture
def run(server: Server) -> str:
    return str(server.client().create_run("0").info.run_id)


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"].startswith("application/json"), answer.text[:200]
    assert set(answer.json()) == {"error_code", "message"}
    return answer.status_code, answer.json()["error_code"]


def test_probes_answer_everybody(server: Server) -> None:
    assert httpx.get(f"{server.url}/health").text == "OK"
    assert httpx.get(f"{server.url}/version").text == "3.17.2"
    for prefix in ("api", "ajax-api"):
        info = httpx.get(f"{server.url}/{prefix}/3.0/mlflow/server-info").json()
        assert info["workspaces_enabled"] is False
        assert info["multipart_uploads_enabled"] is False


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer nonsense", "Bearer sr_api_X_y", "Basic !!!", "Basic YTpi", "Digest x"]
)
def test_nobody_gets_401_as_json(server: Server, header: str) -> None:
    for method, path in (
        ("GET", "mlflow/runs/get?run_id=x"),
        ("PUT", "mlflow-artifacts/artifacts/x"),
        ("GET", "mlflow/nothing"),
    ):
        answer = server.call(method, path, person=None, headers={"Authorization": header} if header else {})
        assert code(answer) == (401, "UNAUTHENTICATED")


def test_a_token_that_is_revoked_expired_or_whose_owner_left_is_nobody_at_once(server: Server, run: str) -> None:
    cast = server.cast
    assert server.get("runs/get", run_id=run).status_code == 200
    with superuser() as connection:
        connection.execute("update api_token set expires_at = now() where user_id = %s", [cast.mel.user.id])
    assert code(server.get("runs/get", run_id=run)) == (401, "UNAUTHENTICATED")
    assert server.call("GET", f"mlflow/runs/get?run_id={run}", person="adam").status_code == 200
    cast.ada.http.delete(f"/orgs/aster/members/{cast.adam.user.id}")
    assert code(server.call("GET", f"mlflow/runs/get?run_id={run}", person="adam")) == (401, "UNAUTHENTICATED")
    with superuser() as connection:
        connection.execute("update api_token set revoked_at = now() where user_id = %s", [cast.vera.user.id])
    assert code(server.call("GET", f"mlflow/runs/get?run_id={run}", person="vera")) == (401, "UNAUTHENTICATED")


def test_a_machines_token_is_refused(server: Server, run: str) -> None:
    attempt = running(server.cast.mel)
    for token in (attempt.http.token, attempt.node.http.token):
        headers = {"Authorization": f"Bearer {token}"}
        answer = server.call("GET", f"mlflow/runs/get?run_id={run}", person=None, headers=headers)
        assert code(answer) == (403, "PERMISSION_DENIED")


def test_unknown_addresses_and_methods(server: Server) -> None:
    for method, path in (
        ("GET", "mlflow/nothing"),
        ("POST", "mlflow/runs/get"),
        ("GET", "mlflow/runs/create"),
        ("DELETE", "mlflow/"),
        ("GET", "mlflow-artifacts/nothing"),
        ("POST", "mlflow/traces"),
        ("GET", "mlflow/gateway-proxy"),
    ):
        assert code(server.call(method, path)) == (404, "ENDPOINT_NOT_FOUND"), path
    for path in (
        "api/3.0/mlflow/traces/search", "ajax-api/3.0/mlflow/scorers/list", "api/3.0/mlflow/traces", "api/2.0/mlflow",
        "api/2.0/", "api/2.0", "api/2.0/etc/passwd", "mlflow/api/2.0/other",
    ):  # fmt: skip
        answer = httpx.post(f"{server.url}/{path}", json={}, headers={"Authorization": f"Bearer {server.token()}"})
        assert code(answer) == (404, "ENDPOINT_NOT_FOUND"), path


@pytest.mark.parametrize("body", [b"{", b"[1", b"\xff\xfe", b"nope", b'{"a":}', b"{" * 5000, b'"{"'])
def test_broken_json(server: Server, body: bytes) -> None:
    answer = server.call("POST", "mlflow/runs/create", content=body, headers={"Content-Type": "application/json"})
    assert code(answer) == (400, "BAD_REQUEST")


def test_json_that_is_no_object_or_of_another_type(server: Server, run: str) -> None:
    for body in (b"[]", b"5", b"true"):
        answer = server.call("POST", "mlflow/runs/create", content=body, headers={"Content-Type": "application/json"})
        assert code(answer) == (400, "INVALID_PARAMETER_VALUE")
    answer = server.call("POST", "mlflow/runs/delete", data={"run_id": run})
    assert code(answer) == (400, "BAD_REQUEST")
    twice = json.dumps(json.dumps({"run_id": run, "key": "a", "value": "1"}))
    answer = server.call("POST", "mlflow/runs/set-tag", content=twice, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200


METRIC = {"key": "m", "value": 1.0, "timestamp": 1, "step": 0}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("experiments/create", {}),
        ("experiments/create", {"name": 5}),
        ("experiments/create", {"name": "x", "tags": "y"}),
        ("experiments/create", {"name": "x", "tags": [1]}),
        ("experiments/create", {"name": "a\x00b"}),
        ("experiments/get", None),
        ("experiments/update", {"experiment_id": "0"}),
        ("experiments/delete", {"experiment_id": 0}),
        ("experiments/search", {"view_type": "SOME"}),
        ("experiments/search", {"max_results": "many"}),
        ("runs/create", {}),
        ("runs/create", {"experiment_id": 0}),
        ("runs/create", {"experiment_id": "0", "start_time": "x"}),
        ("runs/create", {"experiment_id": "0", "start_time": 2**62}),
        ("runs/create", {"experiment_id": "0", "tags": [{"value": "1"}]}),
        ("runs/create", {"experiment_id": "no good!"}),
        ("runs/update", {}),
        ("runs/update", {"run_id": "R", "status": "DANCING"}),
        ("runs/update", {"run_id": "R", "end_time": "x"}),
        ("runs/log-metric", {"run_id": "R"}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "value": "many"}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "value": None}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "value": True}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "timestamp": None}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "timestamp": -1}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "step": 2**63}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "step": 1.5}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "key": ""}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "key": "a%b"}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "key": "k" * 251}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "key": "/a"}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "key": "a/../b"}),
        ("runs/log-metric", {"run_id": "R", **METRIC, "key": "."}),
        ("runs/log-parameter", {"run_id": "R", "key": "p", "value": 5}),
        ("runs/log-parameter", {"run_id": "R", "key": "p", "value": "a\x00b"}),
        ("runs/log-parameter", {"run_id": "R"}),
        ("runs/set-tag", {"run_id": "R", "key": "t" * 251, "value": "v"}),
        ("runs/set-tag", {"run_id": "R", "value": "v"}),
        ("runs/log-batch", {"run_id": "R", "metrics": "x"}),
        ("runs/log-batch", {"run_id": "R", "metrics": [5]}),
        ("runs/log-batch", {"run_id": "R", "metrics": [{**METRIC, "value": {}}]}),
        ("runs/log-batch", {"metrics": []}),
        ("runs/log-batch", {"run_id": "R", "metrics": [METRIC] * 1001}),
        ("runs/log-batch", {"run_id": "R", "params": [{"key": f"p{i}", "value": "1"} for i in range(101)]}),
        ("runs/log-batch", {"run_id": "R", "tags": [{"key": f"p{i}", "value": "1"} for i in range(101)]}),
        (
            "runs/log-batch",
            {"run_id": "R", "metrics": [METRIC] * 950, "params": [{"key": f"p{i}", "value": "1"} for i in range(51)]},
        ),
        (
            "runs/log-batch",
            {
                "run_id": "R",
                "tags": [{"key": f"t{i}", "value": "v" * 8000} for i in range(100)],
                "params": [{"key": f"p{i}", "value": "v" * 6000} for i in range(60)],
            },
        ),
        ("runs/log-inputs", {"run_id": "R", "datasets": [{"dataset": {"name": "x"}}]}),
        ("runs/log-inputs", {"run_id": "R", "datasets": [{}]}),
        (
            "runs/log-inputs",
            {
                "run_id": "R",
                "datasets": [{"dataset": {"name": "n" * 501, "digest": "d", "source_type": "s", "source": "s"}}],
            },
        ),
        ("runs/search", {"experiment_ids": "0"}),
        ("runs/search", {"experiment_ids": [0]}),
        ("runs/search", {"experiment_ids": ["0"], "order_by": "x"}),
        ("runs/search", {"experiment_ids": ["0"], "run_view_type": "SOME"}),
        ("runs/search", {"experiment_ids": ["0"], "filter": 5}),
        ("logged-models", {"experiment_id": "0", "name": "a:b"}),
        ("registered-models/create", {"name": "a/b"}),
        ("registered-models/create", {}),
    ],
)
def test_an_invalid_parameter_is_named_with_status_400(server: Server, run: str, endpoint: str, body: Any) -> None:
    if body is None:
        answer = server.get(endpoint)
    else:
        filled = {name: run if value == "R" else value for name, value in body.items()}
        answer = server.post(endpoint, filled)
    assert code(answer) == (400, "INVALID_PARAMETER_VALUE")
    data = server.get("runs/get", run_id=run).json()["run"]["data"]
    assert "metrics" not in data
    assert "params" not in data


def test_values_at_the_limit_are_taken(server: Server, run: str) -> None:
    client = server.client()
    client.log_param(run, "p" * 250, "v" * 6000)
    client.log_metric(run, "k" * 250, 1.0)
    client.set_tag(run, "t" * 250, "v" * 8000)
    answer = server.post(
        "runs/log-batch",
        {
            "run_id": run,
            "metrics": [{**METRIC, "step": str(step), "timestamp": "5", "value": "NaN"} for step in range(1000)],
        },
    )
    assert answer.status_code == 200
    assert len(client.get_metric_history(run, "m")) == 1000
    raw = b'{"run_id": "%s", "key": "n", "value": NaN, "timestamp": 1}' % run.encode()
    assert (
        server.call(
            "POST", "mlflow/runs/log-metric", content=raw, headers={"Content-Type": "application/json"}
        ).status_code
        == 200
    )
    old = server.post("runs/set-tag", {"run_uuid": run, "key": "old", "value": "name"})
    assert old.status_code == 200
    assert (
        httpx.get(
            f"{server.url}/ajax-api/2.0/mlflow/runs/get",
            params={"run_id": run},
            headers={"Authorization": f"Bearer {server.token()}"},
        ).json()["run"]["info"]["run_uuid"]
        == run
    )


def test_a_value_beyond_the_limit_is_cut_as_by_mlflow(server: Server, run: str) -> None:
    client = server.client()
    for _ in range(2):
        client.log_param(run, "alone", "v" * 6001)
        client.set_tag(run, "alone", "v" * 8001)
        client.log_batch(run, params=[Param("batch", "w" * 6001)], tags=[RunTag("batch", "w" * 8001)])
    data = client.get_run(run).data
    assert data.params == {"alone": "v" * 6000, "batch": "w" * 6000}
    assert (data.tags["alone"], data.tags["batch"]) == ("v" * 8000, "w" * 8000)


def test_too_large_a_body_is_413(server: Server, run: str) -> None:
    answer = server.call(
        "POST",
        "mlflow/runs/set-tag",
        content=b" " * (ENV.max_batch_bytes + 1),
        headers={"Content-Type": "application/json"},
    )
    assert code(answer) == (413, "INVALID_PARAMETER_VALUE")


def test_no_body_brings_a_500(server: Server, run: str) -> None:
    endpoints = st.sampled_from(
        [
            "runs/create",
            "runs/update",
            "runs/log-batch",
            "runs/log-metric",
            "runs/set-tag",
            "runs/search",
            "runs/log-inputs",
            "experiments/search",
            "experiments/create",
            "logged-models",
            "logged-models/search",
            "registered-models/create",
            "model-versions/create",
            "runs/outputs",
            "runs/log-parameter",
        ]
    )
    scalars = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("0") | st.just(run)
    )
    values = st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["key", "value", "dataset", "model_id", "timestamp", "step"]), inner)
        ),
        max_leaves=6,
    )
    names = st.sampled_from(
        [
            "experiment_id",
            "run_id",
            "metrics",
            "params",
            "tags",
            "key",
            "value",
            "timestamp",
            "filter",
            "order_by",
            "max_results",
            "page_token",
            "name",
            "status",
            "end_time",
            "datasets",
            "models",
            "experiment_ids",
            "source",
            "version",
        ]
    )

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(endpoints, st.dictionaries(names, values, max_size=5))
    def check(endpoint: str, body: dict[str, Any]) -> None:
        raw = json.dumps({"run_id": run, **body})
        answer = server.call("POST", f"mlflow/{endpoint}", content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 400, 404), (endpoint, body, answer.text)

    check()


def test_another_tenants_things_look_like_what_never_was(server: Server) -> None:
    mine = server.client()
    experiment = mine.create_experiment("secret")
    run = mine.create_run(experiment, run_name="canary").info.run_id
    mine.log_text(run, "canary", "canary.txt")
    mine.log_metric(run, "canary", 1.0)
    model = mine.create_logged_model(experiment, name="canary").model_id
    mine.create_registered_model("canary")
    mine.create_model_version("canary", "s3://bucket/canary", run_id=run)
    theirs = {"E": experiment, "R": run, "M": model, "N": "canary"}
    absent = {"E": "123456789012345678", "R": "r_0000000000", "M": "m-" + "0" * 32, "N": "absent"}
    calls: list[tuple[str, str, Any]] = [
        ("GET", "mlflow/experiments/get?experiment_id=E", None),
        ("POST", "mlflow/experiments/delete", {"experiment_id": "E"}),
        ("POST", "mlflow/experiments/update", {"experiment_id": "E", "new_name": "x"}),
        ("POST", "mlflow/experiments/set-experiment-tag", {"experiment_id": "E", "key": "k", "value": "v"}),
        ("POST", "mlflow/runs/create", {"experiment_id": "E"}),
        ("GET", "mlflow/runs/get?run_id=R", None),
        ("POST", "mlflow/runs/update", {"run_id": "R", "status": "FAILED"}),
        ("POST", "mlflow/runs/delete", {"run_id": "R"}),
        ("POST", "mlflow/runs/restore", {"run_id": "R"}),
        ("POST", "mlflow/runs/log-metric", {"run_id": "R", **METRIC}),
        ("POST", "mlflow/runs/log-parameter", {"run_id": "R", "key": "k", "value": "v"}),
        ("POST", "mlflow/runs/log-batch", {"run_id": "R", "metrics": [METRIC]}),
        ("POST", "mlflow/runs/log-batch", {"run_id": "R"}),
        ("POST", "mlflow/runs/set-tag", {"run_id": "R", "key": "k", "value": "v"}),
        ("POST", "mlflow/runs/delete-tag", {"run_id": "R", "key": "k"}),
        ("POST", "mlflow/runs/log-inputs", {"run_id": "R", "datasets": []}),
        ("GET", "mlflow/metrics/get-history?run_id=R&metric_key=canary", None),
        ("GET", "mlflow/artifacts/list?run_id=R", None),
        ("GET", "mlflow/metrics/get-history-bulk-interval?run_ids=R&metric_key=canary", None),
        ("GET", "mlflow-artifacts/artifacts/E/R/artifacts/canary.txt", None),
        ("PUT", "mlflow-artifacts/artifacts/E/R/artifacts/x", None),
        ("DELETE", "mlflow-artifacts/artifacts/E/R/artifacts/canary.txt", None),
        ("GET", "mlflow-artifacts/artifacts?path=E/R/artifacts", None),
        ("GET", "mlflow-artifacts/artifacts?path=E/models/M/artifacts", None),
        ("PUT", "mlflow-artifacts/artifacts/E/models/M/artifacts/x", None),
        ("GET", "mlflow/logged-models/M", None),
        ("PATCH", "mlflow/logged-models/M", {"status": "LOGGED_MODEL_READY"}),
        ("DELETE", "mlflow/logged-models/M", None),
        ("POST", "mlflow/logged-models/search", {"experiment_ids": ["E"]}),
        ("POST", "mlflow/runs/search", {"experiment_ids": ["E"]}),
        ("GET", "mlflow/registered-models/get?name=N", None),
        ("GET", "mlflow/model-versions/get?name=N&version=1", None),
        ("DELETE", "mlflow/registered-models/delete", {"name": "N"}),
        ("GET", "mlflow/registered-models/search", None),
        ("GET", "mlflow/experiments/get-by-name?experiment_name=N", None),
    ]

    def ask(method: str, path: str, body: Any, names: dict[str, str]) -> tuple[int, str]:
        for letter, name in names.items():
            path = "/".join(name if part == letter else part for part in path.split("/")).replace(
                f"={letter}/", f"={name}/"
            )
            path = "&".join(f"{part[:-2]}={name}" if part.endswith(f"={letter}") else part for part in path.split("&"))
            path = path.replace(f"={letter}&", f"={name}&")
        text = json.dumps(body or {})
        for letter, name in names.items():
            text = text.replace(f'"{letter}"', f'"{name}"')
        headers = {"Content-Type": "application/json"}
        answer = server.call(
            method, path, person="olga", headers=headers, **({"content": text} if method != "GET" else {})
        )
        said = answer.text
        for name in names.values():
            said = said.replace(name, "*")
        return answer.status_code, said

    for method, path, body in calls:
        real, fake = ask(method, path, body, theirs), ask(method, path, body, absent)
        assert real == fake, (method, path)
        assert real[0] in (200, 404), (method, path, real)
    assert mine.get_run(run).data.metrics == {"canary": 1.0}
    assert mine.get_run(run).info.status == "RUNNING"
    other = server.client("olga")
    assert {found.name for found in other.search_experiments()} == {"Default", "first"}
    other.create_experiment("secret")
    other.create_registered_model("canary")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: other.get_run(run))
