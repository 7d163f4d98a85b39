"""The command line of the model core: `catalog`, `run`, and `warm` for spare interpreters."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from models_core import catalog
from models_core.errors import SpecInvalid
from models_core.runner import ExitCode, Stop, execute, refuse
from models_core.sinks import LineSink, Sink, TextSink


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do what it says; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "catalog":
        return _catalog(as_json=options.json)
    sink, stop = _sink(options.events_fd), Stop()
    if options.command == "warm":
        from models_core.warm import serve

        return serve(sys.stdin.buffer, sink, stop, cache_dir=options.cache_dir)
    stop.listen()
    try:
        payload = _read(options.spec)
    except (OSError, ValueError) as error:
        return refuse(SpecInvalid(f"{options.spec} cannot be read as JSON: {error}"), sink)
    return execute(
        payload,
        sink=sink,
        stop=stop,
        workdir=options.workdir,
        resume=options.resume,
        cache_dir=options.cache_dir,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("catalog", help="list the recipes")
    listing.add_argument("--json", action="store_true", help="with schemas, examples and metrics")
    running = commands.add_parser("run", help="run a recipe")
    running.add_argument("spec", help='a file with {"recipe", "spec", "seed"}, or - for standard input')
    running.add_argument("--workdir", type=Path, help="folder for artifacts and checkpoints")
    running.add_argument("--resume", type=Path, help="checkpoint folder to continue from")
    warm = commands.add_parser("warm", help="import everything, then run the request read from standard input")
    for command in (running, warm):
        command.add_argument("--events-fd", type=int, help="write events as JSON lines to this file descriptor")
        command.add_argument("--cache-dir", help="folder for compiled code that runs share")
    return parser


def _sink(descriptor: int | None) -> Sink:
    return TextSink(sys.stdout) if descriptor is None else LineSink(descriptor)


def _read(source: str) -> Any:
    return json.loads(sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes())


def _catalog(*, as_json: bool) -> int:
    entries = [_entry(recipe) for recipe in catalog.recipes().values()]
    if as_json:
        print(json.dumps(entries, indent=1))
        return ExitCode.SUCCEEDED
    for entry in entries:
        costs = ", ".join(f"{example['title']} ({example['cost_s']:g} s)" for example in entry["examples"])
        print(f"{entry['name']} {entry['version']}  {entry['title']}\n    examples: {costs}")
    return ExitCode.SUCCEEDED


def _entry(recipe: catalog.Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "version": recipe.version,
        "title": recipe.title,
        "description": recipe.description,
        "family": recipe.family,
        "schema": recipe.schema(),
        "examples": [
            {"title": example.title, "spec": example.spec.model_dump(mode="json"), "cost_s": example.cost_s}
            for example in recipe.examples
        ],
        "metrics": [
            {"key": info.key, "unit": info.unit, "goal": info.goal, "help": info.help, "primary": info.primary}
            for info in recipe.metrics
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
