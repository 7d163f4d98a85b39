"""Experiments as MLflow shows them, and the search for them."""

from __future__ import annotations

from typing import Any

from stillroom.mlflow.errors import invalid
from stillroom.mlflow.messages import key_values
from stillroom.mlflow.models import Experiment
from stillroom.mlflow.paging import page_of
from stillroom.mlflow.selectors.matching import Getter, matching, ordered
from stillroom.mlflow.services.experiments import experiments

VIEWS = ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")


def experiment_view(row: Experiment) -> dict[str, Any]:
    """The object on the wire."""
    return {
        "experiment_id": str(row.number),
        "name": row.name,
        "artifact_location": location(row),
        "lifecycle_stage": "active" if row.deleted_ms is None else "deleted",
        "creation_time": row.created_ms,
        "last_update_time": row.updated_ms,
        "tags": key_values(row.tags),
    }


def location(row: Experiment) -> str:
    """Where the experiment's runs put their files."""
    return row.artifact_location or f"mlflow-artifacts:/{row.number}"


def view_type(text: str) -> str:
    """ACTIVE_ONLY unless it says otherwise."""
    text = {"1": "ACTIVE_ONLY", "2": "DELETED_ONLY", "3": "ALL"}.get(text, text) or "ACTIVE_ONLY"
    if text not in VIEWS:
        raise invalid(f"Invalid view type '{text[:50]}'. Use one of {', '.join(VIEWS)}.")
    return text


def experiments_found(
    *, view: str, query: str, order: list[str], limit: int, token: str
) -> tuple[list[Experiment], str]:
    """A page of experiments and the token of the next. One query."""
    rows = experiments().order_by("-created_ms", "-number")
    if view != "ALL":
        rows = rows.filter(deleted_ms__isnull=view == "ACTIVE_ONLY")
    found = ordered(matching(rows, query, _getter), order or ["creation_time DESC"], _getter)
    return page_of(found, limit, token, ["experiments", view, query, order])


_ATTRIBUTES: dict[str, Getter[Experiment]] = {
    "name": lambda row: row.name,
    "experiment_id": lambda row: row.number,
    "creation_time": lambda row: row.created_ms,
    "last_update_time": lambda row: row.updated_ms,
}


def _getter(entity: str, key: str) -> Getter[Experiment] | None:
    if entity == "tag":
        return lambda row: row.tags.get(key)
    return _ATTRIBUTES.get(key) if entity == "attribute" else None
