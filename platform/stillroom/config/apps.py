from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "stillroom.config"
    label = "stillroom_config"
