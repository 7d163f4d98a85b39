"""MLflow's names for what a run has, as sources of the query language."""

from __future__ import annotations

from stillroom.mlflow.services.runs import NAME, NOTE
from stillroom.runs.query import fields
from stillroom.runs.query.fields import ATTRIBUTE, METRIC, PARAM, TAG, Source
from stillroom.runs.query.tree import Name, QueryError

DATASET = frozenset({"dataset", "datasets"})
LOCATION = (
    "(select coalesce(nullif(e.artifact_location, ''), 'mlflow-artifacts:/' || e.number) || '/' || run.id || "
    "'/artifacts' from mlflow_experiment e where e.project_id = run.project_id)"
)
STATUS = (
    "(case when run.state in ('RUNNING', 'STOPPING') then case when exists (select 1 from mlflow_run t where "
    "t.run_id = run.id and t.scheduled) then 'SCHEDULED' else 'RUNNING' end "
    "when run.state = 'SUCCEEDED' then 'FINISHED' when run.state = 'CANCELLED' then 'KILLED' "
    "when run.state in ('FAILED', 'LOST') then 'FAILED' else 'SCHEDULED' end)"
)
USER = (
    "coalesce((select nullif(t.\"user\", '') from mlflow_run t where t.run_id = run.id), "
    "(select u.email from account_user u where u.id = run.created_by_id), '')"
)
RUN_NAME = "coalesce((select nullif(t.name, '') from mlflow_run t where t.run_id = run.id), run.name)"
START = "(extract(epoch from coalesce(run.started_at, run.created_at)) * 1000)::float8"
END = "(extract(epoch from run.ended_at) * 1000)::float8"
ATTRIBUTES = {
    "run_id": Source("text", "run.id"),
    "run_name": Source("text", RUN_NAME),
    "run name": Source("text", RUN_NAME),
    "status": Source("text", STATUS, rewrite=str.upper),
    "user_id": Source("text", USER),
    "artifact_uri": Source("text", LOCATION),
    "start_time": Source("number", START),
    "created": Source("number", START),
    "end_time": Source("number", END),
}
OF_DATASET = {
    "name": "entry #>> '{dataset,name}'",
    "digest": "entry #>> '{dataset,digest}'",
    "context": "tag ->> 'value'",
}


def resolve(name: Name, text: str) -> Source:
    """The source of a name in an MLflow filter; raises QueryError."""
    entity, key = name.parts[0].lower(), name.key
    if len(name.parts) == 1 or entity in ATTRIBUTE:
        found = ATTRIBUTES.get((key or name.parts[0]).lower())
        if found is None:
            problem = f"Invalid attribute key {(key or name.parts[0])!r} specified"
            raise QueryError(problem, text=text, at=name.at, expected=tuple(ATTRIBUTES))
        return found
    if entity in METRIC:
        return Source("metric", "s.last", (key,))
    if entity in PARAM:
        found = fields.parameter(name)
        return Source(found.kind, found.sql, found.params, strict=True)
    if entity in TAG:
        own = {NAME: RUN_NAME, NOTE: "nullif(run.notes, '')"}.get(key)
        return Source("loose", own or "(run.tags ->> %s)", () if own else (key,), strict=True)
    if entity in DATASET and key in OF_DATASET:
        return Source("text", _dataset(key), rows=True)
    if entity == "spec":
        return fields.resolve(name, text)
    expected = ("metrics.", "params.", "tags.", "attributes.", "datasets.name", "datasets.digest", "datasets.context")
    raise QueryError(f"Invalid entity type {name.parts[0]!r}", text=text, at=name.at, expected=expected)


def _dataset(key: str) -> str:
    tags = ", jsonb_array_elements(entry -> 'tags') tag" if key == "context" else ""
    only = " and tag ->> 'key' = 'mlflow.data.context'" if key == "context" else ""
    return (
        f"(select {OF_DATASET[key]} from mlflow_run t, jsonb_array_elements(t.inputs) entry{tags} "
        f"where t.run_id = run.id{only})"
    )
