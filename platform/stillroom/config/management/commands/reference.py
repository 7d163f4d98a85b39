"""`manage.py reference`: writes the generated reference files."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from stillroom.config.env import REPOSITORY
from stillroom.config.reference import env_example, settings_page


class Command(BaseCommand):
    """Writes `.env.example` and `docs/reference/settings.md`."""

    help = "Write .env.example and docs/reference/settings.md from the settings that the code reads."

    def handle(self, *args: Any, **options: Any) -> None:
        (REPOSITORY / ".env.example").write_text(env_example())
        (REPOSITORY / "docs/reference/settings.md").write_text(settings_page())
