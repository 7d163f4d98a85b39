"""MLflow's endpoints by group."""

from stillroom.mlflow.api import artifacts, experiments, metrics, models, registry, runs
from stillroom.mlflow.api.addresses import artifact_routes, routes

__all__ = ["artifact_routes", "artifacts", "experiments", "metrics", "models", "registry", "routes", "runs"]
