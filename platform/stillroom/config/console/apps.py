"""Makes the console's site the one that models register with."""

from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    default_site = "stillroom.config.console.site.ConsoleSite"
