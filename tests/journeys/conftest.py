"""One installation for all journeys of a test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.platform import Platform, platform


@pytest.fixture(scope="session")
def installation() -> Iterator[Platform]:
    """The whole platform, started by its own command."""
    with platform() as found:
        yield found
