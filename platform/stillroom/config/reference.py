"""Renders the settings of `Env` as `.env.example` and as a reference page."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from stillroom.config.env import REPOSITORY, Env

# Read by others than the web side: (variable, default, meaning).
NODE = (
    ("STILLROOM_URL", "", "Address of the platform."),
    ("STILLROOM_NODE_TOKEN", "", "The node's token from `manage.py node NAME`; or STILLROOM_NODE_TOKEN_FILE."),
    ("STILLROOM_NODE_NAME", "", "Name of the node's folder; the host name when empty."),
    ("STILLROOM_NODE_SLOTS", "", "CPU slots; one a core on a machine without accelerators, otherwise none."),
    ("STILLROOM_SPARES", "1", "Interpreters kept warm, so that a run starts at once."),
    ("STILLROOM_RUN_USER", "", "Account that runs become, when the agent is root."),
    ("STILLROOM_RUN_MEMORY_BYTES", "", "Address space of one run; no limit when empty."),
)
COMPOSE = (
    ("POSTGRES_PASSWORD", "", "Required. Only letters, digits, '-' and '_': it becomes part of a URL."),
    ("VALKEY_PASSWORD", "", "Required, of the same characters."),
    ("STILLROOM_HOST", "localhost", "Host name that the reverse proxy answers to."),
    ("STILLROOM_BIND", "127.0.0.1", "Address on which the web container's port is published."),
    ("STILLROOM_EDGE_SUBNET", "10.89.64.0/24", "Network between proxy and web."),
    ("STILLROOM_VERSION", "local", "Tag of the images."),
)


def env_example() -> str:
    """Every variable, commented out, with its default."""
    lines = ["# Every setting with its default. Copy to .env and change what you need.", ""]
    for item in fields(Env):
        lines += [f"# {item.metadata['help']}", f"#{item.metadata['name']}={_default(item)}", ""]
    for title, group in (("A node's agent.", NODE), ("docker-compose.yml alone.", COMPOSE)):
        lines += [f"# --- {title}", ""]
        for name, default, meaning in group:
            lines += [f"# {meaning}", f"#{name}={default}", ""]
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
    for title, group in (("A node's agent", NODE), ("docker-compose.yml", COMPOSE)):
        rows += ["", f"## {title}", "", "| variable | default | meaning |", "|---|---|---|"]
        rows += [f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |" for name, default, meaning in group]
    return "\n".join([*head, *rows]) + "\n"


def _default(item: Field[Any]) -> str:
    value = "" if item.default is MISSING or item.default is None else item.default
    if isinstance(value, Path):
        return str(value.relative_to(REPOSITORY))
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(value) if isinstance(value, tuple) else str(value)
