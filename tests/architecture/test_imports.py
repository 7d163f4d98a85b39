"""What may import what, and what the web process must never load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("jax", "jaxlib", "torch", "optax", "scipy", "sklearn", "tokenizers", "safetensors", "workers")


def python(code: str, *, without: str = "") -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != without}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=env, timeout=120)


def test_platform_is_the_standard_library() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    found = python("import platform; print(platform.__file__, platform.python_version())")
    assert found.returncode == 0, found.stderr
    assert str(ROOT) not in found.stdout


def test_the_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout


def test_the_web_process_loads_no_array_framework() -> None:
    found = python(
        "import sys, stillroom.config.asgi, stillroom.config.urls\n"
        "from stillroom.runs.catalog import recipes\n"
        "assert len(recipes()) >= 3 and all(recipe.schema() for recipe in recipes().values())\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert found.stdout.strip() == "[]", found.stderr


def test_the_agent_loads_no_platform_and_no_array_framework() -> None:
    # kombu itself looks for one small module of Django; what counts is that nothing sets it up.
    names = ("stillroom", "django.db", "django.apps", "jax", "torch")
    found = python(
        f"import sys, workers.app, workers.agent\nprint([name for name in {names!r} if name in sys.modules])"
    )
    assert found.stdout.strip() == "[]", found.stderr


def test_the_web_process_refuses_to_start_without_a_secret() -> None:
    found = python("import stillroom.config.asgi", without="STILLROOM_SECRET_KEY")
    assert found.returncode == 1
    assert "STILLROOM_SECRET_KEY is not set" in found.stderr
