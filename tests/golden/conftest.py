"""`pytest tests/golden --regenerate-golden` writes the files anew; review them as a diff."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write the golden files instead of comparing")


@pytest.fixture
def regenerate(pytestconfig: pytest.Config) -> bool:
    # The option exists only when this folder is named on the command line.
    return bool(pytestconfig.getoption("--regenerate-golden", default=False))
