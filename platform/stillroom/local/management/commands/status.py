"""Says what runs on this machine. Exit code 0: running, 3: not running (as service managers have it)."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from stillroom.config.env import read
from stillroom.local.control import status
from stillroom.local.home import Home

NOT_RUNNING = 3


class Command(BaseCommand):
    help = "Show what Stillroom runs on this machine."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        found = status(Home(read().home))
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        else:
            _show(found)
        sys.exit(0 if found["running"] else NOT_RUNNING)


def _show(found: dict[str, Any]) -> None:
    console = Console()
    if not found["running"]:
        console.print("Stillroom is not running. Start it with `make up`.", highlight=False)
        return
    console.print(f"Stillroom is {found['phase']} at {found['url']}", highlight=False)
    table = Table("process", "state", "pid", "up (s)", "restarts", "memory (MB)", box=None)
    for process in found["processes"]:
        memory = process["memory_bytes"]
        cells = (process["pid"], process["uptime_s"], process["restarts"], memory and round(memory / 1e6))
        table.add_row(process["name"], process["state"], *("" if cell is None else str(cell) for cell in cells))
    console.print(table)
