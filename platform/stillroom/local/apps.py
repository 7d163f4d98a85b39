"""Registers the launcher with Django so that `manage.py up`, `down` and `status` are found. It has no models."""

from django.apps import AppConfig


class LocalConfig(AppConfig):
    name = "stillroom.local"
    label = "local"
    verbose_name = "Local launcher"
