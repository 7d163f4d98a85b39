"""The two sets of routes that the groups fill: tracking and registry, and the proxy for files."""

from stillroom.mlflow.door import Routes

routes = Routes()
artifact_routes = Routes()
