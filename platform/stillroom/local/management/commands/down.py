"""Stops what `up` started."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from stillroom.config.env import read
from stillroom.local.control import down
from stillroom.local.errors import LocalError
from stillroom.local.home import Home


class Command(BaseCommand):
    help = "Stop Stillroom on this machine."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(down(Home(read().home)))
        except LocalError as error:
            raise CommandError(error.message) from error
