"""An administrator of the installation in a browser, beside the cast.

This file is read before Django is set up; what needs models is imported inside the fixtures.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

EMAIL = "root@example.org"


class Browser:
    """A browser that follows console addresses by their names."""

    def __init__(self, user: Any = None) -> None:
        from django.test import Client

        self.client = Client(SERVER_NAME="localhost")
        if user is not None:
            self.client.force_login(user)

    def address(self, name: str, *args: Any, **query: Any) -> str:
        """The address of a console page."""
        from django.urls import reverse

        return reverse(f"admin:{name}", args=args) + (f"?{urlencode(query, doseq=True)}" if query else "")

    def get(self, name: str, *args: Any, **query: Any) -> Any:
        return self.client.get(self.address(name, *args, **query))

    def post(self, name: str, *args: Any, data: dict[str, Any] | None = None, **query: Any) -> Any:
        return self.client.post(self.address(name, *args, **query), data or {})


@pytest.fixture
def root(database: None) -> Browser:
    """An administrator of the installation who belongs to no organisation."""
    from stillroom.accounts.models import User
    from stillroom.core.tenancy import admin_tx

    with admin_tx():
        user = User.objects.db_manager("admin").create_user(EMAIL, is_staff=True)
    return Browser(user)


@pytest.fixture
def stranger(cast: Any) -> Browser:
    """An owner of an organisation, who is no administrator of the installation."""
    return Browser(cast.ada.user)


@pytest.fixture
def nobody(database: None) -> Browser:
    """Not signed in."""
    return Browser()


@pytest.fixture
def trail() -> Any:
    """The audit entries of one action, oldest first."""
    from stillroom.core.tenancy import admin_tx
    from stillroom.tenants.models import AuditEntry

    def read(action: str) -> list[AuditEntry]:
        with admin_tx():
            return list(AuditEntry.objects.filter(action=action).order_by("id"))

    return read


@pytest.fixture
def history() -> Any:
    """A run's events, oldest first."""
    from stillroom.core.tenancy import admin_tx
    from stillroom.runs.models import RunEvent

    def read(run_id: str) -> list[RunEvent]:
        with admin_tx():
            return list(RunEvent.objects.filter(run_id=run_id).order_by("id"))

    return read


@pytest.fixture
def run_row() -> Any:
    """A run as it is stored now."""
    from stillroom.core.tenancy import admin_tx
    from stillroom.runs.models import Run

    def read(run_id: str) -> Run:
        with admin_tx():
            row: Run = Run.objects.get(id=run_id)
            return row

    return read
