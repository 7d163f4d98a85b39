"""Renders the settings of `Env` as `.env.example` and as a reference page."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from stillroom.config.env import REPOSITORY, Env


def env_example() -> str:
    """Every variable, commented out, with its default."""
    lines = ["# Every setting with its default. Copy to .env and change what you need.", ""]
    for item in fields(Env):
        lines += [f"# {item.metadata['help']}", f"#{item.metadata['name']}={_default(item)}", ""]
    return "\n".join(lines)


def settings_page() -> str:
    """The same as a table."""
    rows = []
    for item in fields(Env):
        default = f"`{_default(item)}`" if _default(item) else ""
        rows.append(f"| `{item.metadata['name']}` | {default} | {item.metadata['help']} |")
    head = [
        "# Settings",
        "",
        "Read from the environment by `stillroom.config.env`; a malformed value stops the start and is named.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _default(item: Field[Any]) -> str:
    value = "" if item.default is MISSING or item.default is None else item.default
    if isinstance(value, Path):
        return str(value.relative_to(REPOSITORY))
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(value) if isinstance(value, tuple) else str(value)
