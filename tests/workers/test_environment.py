"""No secret of the agent reaches a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.workers.conftest import Start
from workers.sandbox.environment import of_attempt, scrubbed

SECRETS = {
    "STILLROOM_NODE_TOKEN": "sr_node_secret",
    "STILLROOM_NODE_TOKEN_FILE": "/run/secrets/token",
    "STILLROOM_TOKEN": "sr_api_secret",
    "STILLROOM_SECRET_KEY": "k" * 32,
    "REDIS_URL": "redis://:secret@broker/0",
    "DATABASE_URL": "postgres://owner:secret@db/stillroom",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "HTTP_PROXY": "http://user:secret@proxy",
    "PYTHONSTARTUP": "/evil.py",
    "LD_PRELOAD": "/evil.so",
}


def test_only_what_is_allowed_is_passed() -> None:
    kept = scrubbed({**SECRETS, "PATH": "/bin", "LANG": "C", "LC_ALL": "C", "TPU_ACCELERATOR_TYPE": "v5litepod-8"})
    assert set(kept) - {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONSAFEPATH"} == {
        "PATH",
        "LANG",
        "LC_ALL",
        "TPU_ACCELERATOR_TYPE",
    }
    assert not [value for value in kept.values() if "secret" in value]


def test_a_run_finds_the_model_core_and_no_secret(start: Start) -> None:
    script = (
        "import json, os, sys, models_core; os.write(int(sys.argv[1]), json.dumps(dict(os.environ)).encode()); "
        "os.close(int(sys.argv[1]))"
    )
    before = dict(os.environ)
    os.environ.update(SECRETS)
    try:
        child = start(script)
    finally:
        os.environ.clear()
        os.environ.update(before)
    with os.fdopen(os.dup(child.events)) as stream:
        seen = json.load(stream)
    assert not set(seen) & set(SECRETS)
    assert "secret" not in json.dumps(seen)


def test_folders_of_an_attempt_are_its_own(tmp_path: Path) -> None:
    environment = of_attempt({"JAX_PLATFORMS": "cpu"}, home=tmp_path / "work", cache=tmp_path / "cache")
    assert environment == {
        "JAX_PLATFORMS": "cpu",
        "HOME": str(tmp_path / "work"),
        "TMPDIR": str(tmp_path / "work" / "tmp"),
        "STILLROOM_CACHE_DIR": str(tmp_path / "cache"),
    }


def test_the_agent_loads_no_array_library_and_nothing_of_the_server() -> None:
    script = (
        "import sys, workers.agent, workers.__main__\n"
        "heavy = {'jax', 'jaxlib', 'torch', 'numpy', 'optax', 'django.db', 'stillroom', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
