"""`manage.py openapi`: writes the API description that the TypeScript client is generated from."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from stillroom.config.api import openapi
from stillroom.config.env import REPOSITORY

TARGET = REPOSITORY / "frontend" / "openapi.json"


class Command(BaseCommand):
    """With --check nothing is written; a stale file is an error."""

    help = "Write frontend/openapi.json, or check with --check that it is up to date."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        text = json.dumps(openapi(), indent=1, sort_keys=True, default=str) + "\n"
        if not check:
            TARGET.write_text(text)
            self.stdout.write(f"Wrote {TARGET.relative_to(REPOSITORY)}.")
        elif not TARGET.is_file() or TARGET.read_text() != text:
            raise CommandError(
                f"{TARGET.relative_to(REPOSITORY)} is stale. Run manage.py openapi and npm run generate."
            )
