"""Addresses: as MLflow's, at the root and below /mlflow for a tracking URI with that prefix."""

from __future__ import annotations

from django.urls import re_path

from stillroom.mlflow.api import artifact_routes, routes, server
from stillroom.mlflow.door import door, unknown

ROOT = r"^(?:mlflow/)?"
tracking, artifacts = door(routes), door(artifact_routes)

urlpatterns = [
    re_path(ROOT + r"health/?$", server.health),
    re_path(ROOT + r"version/?$", server.version),
    re_path(ROOT + r"(?:api|ajax-api)/3\.0/mlflow/server-(?:info|features)$", server.server_info),
    re_path(ROOT + r"(?:api|ajax-api)/[23]\.0/mlflow/(?P<path>.*)$", tracking),
    re_path(ROOT + r"(?:api|ajax-api)/2\.0/mlflow-artifacts/(?P<path>.*)$", artifacts),
    re_path(ROOT + r"(?:api|ajax-api)/[23]\.0(?:/(?P<path>.*))?$", unknown),
]
