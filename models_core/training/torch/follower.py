"""A process that computes its part of every batch for the run that started it; see `training.torch.team`.

python -m models_core.training.torch.follower     the order is one line of JSON on standard input
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from models_core import optim
from models_core.training.torch.backend import prepare
from models_core.training.torch.language_model import build_loop, placed
from models_core.training.torch.team import Team, Word


def main(order: Mapping[str, Any]) -> NoReturn:
    """Follow until standard input ends."""
    prepare(None)
    team = Team(order["rank"], order["size"], order["shards"], Path(order["store"]), order["threads"])
    optimizer = optim.optimizers()[order["optimizer"]["kind"]].parse(order["optimizer"])
    loop = build_loop(order, optimizer, team.device, team)
    while True:
        word, arrays = team.hear()
        match word:
            case Word.RESTORE:
                loop.restore(arrays)
            case Word.STEP:
                loop.step(placed(arrays, team.device, team))
            case Word.GATHER:
                if team.rank < team.shards:
                    team.report(loop.optimizer_arrays())


def _leave_with_the_leader() -> None:
    # Not through a buffered reader, whose lock the interpreter's end would wait for.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    line = sys.stdin.buffer.readline()
    # A run that is asked to stop still needs the others to save what they hold.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_leader, daemon=True).start()
    main(json.loads(line))
