"""ls, show, logs, watch."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from stillroom_client.client import TERMINAL_STATES, Client
from stillroom_client.commands.requests import client, project_of
from stillroom_client.commands.terminal import (
    UsageError,
    chart,
    clean,
    clock,
    moment,
    number,
    progress,
    show_json,
    show_table,
    size,
    status,
    width,
)
from stillroom_client.start import PROJECT_VARIABLE

FOLLOW_S = 1.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    listing = commands.add_parser("ls", parents=[common], help="list the runs of a project, or your projects")
    listing.add_argument(
        "project", metavar="ORG/PROJECT", nargs="?", help="default STILLROOM_PROJECT; without either: projects"
    )
    listing.add_argument("--state", action="append", type=str.upper, help="only this state; may be given again")
    listing.add_argument("-q", default=None, help="what to look for: name, id, recipe, tags")
    listing.add_argument("--metric", action="append", default=[], metavar="KEY", help="a column with its last value")
    listing.add_argument("--sort", help="for example -created_at, name, metric:eval/loss")
    listing.add_argument("-n", type=int, default=20, help="how many (default 20)")
    listing.set_defaults(do=_ls)
    show = commands.add_parser("show", parents=[common], help="everything about one run")
    show.add_argument("run", metavar="RUN")
    show.set_defaults(do=_show)
    logs = commands.add_parser("logs", parents=[common], help="print a run's log")
    logs.add_argument("run", metavar="RUN")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    logs.set_defaults(do=_logs)
    watch = commands.add_parser("watch", parents=[common], help="live charts in the terminal")
    watch.add_argument("run", metavar="RUN", nargs="+")
    watch.add_argument("--metric", action="append", default=[], metavar="KEY", help="which; default the first four")
    watch.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="default 2")
    watch.add_argument("--once", action="store_true", help="draw once and return")
    watch.set_defaults(do=_watch)


def _ls(options: argparse.Namespace) -> int:
    platform = client()
    if not options.project and not os.environ.get(PROJECT_VARIABLE):
        return _projects(platform, options.json)
    project = project_of(options, "project")
    filters = {"state": options.state, "q": options.q, "sort": options.sort, "columns": ",".join(options.metric)}
    if options.n < 1:
        raise UsageError("-n: at least 1.")
    runs = list(platform.runs(project, limit=options.n, **{name: value for name, value in filters.items() if value}))
    if options.json:
        show_json(runs)
        return 0
    rows = []
    for run in runs:
        seed = "-" if run.get("external") else str(run["seed"])
        metrics = [_last(run, key) for key in options.metric]
        recipe = "external" if run.get("external") else run["recipe"]
        rows.append((run["id"], run["state"], recipe, seed, progress(run), *metrics, run["name"]))
    show_table(("RUN", "STATE", "RECIPE", "SEED", "PROGRESS", *options.metric, "NAME"), rows)
    return 0


def _projects(platform: Client, as_json: bool) -> int:
    found = [
        {"org": org["slug"], **project} for org in platform.me()["orgs"] for project in platform.projects(org["slug"])
    ]
    if as_json:
        show_json(found)
        return 0
    rows = [(f"{one['org']}/{one['slug']}", one["runs"], one["active"], one["name"]) for one in found]
    show_table(("PROJECT", "RUNS", "ACTIVE", "NAME"), rows)
    return 0


def _last(run: Mapping[str, Any], key: str) -> str:
    summary = run.get("metrics", {}).get(key)
    return number(summary["last"]) if summary else "-"


def _show(options: argparse.Namespace) -> int:
    platform = client()
    run = platform.get(options.run)
    files = platform.artifacts(options.run)
    if options.json:
        show_json({**run, "artifacts": files})
        return 0
    print(f"{run['id']}  {clean(run['name'])}")
    print(f"  {status(run)}")
    about = {
        "project": f"{run['org']}/{run['project']}",
        "recipe": "external" if run["external"] else f"{run['recipe']} {run['recipe_version']}, seed {run['seed']}",
        "created": f"{moment(run['created_at'])} by {run['created_by'] or '-'}",
        "ran": f"{moment(run['started_at'])} to {moment(run['ended_at'])}",
        "attempt": f"{run['attempt']} of {run['max_attempts']}" + (f" on {run['node']}" if run["node"] else ""),
        "tags": ", ".join(f"{key}={value}" if value else key for key, value in run["tags"].items()),
        "parent": run["parent"],
        "notes": run["notes"],
    }
    for name, value in about.items():
        if value:
            print(f"  {name + ':':<10}{clean(value)}")
    if run["spec"]:
        print("\nConfiguration")
        for path, value in _flat(run["spec"]):
            print(f"  {clean(path)} = {clean(value)}")
    if run["metrics"]:
        print()
        rows = [
            (key, number(one["last"]), number(one["min"]), number(one["max"]), one["last_step"], one["n"])
            for key, one in sorted(run["metrics"].items())
        ]
        show_table(("METRIC", "LAST", "MIN", "MAX", "STEP", "POINTS"), rows)
    if files:
        print()
        show_table(
            ("FILE", "SIZE", "SHA-256"), [(one["path"], size(one["size_bytes"]), one["sha256"][:12]) for one in files]
        )
    return 0


def _flat(spec: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(spec, dict) or not spec:
        return [(prefix, spec)]
    return [pair for key, inner in spec.items() for pair in _flat(inner, f"{prefix}.{key}" if prefix else str(key))]


def _logs(options: argparse.Namespace) -> int:
    platform = client()
    if options.follow:
        follow_log(platform, options.run, as_json=options.json)
    else:
        _new_lines(platform, options.run, None, -1, options.json)
    return 0


def follow_log(platform: Client, run: str, *, as_json: bool = False) -> dict[str, Any]:
    """Print the log until the run has ended; the run as it is then."""
    seen, cursor = -1, None
    while True:
        now = platform.get(run)
        cursor, seen = _new_lines(platform, run, cursor, seen, as_json)
        if now["state"] in TERMINAL_STATES:
            return now
        time.sleep(FOLLOW_S)


def _new_lines(
    platform: Client, run: str, cursor: Optional[str], seen: int, as_json: bool
) -> tuple[Optional[str], int]:
    while True:
        page = platform.log_page(run, cursor=cursor)
        for line in page["items"]:
            if line["n"] > seen:
                seen = line["n"]
                _print_line(line, as_json)
        if not page.get("next_cursor"):
            return cursor, seen
        cursor = page["next_cursor"]


def _print_line(line: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(line, ensure_ascii=False), flush=True)
    else:
        print(f"{clock(line['time'])} {line['level']:<7} {line['message']}", flush=True)


def _watch(options: argparse.Namespace) -> int:
    if not options.every > 0 or not math.isfinite(options.every):
        raise UsageError("--every: more than 0 seconds.")
    platform = client()
    live = sys.stdout.isatty() and not options.once and not options.json
    while True:
        runs = [platform.get(run) for run in options.run]
        keys = options.metric or _first_keys(runs)
        found = {run["id"]: platform.metrics(run["id"], keys, max_points=4 * width()) for run in runs}
        if options.json:
            show_json([{**run, "points": found[run["id"]]} for run in runs])
        else:
            lines = _frame(runs, keys, found)
            print(("\x1b[2J\x1b[H" if live else "") + "\n".join(lines), flush=True)
        if options.once or options.json or all(run["state"] in TERMINAL_STATES for run in runs):
            return 0
        time.sleep(options.every)


def _first_keys(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = {key for run in runs for key in run["metrics"]}
    return sorted(keys, key=lambda key: (key.startswith("system/"), key))[:4]


def _frame(runs: Sequence[Mapping[str, Any]], keys: Sequence[str], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for run in runs:
        lines.append(f"{run['id']}  {clean(run['name'])}  {status(run)}")
        for key in keys:
            columns = found[run["id"]].get(key)
            if columns and columns["x"]:
                last = number(columns["value"][-1])
                lines += ["", f"{clean(key)}: {last} at step {number(columns['x'][-1])}"]
                lines += chart(columns["x"], columns["value"], columns=width(), rows=6)
        if not run["metrics"]:
            lines.append("  nothing logged yet")
        lines.append("")
    return lines
