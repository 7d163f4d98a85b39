"""node: list the machines that execute runs, or make this one of them."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from stillroom_client.commands.requests import client
from stillroom_client.commands.terminal import UsageError, show_json, show_table
from stillroom_client.credentials import find_credentials


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    node = commands.add_parser("node", help="machines that execute runs")
    verbs = node.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("ls", parents=[common], help="list them")
    listing.set_defaults(do=_ls)
    attach = verbs.add_parser("attach", parents=[common], help="make this machine a node; runs until stopped")
    attach.add_argument("--url", help="address of the platform; default the one you are signed in to")
    attach.add_argument(
        "--token-file", metavar="FILE", help="the node's token from the console; default STILLROOM_NODE_TOKEN[_FILE]"
    )
    attach.add_argument("--redis-url", metavar="URL", help="broker that wakes nodes; default REDIS_URL")
    attach.set_defaults(do=_attach)


def _ls(options: argparse.Namespace) -> int:
    nodes = client().transport.call("GET", "/nodes").data["items"]
    if options.json:
        show_json(nodes)
        return 0
    rows = [
        (one["name"], one["status"], ", ".join(sorted({device["kind"] for device in one.get("devices", [])})))
        for one in nodes
    ]
    show_table(("NODE", "STATUS", "KINDS"), rows)
    return 0


def _attach(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("workers") is None:
        raise UsageError("node attach: the agent is not installed here. Install stillroom[node].")
    env = dict(os.environ)
    env["STILLROOM_URL"] = options.url or env.get("STILLROOM_URL") or find_credentials().url
    env.pop("STILLROOM_TOKEN", None)  # the agent has a token of its own; a person's has no place in it
    if options.token_file:
        if not Path(options.token_file).is_file():
            raise UsageError(f"--token-file: {options.token_file}: there is no such file.")
        env["STILLROOM_NODE_TOKEN_FILE"] = options.token_file
    elif not env.get("STILLROOM_NODE_TOKEN") and not env.get("STILLROOM_NODE_TOKEN_FILE"):
        raise UsageError("--token-file: a node needs a token; the console's Nodes page makes one.")
    if options.redis_url:
        env["REDIS_URL"] = options.redis_url
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "workers"], env)
