"""`manage.py node NAME`: registers a node and prints its token, alone, on stdout."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from stillroom.core.errors import StillroomError
from stillroom.scheduling.services.nodes import node_create


class Command(BaseCommand):
    """The machine then runs `python -m workers` with STILLROOM_URL and STILLROOM_NODE_TOKEN."""

    help = "Register a node and print its token alone on stdout. --renew replaces the token of an existing node."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--renew", action="store_true")

    def handle(self, *args: Any, name: str, renew: bool, **options: Any) -> None:
        try:
            _, text = node_create(name=name, actor="command line", renew=renew)
        except StillroomError as error:
            raise CommandError(error.message) from None
        self.stdout.write(text)
