"""The composition root's app: what must exist once Django is set up."""

from importlib import import_module

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "stillroom.config"
    label = "stillroom_config"

    def ready(self) -> None:
        """Make our Celery application the process's own, so that `core.queue` publishes through it."""
        import_module("stillroom.config.celery")
