"""`manage.py tenant SLUG --owner EMAIL`: an organisation with its owner."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from stillroom.core.errors import StillroomError
from stillroom.tenants.services import organisation_create


class Command(BaseCommand):
    """Prints the generated password of a new owner on stderr, so that stdout stays empty."""

    help = "Make an organisation with its owner. A new owner's generated password is printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--name", default="")

    def handle(self, *args: Any, slug: str, owner: str, name: str, **options: Any) -> None:
        try:
            organisation, user, password = organisation_create(
                slug=slug, name=name, owner_email=owner, actor="command line"
            )
        except StillroomError as error:
            raise CommandError(error.message) from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stderr.write(f"Made the organisation {organisation.slug}; {user.email} owns it.")
        if password is not None:
            self.stderr.write(f"Password of the new account, shown this once: {password}")
