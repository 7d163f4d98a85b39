"""Files that follow from others are up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from stillroom.config.reference import env_example, settings_page

ROOT = Path(__file__).resolve().parents[2]


def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ, timeout=120
    )


def test_no_migration_is_missing() -> None:
    found = manage(
        "makemigrations",
        "--check",
        "--dry-run",
        "accounts",
        "tenants",
        "runs",
        "scheduling",
        "telemetry",
        "boards",
        "alerts",
        "mlflow",
    )
    assert found.returncode == 0, found.stdout


def test_the_api_description_is_fresh() -> None:
    assert manage("openapi", "--check").returncode == 0


def test_the_settings_pages_are_fresh() -> None:
    assert (ROOT / ".env.example").read_text() == env_example()
    assert (ROOT / "docs/reference/settings.md").read_text() == settings_page()


def test_lock_files_name_no_host() -> None:
    for path in ROOT.glob("requirements/*.txt"):
        assert "://" not in path.read_text(), path.name
    assert '"resolved"' not in (ROOT / "frontend/package-lock.json").read_text()


def test_the_tree_holds_no_secret_and_no_pickle() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    secret = re.compile(r"sr_(api|node)_[0-9A-Z]{10}_[\w-]{43}|-----BEGIN [A-Z ]*PRIVATE KEY")
    for name in files:
        path = ROOT / name
        if path.suffix in (".py", ".ts", ".tsx", ".md", ".yml", ".toml", ".json", ".txt") and path.is_file():
            text = path.read_text()
            assert not secret.search(text), name
            if path.suffix == ".py" and not name.startswith("tests/"):
                assert not re.search(r"^\s*(import pickle|from pickle)", text, re.M), name
