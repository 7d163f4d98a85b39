"""report, leaderboard, scores."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Optional

from stillroom_client.client import Client
from stillroom_client.commands.requests import client
from stillroom_client.commands.terminal import clean, number, show_json, show_table


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    report = commands.add_parser("report", parents=[common], help="what a study found, arm by arm")
    report.add_argument("study", metavar="STUDY")
    report.add_argument("--metric", metavar="KEY", default="", help="default: the template's, else the recipe's first")
    report.add_argument("--baseline", metavar="ARM", default="", help="default: the template's, else the first arm")
    report.add_argument(
        "--reduce", choices=("last", "min", "max"), default="last", help="which value of a run counts; default last"
    )
    report.set_defaults(do=_report)
    board = commands.add_parser("leaderboard", parents=[common], help="rank the entries of a leaderboard, or list all")
    board.add_argument("board", metavar="BOARD", nargs="?", help="its id; without it the leaderboards are listed")
    board.set_defaults(do=_leaderboard)
    scores = commands.add_parser(
        "scores", parents=[common], help="score methods over several leaderboards by the time to their targets"
    )
    scores.add_argument("board", metavar="BOARD", nargs="+", help="ids of leaderboards with a target")
    scores.add_argument("--by", metavar="PATH", help="what tells methods apart in a spec; default optimizer.kind")
    scores.add_argument("--against", metavar="METHOD", help="give the speed-up over this one")
    scores.set_defaults(do=_scores)


def _report(options: argparse.Namespace) -> int:
    found = client().report(options.study, metric=options.metric, baseline=options.baseline, reduce=options.reduce)
    if options.json:
        show_json(found)
        return 0
    better = {"min": ", lower is better", "max": ", higher is better"}.get(found["goal"] or "", "")
    print(
        f"{clean(found['name'])}: {found['reduce']} {clean(found['metric'])} {clean(found['unit'])}".rstrip(" -")
        + better
    )
    rows = [
        (
            arm["name"] or found["name"],
            _mean(arm["mean"]),
            "baseline" if arm["name"] == found["baseline"] else _mean(arm["difference"]),
            len(arm["values"]),
            arm["failed"],
            arm["unfinished"],
        )
        for arm in found["arms"]
    ]
    show_table(("ARM", "MEAN ± 95 %", "MINUS BASELINE", "SEEDS", "FAILED", "UNFINISHED"), rows)
    return 0


def _leaderboard(options: argparse.Namespace) -> int:
    platform = client()
    if options.board is None:
        return _list(platform, options.json)
    board = platform.leaderboard(options.board)
    if options.json:
        show_json(board)
        return 0
    target = "" if board["target"] is None else f", target {number(board['target'])}"
    print(f"{clean(board['name'])}, version {board['version']}: {board['reduce']} {board['metric']}{target}")
    aims = () if board["target"] is None else ("REACHED", "STEPS TO TARGET")
    rows = [
        (
            "-".join(dict.fromkeys(str(place) for place in entry["rank"] or ())),
            entry["label"],
            _around(entry["mean"], _half(entry)),
            f"{entry['n']}/{board['seeds']}",
            *((f"{entry['reached']}/{entry['n']}", _mean(entry["steps_to_target"])) if aims else ()),
            *(_mean(entry["columns"][key]) for key in board["columns"]),
        )
        for entry in board["entries"]
    ]
    show_table(("RANK", "ENTRY", f"{board['metric']} ± 95 %", "SEEDS", *aims, *board["columns"]), rows)
    return 0


def _list(platform: Client, as_json: bool) -> int:
    boards = [board for org in platform.me()["orgs"] for board in platform.leaderboards(org["slug"])]
    if as_json:
        show_json(boards)
        return 0
    rows = [
        (board["id"], board["recipe"], board["metric"], number(board["target"]), board["version"], board["name"])
        for board in boards
    ]
    show_table(("BOARD", "RECIPE", "METRIC", "TARGET", "VERSION", "NAME"), rows)
    return 0


def _scores(options: argparse.Namespace) -> int:
    found = client().scores(options.board, method=options.by, reference=options.against)
    if options.json:
        show_json(found)
        return 0
    rows = [
        (
            row["method"],
            f"{row['score']:.3f}",
            *((_times(row["speedup"]),) if options.against else ()),
            *(_steps(workload["methods"].get(row["method"])) for workload in found["workloads"]),
        )
        for row in found["methods"]
    ]
    against = ("SPEED-UP",) if options.against else ()
    names = (f"{clean(workload['name'])} (steps)" for workload in found["workloads"])
    show_table(("METHOD", "SCORE", *against, *names), rows)
    return 0


def _half(entry: Mapping[str, Any]) -> Optional[float]:
    return None if entry["lo"] is None else float(entry["hi"] - entry["lo"]) / 2


def _around(mean: Optional[float], half: Optional[float]) -> str:
    return number(mean) if half is None else f"{number(mean)} ± {half:.2g}"


def _mean(found: Optional[Mapping[str, Any]]) -> str:
    return "-" if found is None else _around(found["mean"], found["half_width"])


def _steps(found: Optional[Mapping[str, Any]]) -> str:
    if found is None or found["studies"] == 0:
        return "not run"
    return "not reached" if found["steps"] is None else number(found["steps"])


def _times(speedup: Optional[float]) -> str:
    return "-" if speedup is None else f"{speedup:.2f}x"
