"""The API for scripts: plain dictionaries in and out, as in `docs/reference/wire.md`, section 2."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from stillroom_client.credentials import find_credentials
from stillroom_client.errors import StillroomError
from stillroom_client.transport import Transport

TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "LOST"})

JsonObject = dict[str, Any]


class WaitTimeout(StillroomError):
    """The run has not ended in the time given."""


class Client:
    """One person's or one script's view of the platform. Safe to share between threads.

    url, token: by default from the environment or from `stillroom login`. Every call raises ApiError, ConnectionFailed.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, transport: Transport | None = None) -> None:
        if transport is None:
            found = find_credentials(url, token)
            transport = Transport(found.url, found.token)
        self.transport = transport

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def me(self) -> JsonObject:
        """Who this token is and what it may do."""
        return self._get("/me")

    def recipes(self) -> list[JsonObject]:
        """The catalogue."""
        return list(self._pages("/recipes", {}))

    def recipe(self, name: str) -> JsonObject:
        """One recipe with the JSON Schema of its spec."""
        return self._get(f"/recipes/{quote(name, safe='')}")

    def submit(
        self,
        project: str,
        recipe: str,
        spec: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JsonObject:
        """Queue a run and give it back.

        project: "org/project". options: name, tags, notes, resources, priority, max_attempts, parent.
        idempotency_key: the same key never makes a second run; a fresh one by default, so that retries are safe.
        """
        body = {"recipe": recipe, "spec": dict(spec or {}), "seed": seed, **options}
        return self._post(
            f"{_project_path(project)}/runs", body, {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        )

    def get(self, run: str) -> JsonObject:
        """One run as it is now."""
        return self._get(_run_path(run))

    def runs(self, project: str, *, limit: int | None = None, **filters: Any) -> Iterator[JsonObject]:
        """Runs of a project, newest first; filters: q, state, recipe, study, spec_hash, sort, columns."""
        found = self._pages(f"{_project_path(project)}/runs", filters, page_size=min(limit or 50, 500))
        for number, run in enumerate(found):
            if limit is not None and number >= limit:
                return
            yield run

    def cancel(self, run: str) -> JsonObject:
        """Ask the run to stop for good; it keeps what it has written."""
        return self._post(f"{_run_path(run)}/cancel", {})

    def pause(self, run: str) -> JsonObject:
        """Hold the run; it saves a checkpoint first."""
        return self._post(f"{_run_path(run)}/pause", {})

    def resume(self, run: str) -> JsonObject:
        """Release a held run into the queue."""
        return self._post(f"{_run_path(run)}/resume", {})

    def retry(self, run: str) -> JsonObject:
        """A new run with the same spec and seed."""
        return self._post(f"{_run_path(run)}/retry", {})

    def study(
        self,
        project: str,
        name: str,
        recipe: str,
        spec: Mapping[str, Any] | None = None,
        *,
        arms: Iterable[Mapping[str, Any]] = (),
        seeds: Iterable[int] = (0,),
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JsonObject:
        """Queue arms times seeds.

        arms: {"name", "spec"}, laid over `spec`. options: tags, notes, resources, priority.
        """
        body = {
            "name": name,
            "recipe": recipe,
            "spec": dict(spec or {}),
            "arms": [dict(arm) for arm in arms],
            "seeds": list(seeds),
            **options,
        }
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._post(f"{_project_path(project)}/studies", body, headers)

    def report(self, study: str, *, metric: str = "", baseline: str = "", reduce: str = "last") -> JsonObject:
        """What a study found: arms with mean and 95 % interval, and differences to a baseline paired by seed.

        metric, baseline: those of the study's template when empty. reduce: "last", "min" or "max" of each run.
        """
        asked = {"metric": metric, "baseline": baseline, "reduce": reduce}
        path = f"/studies/{quote(study, safe='')}/report"
        return self._get(path, {name: value for name, value in asked.items() if value})

    def projects(self, org: str) -> list[JsonObject]:
        """The projects of an organisation."""
        return list(self._pages(f"/orgs/{quote(org, safe='')}/projects", {}))

    def leaderboards(self, org: str) -> list[JsonObject]:
        """The leaderboards of an organisation."""
        return list(self._get("/benchmarks", {"org": org})["items"])

    def leaderboard(self, board: str) -> JsonObject:
        """A leaderboard with its entries, best first."""
        return self._get(f"/benchmarks/{quote(board, safe='')}")

    def scores(self, boards: Iterable[str], *, method: str | None = None, reference: str | None = None) -> JsonObject:
        """Methods scored over several leaderboards by the steps to their targets.

        method: the path of the spec that tells them apart, "optimizer.kind" by default. reference: one of them, against
        which the speed of the others is given.
        """
        asked = {"benchmark": list(boards), "method": method, "reference": reference}
        return self._get("/benchmark-scores", {name: value for name, value in asked.items() if value is not None})

    def series(self, run: str) -> list[JsonObject]:
        """The metrics of a run with their summaries: key, n, last, min, max, last_step."""
        return list(self._pages(f"{_run_path(run)}/series", {}))

    def artifacts(self, run: str) -> list[JsonObject]:
        """The files of a run."""
        return list(self._pages(f"{_run_path(run)}/artifacts", {}))

    def wait(
        self,
        run: str,
        *,
        timeout_s: float | None = None,
        poll_s: float = 1.0,
        each: Callable[[JsonObject], None] | None = None,
    ) -> JsonObject:
        """Return the run when it has ended, whatever the outcome. Raises WaitTimeout.

        poll_s: seconds between looks at first; grows to 5. each: called with the run at every look.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            now = self.get(run)
            if each is not None:
                each(now)
            if now["state"] in TERMINAL_STATES:
                return now
            if deadline is not None and time.monotonic() + poll_s > deadline:
                raise WaitTimeout(f"Run {run} is still {now['state']} after {timeout_s:g} s.")
            time.sleep(poll_s)
            poll_s = min(poll_s * 1.2, 5.0)

    def metrics(
        self, run: str, keys: Iterable[str] | None = None, *, x: str = "step", max_points: int = 10_000
    ) -> dict[str, dict[str, list[float]]]:
        """Points by key as {"x": [...], "value": [...]}, all keys by default.

        Past `max_points` a series is thinned, but never of its extremes. Values that are not finite come back as
        floats, in order of x.
        """
        wanted = list(keys) if keys is not None else [s["key"] for s in self._pages(f"{_run_path(run)}/series", {})]
        if not wanted:
            return {}
        body = {"runs": [run], "keys": wanted, "x": x, "max_points": max_points}
        return {one["key"]: _columns(one) for one in self._post("/series/query", body)["series"]}

    def logs(self, run: str, *, cursor: str | None = None) -> Iterator[JsonObject]:
        """Log lines there are now, oldest first; `cursor` is where an earlier look ended (see `log_page`)."""
        while True:
            page = self.log_page(run, cursor=cursor)
            yield from page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def log_page(self, run: str, *, cursor: str | None = None, limit: int = 500) -> JsonObject:
        """One page of log lines, oldest first."""
        params: dict[str, Any] = {"limit": limit, "direction": "forward"}
        if cursor:
            params["cursor"] = cursor
        return self._get(f"{_run_path(run)}/logs", params)

    def _pages(self, path: str, filters: Mapping[str, Any], *, page_size: int = 50) -> Iterator[JsonObject]:
        params: dict[str, Any] = {**filters, "limit": page_size}
        while True:
            page = self._get(path, params)
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> JsonObject:
        return dict(self.transport.call("GET", path, params=params).data)

    def _post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JsonObject:
        return dict(self.transport.call("POST", path, json=body, headers=headers).data)


def _project_path(project: str) -> str:
    org, _, name = project.partition("/")
    if not org or not name or "/" in name:
        raise ValueError(f"A project is written ORG/PROJECT, not {project!r}.")
    return f"/orgs/{quote(org, safe='')}/projects/{quote(name, safe='')}"


def _run_path(run: str) -> str:
    return f"/runs/{quote(run, safe='')}"


def _columns(series: Mapping[str, Any]) -> dict[str, list[float]]:
    points = [(float(x), float(series["value"][n])) for n, x in enumerate(series["x"])]
    points += [(float(one["x"]), float(one["value"])) for one in series.get("non_finite", [])]
    points.sort(key=lambda point: point[0])
    return {"x": [x for x, _ in points], "value": [value for _, value in points]}
