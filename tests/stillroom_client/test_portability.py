"""The client runs where people's scripts run: older interpreters, few dependencies."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import stillroom_client

PACKAGE = Path(stillroom_client.__file__).parent
OLDEST = (3, 9)


def test_every_file_is_valid_for_the_oldest_python() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=OLDEST)
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        assert imports, f"{path.name} needs `from __future__ import annotations` for its annotations"


def test_it_loads_nothing_but_httpx_and_msgpack() -> None:
    script = (
        "import sys, stillroom_client, stillroom_client.agent, stillroom_client.__main__\n"
        "heavy = {'django', 'stillroom', 'workers', 'models_core', 'celery', 'pydantic', 'numpy', 'jax', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert found.stdout.strip() == "[]"
