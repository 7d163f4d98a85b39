"""Starts everything on this machine: PostgreSQL, Valkey, web, scheduler, worker, one node, and a demo."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from stillroom.config.env import REPOSITORY, read
from stillroom.local.control import up
from stillroom.local.errors import LocalError
from stillroom.local.home import Home
from stillroom.local.launch import Options


class Command(BaseCommand):
    help = "Start Stillroom on this machine and keep it running."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--detach", action="store_true", help="return as soon as it is ready")
        parser.add_argument("--no-demo", action="store_true", help="make no demo organisation and runs")
        parser.add_argument("--port", type=int, help="port of the web page; the next free one when it is in use")

    def handle(self, *args: Any, **options: Any) -> None:
        env = read()
        asked = Options(
            repository=REPOSITORY,
            port=options["port"] or env.port,
            demo=not options["no_demo"],
            node=not os.environ.get("STILLROOM_NO_NODE"),
            public_url=os.environ.get("STILLROOM_PUBLIC_URL", ""),
            secret_key=env.secret_key,
            database_url=env.database_url,
            redis_url=os.environ.get("REDIS_URL", ""),
        )
        try:
            code = up(Home(env.home), asked, detach=options["detach"])
        except LocalError as error:
            raise CommandError(error.message) from error
        sys.exit(code)
