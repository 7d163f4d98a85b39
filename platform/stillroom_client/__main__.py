"""The `stillroom` command: sign in, submit, look, follow, cancel."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from stillroom_client.client import TERMINAL_STATES, Client
from stillroom_client.credentials import (
    TOKEN_VARIABLE,
    URL_VARIABLE,
    Credentials,
    find_credentials,
    store_credentials,
)
from stillroom_client.errors import StillroomError
from stillroom_client.transport import Transport

REQUEST_FIELDS = frozenset(
    {"recipe", "spec", "seed", "name", "tags", "notes", "resources", "priority", "max_attempts", "parent"}
)
FOLLOW_S = 1.0


class UsageError(StillroomError):
    """What was typed cannot be done; the message says which part."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 the run did not succeed or the platform refused, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.do(options)
        return code
    except UsageError as error:
        print(f"stillroom: {error}", file=sys.stderr)
        return 2
    except StillroomError as error:
        print(f"stillroom: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stillroom", description="Submit and follow runs on a Stillroom platform.")
    commands = parser.add_subparsers(dest="command", required=True)

    login = commands.add_parser("login", help="remember a platform and a token")
    login.add_argument("--url", default=os.environ.get(URL_VARIABLE), help="address of the platform")
    login.add_argument("--token", help="API token; without it you are asked, or it is read from standard input")
    login.set_defaults(do=_login)

    run = commands.add_parser("run", help="submit a run")
    run.add_argument(
        "spec", metavar="SPEC.json", help='{"recipe", "spec", "seed", "name", ...}; - reads standard input'
    )
    run.add_argument("--project", required=True, metavar="ORG/PROJECT")
    run.add_argument("--seed", type=int, help="instead of the file's")
    run.add_argument("--name", help="instead of the file's")
    run.add_argument(
        "--wait", action="store_true", help="return when the run has ended; exit code 1 unless it succeeded"
    )
    run.set_defaults(do=_run)

    listing = commands.add_parser("ls", help="list the runs of a project")
    listing.add_argument("project", metavar="ORG/PROJECT")
    listing.add_argument("--state", action="append", type=str.upper, help="only this state; may be given again")
    listing.add_argument("-q", default=None, help="words looked for in name, id, recipe and tags")
    listing.add_argument("-n", type=int, default=20, help="how many (default 20)")
    listing.set_defaults(do=_ls)

    logs = commands.add_parser("logs", help="print a run's log")
    logs.add_argument("run", metavar="RUN")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    logs.set_defaults(do=_logs)

    cancel = commands.add_parser("cancel", help="stop a run for good")
    cancel.add_argument("run", metavar="RUN")
    cancel.set_defaults(do=_cancel)

    recipes = commands.add_parser("recipes", help="list what can be run")
    recipes.set_defaults(do=_recipes)
    return parser


def _login(options: argparse.Namespace) -> int:
    url = options.url or (input("Platform (https://...): ").strip() if sys.stdin.isatty() else "")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--url: {url or 'nothing'} is not an address; it starts with https://.")
    token = options.token or (getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline())
    if not token.strip():
        raise UsageError(f"--token: no token. Make one under Settings, Tokens on {url}.")
    credentials = Credentials(url.rstrip("/"), token.strip())
    me = Client(transport=Transport(credentials.url, credentials.token)).me()
    path = store_credentials(credentials)
    orgs = ", ".join(org["slug"] for org in me.get("orgs", [])) or "no organisation"
    print(f"Signed in to {credentials.url} as {me['user']['email']} ({orgs}). Stored in {path}.")
    if os.environ.get(TOKEN_VARIABLE):
        print(f"{TOKEN_VARIABLE} is set and will be used instead.", file=sys.stderr)
    return 0


def _run(options: argparse.Namespace) -> int:
    request = _read_request(options.spec)
    if options.seed is not None:
        request["seed"] = options.seed
    if options.name is not None:
        request["name"] = options.name
    client = _client()
    try:
        run = client.submit(options.project, request.pop("recipe"), request.pop("spec", {}), **request)
    except ValueError as error:
        raise UsageError(f"--project: {error}") from None
    print(run["id"])
    if not options.wait:
        return 0
    shown = ""

    def show(now: Mapping[str, Any]) -> None:
        nonlocal shown
        line = _status(now)
        if line != shown:
            print(line, file=sys.stderr)
            shown = line

    return 0 if client.wait(run["id"], each=show)["state"] == "SUCCEEDED" else 1


def _read_request(source: str) -> dict[str, Any]:
    try:
        request = json.loads(sys.stdin.read() if source == "-" else Path(source).read_text())
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror or error}.") from None
    except ValueError as error:
        raise UsageError(f"{source}: not JSON: {error}.") from None
    if not isinstance(request, dict):
        raise UsageError(f'{source}: expected an object like {{"recipe": "...", "spec": {{}}, "seed": 0}}.')
    unknown = sorted(set(request) - REQUEST_FIELDS)
    if unknown:
        raise UsageError(f"{source}: unknown field {unknown[0]}; there are {', '.join(sorted(REQUEST_FIELDS))}.")
    if not isinstance(request.get("recipe"), str):
        raise UsageError(f"{source}: recipe: the name of a recipe is required; `stillroom recipes` lists them.")
    if not isinstance(request.get("spec", {}), dict):
        raise UsageError(f"{source}: spec: expected an object.")
    return request


def _ls(options: argparse.Namespace) -> int:
    filters = {name: value for name, value in (("state", options.state), ("q", options.q)) if value}
    try:
        runs = list(_client().runs(options.project, limit=options.n, **filters))
    except ValueError as error:
        raise UsageError(f"project: {error}") from None
    rows = [("RUN", "STATE", "RECIPE", "SEED", "PROGRESS", "NAME")]
    for run in runs:
        rows.append(
            (run["id"], run["state"], run["recipe"] or "-", str(run["seed"]), _progress(run), run["name"] or "-")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(widths[column]) for column, cell in enumerate(row)).rstrip())
    return 0


def _logs(options: argparse.Namespace) -> int:
    client = _client()
    seen = -1
    cursor: str | None = None
    while True:
        ended = options.follow and client.get(options.run)["state"] in TERMINAL_STATES
        while True:
            page = client.log_page(options.run, cursor=cursor)
            for line in page["items"]:
                if line["n"] > seen:
                    seen = line["n"]
                    clock = _clock(line["time"])
                    print(f"{clock} {line['level']:<7} {line['message']}", flush=True)
            if not page.get("next_cursor"):
                break
            cursor = page["next_cursor"]
        if not options.follow or ended:
            return 0
        time.sleep(FOLLOW_S)


def _cancel(options: argparse.Namespace) -> int:
    print(_status(_client().cancel(options.run)))
    return 0


def _recipes(options: argparse.Namespace) -> int:
    for recipe in _client().recipes():
        print(f"{recipe['name']:<24} {recipe['family']:<14} {recipe['title']}")
    return 0


def _client() -> Client:
    found = find_credentials()
    return Client(transport=Transport(found.url, found.token, user_agent="stillroom-cli"))


def _status(run: Mapping[str, Any]) -> str:
    parts = [str(run["state"]).lower(), _progress(run)]
    waiting, reason = run.get("waiting"), run.get("reason")
    if waiting:
        parts.append(str(waiting["message"]))
    if reason:
        parts.append(str(reason["message"]))
    return "  ".join(part for part in parts if part and part != "-")


def _progress(run: Mapping[str, Any]) -> str:
    progress = run.get("progress")
    return f"{progress['step']}/{progress['total']}" if progress else "-"


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%H:%M:%S")


if __name__ == "__main__":
    sys.exit(main())
