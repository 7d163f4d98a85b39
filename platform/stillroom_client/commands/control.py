"""cancel, pause, resume, retry: the same for one run or many."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from stillroom_client.client import Client
from stillroom_client.commands.requests import client
from stillroom_client.commands.terminal import show_json, status
from stillroom_client.errors import ApiError

VERBS: dict[str, tuple[str, Callable[[Client, str], dict[str, Any]]]] = {
    "cancel": ("stop runs for good; each saves a last checkpoint", lambda platform, run: platform.cancel(run)),
    "pause": ("hold runs; each saves a checkpoint and can be resumed", lambda platform, run: platform.pause(run)),
    "resume": ("release held runs into the queue", lambda platform, run: platform.resume(run)),
    "retry": ("submit ended runs again: same spec, same seed", lambda platform, run: platform.retry(run)),
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    for verb, (meaning, _) in VERBS.items():
        parser = commands.add_parser(verb, parents=[common], help=meaning)
        parser.add_argument("run", metavar="RUN", nargs="+")
        parser.set_defaults(do=_control, verb=verb)


def _control(options: argparse.Namespace) -> int:
    platform, (_, act) = client(), VERBS[options.verb]
    done, failed = [], 0
    for run in options.run:
        try:
            answer = act(platform, run)
        except ApiError as error:
            failed = 1
            print(f"stillroom: {run}: {error}", file=sys.stderr)
            continue
        done.append(answer)
        if not options.json:
            print(f"{answer['id']}  {status(answer)}")
    if options.json:
        show_json(done)
    return failed
