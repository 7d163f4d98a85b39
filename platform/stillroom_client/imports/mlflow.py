"""MLflow: a tracking server by its REST API, or an `mlruns` folder.

Steps, times and NaN are kept; deleted runs are left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import httpx

from stillroom_client.imports.source import BadSource, Column, FileOf, SourceRun, usable_key, whole_step

STATES = {"FINISHED": "SUCCEEDED", "FAILED": "FAILED", "KILLED": "CANCELLED"}
CODES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
PAGE = 1000
HISTORY_PAGE = 25_000


def read_server(url: str, experiments: list[str]) -> Iterator[SourceRun]:
    """Runs of a server's experiments, all by default. MLFLOW_TRACKING_TOKEN or _USERNAME and _PASSWORD are used.

    Artifacts are taken where the server serves them itself. Raises BadSource.
    """
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    auth = (user, password or "") if user else None
    with httpx.Client(base_url=url.rstrip("/"), headers=headers, auth=auth, timeout=60.0) as http:
        server = _Server(http, url)
        names = {one["experiment_id"]: one["name"] for one in server.pages("experiments/search", "experiments", {})}
        chosen = [one for one, name in names.items() if not experiments or name in experiments or one in experiments]
        missing = [name for name in experiments if name not in names and name not in names.values()]
        if missing:
            raise BadSource(f"{url}: there is no experiment {missing[0]}; there are: {', '.join(names.values())}.")
        for experiment in chosen:
            query = {"experiment_ids": [experiment], "run_view_type": "ACTIVE_ONLY"}
            for run in server.pages("runs/search", "runs", query):
                yield server.run(run, names[experiment])


class _Server:
    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self._url = url

    def pages(self, path: str, field: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        body: dict[str, Any] = {**query, "max_results": PAGE}
        while True:
            page = self._call("POST", f"/api/2.0/mlflow/{path}", json=body)
            yield from page.get(field) or []
            if not page.get("next_page_token"):
                return
            body["page_token"] = page["next_page_token"]

    def run(self, run: Mapping[str, Any], experiment: str) -> SourceRun:
        info, data = run["info"], run.get("data", {})
        tags = {one["key"]: one["value"] for one in data.get("tags") or []}
        params = {one["key"]: one["value"] for one in data.get("params") or []}
        source = _described(info["run_id"], info.get("run_name") or "", experiment, str(info["status"]), params, tags)
        for metric in data.get("metrics") or []:
            source.columns[usable_key(metric["key"])] = self._history(info["run_id"], metric["key"])
        source.files = self._files(info.get("artifact_uri") or "")
        return source

    def _history(self, run: str, key: str) -> Column:
        points = []
        params: dict[str, Any] = {"run_id": run, "metric_key": key, "max_results": HISTORY_PAGE}
        while True:
            page = self._call("GET", "/api/2.0/mlflow/metrics/get-history", params=params)
            points += [_point(one, f"{run}: {key}") for one in page.get("metrics") or []]
            if not page.get("next_page_token"):
                return _column(points)
            params["page_token"] = page["next_page_token"]

    def _files(self, uri: str) -> Iterator[FileOf]:
        if not uri.startswith("mlflow-artifacts:"):
            return
        root = uri.partition(":")[2].lstrip("/")
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            path = f"{root}/{folder}".rstrip("/")
            listed = self._call("GET", "/api/2.0/mlflow-artifacts/artifacts", params={"path": path})
            for one in listed.get("files") or []:
                inside = f"{folder}/{one['path']}".lstrip("/")
                if one.get("is_dir"):
                    waiting.append(inside)
                else:
                    yield FileOf(inside, content=self._bytes(f"/api/2.0/mlflow-artifacts/artifacts/{root}/{inside}"))

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            answer = json.loads(self._send(method, path, **options).content or b"{}")
        except ValueError:
            raise BadSource(f"{self._url}: {path} did not answer with JSON. Is this an MLflow server?") from None
        if not isinstance(answer, dict):
            raise BadSource(f"{self._url}: {path} did not answer with an object.")
        return answer

    def _bytes(self, path: str) -> bytes:
        return self._send("GET", path).content

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BadSource(f"{self._url}: no answer to {path}: {error or type(error).__name__}.") from None
        if not answer.is_success:
            said = " ".join(answer.text.split())[:200]
            raise BadSource(f"{self._url}: {path} answered {answer.status_code}. {said}")
        return answer


def read_folder(root: Path, experiments: list[str]) -> Iterator[SourceRun]:
    """Runs of a local `mlruns` folder. Raises BadSource naming the file."""
    if not root.is_dir():
        raise BadSource(f"{root}: there is no such folder.")
    found = False
    for place in sorted(path for path in root.iterdir() if (path / "meta.yaml").is_file() and path.name != ".trash"):
        meta = _meta(place / "meta.yaml")
        name = meta.get("name") or place.name
        if experiments and name not in experiments and place.name not in experiments:
            continue
        for path in sorted(one for one in place.iterdir() if (one / "meta.yaml").is_file()):
            info = _meta(path / "meta.yaml")
            if "run_id" in info or "run_uuid" in info:
                found = True
                if info.get("lifecycle_stage", "active") == "active":
                    yield _folder_run(path, info, name)
    if not found:
        raise BadSource(f"{root}: no runs of an MLflow folder (EXPERIMENT/RUN/meta.yaml) in it.")


def _folder_run(path: Path, info: Mapping[str, str], experiment: str) -> SourceRun:
    run = info.get("run_id") or info.get("run_uuid") or path.name
    status = CODES.get(info.get("status", ""), info.get("status", ""))
    tags, params = _texts(path / "tags"), _texts(path / "params")
    source = _described(run, info.get("run_name") or "", experiment, status, params, tags)
    for file in _below(path / "metrics"):
        key = file.relative_to(path / "metrics").as_posix()
        points = []
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            parts = line.split(" ")
            where = f"{file}: line {number}"
            if len(parts) not in (2, 3, 5):
                raise BadSource(f"{where}: expected TIME VALUE STEP, found {len(parts)} fields.")
            one = {"timestamp": parts[0], "value": parts[1], "step": parts[2] if len(parts) > 2 else 0}
            points.append(_point(one, where))
        if points:
            source.columns[usable_key(key)] = _column(points)
    files = path / "artifacts"
    source.files = [FileOf(one.relative_to(files).as_posix(), one) for one in _below(files)]
    return source


def _described(
    run: str, name: str, experiment: str, status: str, params: Mapping[str, str], tags: Mapping[str, str]
) -> SourceRun:
    """What is known besides points. A run that its script never ended counts as failed; the tag keeps its status."""
    shown = {key: value for key, value in tags.items() if not key.startswith(("mlflow.log-model", "mlflow.note"))}
    shown["mlflow.experiment"] = experiment
    if status not in STATES:
        shown["mlflow.status"] = status
    return SourceRun(
        id=run,
        name=name or tags.get("mlflow.runName") or run,
        config=dict(params),
        tags=shown,
        notes=tags.get("mlflow.note.content", ""),
        state=STATES.get(status, "FAILED"),
    )


def _point(one: Mapping[str, Any], where: str) -> tuple[int, int, float]:
    try:
        return int(one["timestamp"]), whole_step(one.get("step") or 0, where), float(one["value"])
    except (KeyError, TypeError, ValueError):
        raise BadSource(f"{where}: expected a time, a value and a step, found {str(dict(one))[:100]}.") from None


def _column(points: list[tuple[int, int, float]]) -> Column:
    column = Column()
    for time_ms, step, value in sorted(points, key=lambda point: point[:2]):
        column.add(step, value, time_ms / 1000.0)
    return column


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _texts(folder: Path) -> dict[str, str]:
    found = {}
    for path in _below(folder):
        found[path.relative_to(folder).as_posix()] = path.read_text(errors="replace")
    return found


def _meta(path: Path) -> dict[str, str]:
    """The flat `name: value` lines that MLflow writes; no YAML library is needed for them."""
    found: dict[str, str] = {}
    for line in path.read_text(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "#", "-")):
            found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        decoded: Optional[str] = None
        try:
            decoded = json.loads(value)
        except ValueError:
            decoded = value[1:-1]
        return str(decoded)
    return "" if value in ("null", "~") else value
