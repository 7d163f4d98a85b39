"""Renders the parser as docs/reference/command-line.md: `python -m stillroom_client.commands.reference > FILE`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

INTRODUCTION = """\
# The `stillroom` command

Every command takes `-h`, and `--json` prints what the platform answered, for programs. Lists are tables with two spaces
between columns. Errors go to standard error, name the field, and never show a traceback.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the platform refused, or the run did not succeed |
| 2 | wrong usage: the message names the argument |
| 3 | the platform does not answer |
| 130 | interrupted |

| variable | meaning |
|---|---|
| `STILLROOM_URL`, `STILLROOM_TOKEN` | platform and token; they win over what `stillroom login` stored (mode 600) |
| `STILLROOM_PROJECT` | the project when none is given, `org/project` |
| `STILLROOM_DIR` | where scripts keep what is not sent yet; `~/.local/state/stillroom/runs` when unset |
| `STILLROOM_MODE` | `online`, `offline` or `disabled`, for `stillroom_client.init` |
"""


def page(top: argparse.ArgumentParser) -> str:
    """The reference page of a parser."""
    parts = [INTRODUCTION]
    for name, meaning, parser in leaves(top):
        parts.append(f"## {name}\n\n{meaning[0].upper()}{meaning[1:]}.\n")
        rows = [_row(action) for action in parser._actions if action.dest not in ("help", "json")]
        if rows:
            parts.append("| argument | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Every command that does something: its whole name, its one-line help, its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            meanings = {choice.dest: str(choice.help) for choice in action._choices_actions}
            for name, inner in action.choices.items():
                below = list(leaves(inner))
                if below:
                    yield from below
                else:
                    yield inner.prog, meanings[name], inner


def _row(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    if action.option_strings:
        name = ", ".join(f"`{option}`" for option in action.option_strings)
        if action.choices is not None:
            shown = "|".join(str(choice) for choice in action.choices)
        argument = name if action.nargs == 0 else f"{name} `{shown}`"
    else:
        argument = f"`{shown}`" + ("..." if action.nargs == "+" else " (optional)" if action.nargs == "?" else "")
    cells = [cell.replace("|", "\\|") for cell in (argument, action.help or "")]
    return f"| {cells[0]} | {cells[1]} |"


if __name__ == "__main__":
    from stillroom_client.__main__ import parser as whole

    print(page(whole()), end="")
