"""`manage.py token --user EMAIL --org SLUG`: prints a new API token, alone, on stdout."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from stillroom.accounts.models import User
from stillroom.core.tenancy import admin_tx
from stillroom.tenants.models import Membership
from stillroom.tenants.policies import TokenScope
from stillroom.tenants.services import token_create


class Command(BaseCommand):
    """The token is shown this once; only its hash is stored."""

    help = "Make an API token for a member of an organisation and print it alone on stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, metavar="EMAIL")
        parser.add_argument("--org", required=True, metavar="SLUG")
        parser.add_argument("--scope", action="append", choices=[scope.value for scope in TokenScope], default=[])
        parser.add_argument("--name", default="command line")
        parser.add_argument("--days", type=int, default=90)

    def handle(self, *args: Any, user: str, org: str, scope: list[str], name: str, days: int, **options: Any) -> None:
        if not 1 <= days <= 366:
            raise CommandError("--days must be between 1 and 366.")
        scopes = [TokenScope(value) for value in scope] or [TokenScope.READ, TokenScope.WRITE]
        with admin_tx():
            account = User.objects.filter(email=user.strip().lower()).first()
            row = Membership.objects.filter(user=account, tenant__slug=org).first() if account else None
            if account is None or row is None:
                raise CommandError(f"{user} is not a member of an organisation {org}.")
            _, text = token_create(
                tenant_id=row.tenant_id,
                user=account,
                name=name,
                scopes=scopes,
                expires_in_days=days,
                actor="command line",
            )
        self.stdout.write(text)
