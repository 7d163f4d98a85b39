"""MLflow's limits on names and values."""

from __future__ import annotations

import json
import posixpath
import re

from stillroom.mlflow.errors import invalid

MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTITIES, MAX_BATCH_BYTES = 1000, 100, 100, 1000, 1_000_000
MAX_KEY, MAX_PARAM, MAX_TAG, MAX_EXPERIMENT_TAG, MAX_EXPERIMENT_NAME = 250, 6000, 8000, 20_000, 500
MAX_REGISTRY_TAG = 100_000
MAX_DATASETS, MAX_DATASET_NAME, MAX_DIGEST, MAX_SCHEMA, MAX_SOURCE, MAX_PROFILE = (
    1000,
    500,
    36,
    1_048_575,
    65_535,
    16_777_215,
)
NAME = re.compile(r"\A[/\w.\- :]*\Z")


def check_name(key: str, at: str = "key") -> str:
    """The name of a metric, parameter or tag: legal characters, a normal relative path, not too long."""
    if not key:
        raise invalid(f"Missing value for required parameter '{at}'. A key name must be provided.")
    if not NAME.match(key):
        raise invalid(
            f"Invalid value {_shown(key)} for parameter '{at}' supplied: Names may only contain alphanumerics, "
            "underscores (_), dashes (-), periods (.), spaces ( ), colons (:), and slashes (/)."
        )
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        raise invalid(
            f"Invalid value {_shown(key)} for parameter '{at}' supplied: Names may be treated as files in certain "
            "cases, and must not resolve to other names when treated as such. "
            f"This name would resolve to {_shown(normal)}."
        )
    return check_length(at, key, MAX_KEY)


def check_length(at: str, value: str, limit: int) -> str:
    """Refuse what is longer than the limit in characters."""
    if len(value) > limit:
        raise invalid(f"'{at}' exceeds the maximum length of {limit} characters")
    return value


def check_count(what: str, count: int, limit: int) -> None:
    """Refuse more items than a batch may have."""
    if count > limit:
        raise invalid(
            f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. "
            f"Please split up {what} across multiple requests and try again."
        )


def check_experiment_name(name: str) -> str:
    """An experiment's name is not empty and has at most 500 characters."""
    if not name:
        raise invalid(f"Invalid experiment name: '{name}'")
    return check_length("name", name, MAX_EXPERIMENT_NAME)


def _shown(text: str) -> str:
    return json.dumps(text[:300])
