"""The `stillroom` command: what it stores, what it prints, how it fails."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillroom_client.__main__ import main
from stillroom_client.credentials import credentials_path
from tests.stillroom_client.faulty_server import Answer, FaultyServer, refuse, reply, serving

ME = {"user": {"email": "alice@example.org"}, "via": "token", "orgs": [{"slug": "demo"}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyServer]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STILLROOM_URL", raising=False)
    monkeypatch.delenv("STILLROOM_TOKEN", raising=False)
    with serving() as running:
        yield running


@pytest.fixture
def signed_in(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> FaultyServer:
    monkeypatch.setenv("STILLROOM_URL", server.url)
    monkeypatch.setenv("STILLROOM_TOKEN", "sr_api_env")
    return server


def spec_file(folder: Path, request: object) -> str:
    path = folder / "spec.json"
    path.write_text(json.dumps(request))
    return str(path)


def test_login_checks_the_token_and_stores_it_for_its_owner_only(
    server: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [reply(ME)]
    assert main(["login", "--url", server.url, "--token", "sr_api_1"]) == 0
    assert stat.S_IMODE(credentials_path().stat().st_mode) == 0o600
    assert "alice@example.org" in capsys.readouterr().out
    server.answers = [reply({"items": [], "next_cursor": None})]
    assert main(["recipes"]) == 0
    assert server.asked[-1].headers["Authorization"] == "Bearer sr_api_1"


def test_a_refused_token_is_not_stored(server: FaultyServer) -> None:
    server.answers = [refuse(401, "token.unknown")]
    assert main(["login", "--url", server.url, "--token", "nonsense"]) == 1
    assert not credentials_path().exists()


def test_the_token_can_come_from_standard_input(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sr_api_piped\n"))
    server.answers = [reply(ME)]
    assert main(["login", "--url", server.url]) == 0
    assert json.loads(credentials_path().read_text())["token"] == "sr_api_piped"


def test_the_environment_wins_over_what_is_stored(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.otherwise = lambda asked: reply(ME if asked.path.endswith("/me") else {"items": [], "next_cursor": None})
    main(["login", "--url", server.url, "--token", "sr_api_stored"])
    monkeypatch.setenv("STILLROOM_TOKEN", "sr_api_env")
    assert main(["recipes"]) == 0
    assert server.asked[-1].headers["Authorization"] == "Bearer sr_api_env"


def test_a_stored_token_is_never_sent_to_another_address(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [reply(ME)]
    main(["login", "--url", server.url, "--token", "sr_api_1"])
    with serving() as stranger:
        monkeypatch.setenv("STILLROOM_URL", stranger.url)
        assert main(["recipes"]) == 1
    assert stranger.asked == []
    assert "stillroom login" in capsys.readouterr().err


def test_without_a_platform_it_says_what_to_do(server: FaultyServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 1
    assert "stillroom login" in capsys.readouterr().err


def test_run_submits_and_prints_the_id(
    signed_in: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_in.answers = [reply({"id": "r_1"}, 201)]
    path = spec_file(tmp_path, {"recipe": "distillation", "spec": {"steps": 3}, "seed": 1, "tags": {"a": "b"}})
    assert main(["run", path, "--project", "demo/first", "--seed", "9"]) == 0
    assert capsys.readouterr().out == "r_1\n"
    assert json.loads(signed_in.asked[0].body) == {
        "recipe": "distillation",
        "spec": {"steps": 3},
        "seed": 9,
        "tags": {"a": "b"},
    }


def test_run_and_wait_fails_when_the_run_fails(
    signed_in: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"id": "r_1", "state": "FAILED", "reason": {"code": "training.non_finite", "message": "The loss is NaN."}}
    signed_in.answers = [reply({"id": "r_1"}, 201), reply(failed)]
    path = spec_file(tmp_path, {"recipe": "distillation"})
    assert main(["run", path, "--project", "demo/first", "--wait"]) == 1
    assert "The loss is NaN." in capsys.readouterr().err


def test_a_refused_spec_prints_the_place(
    signed_in: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_in.answers = [refuse(422, "spec.invalid", fields={"spec.optimizer.lr": "At most 1."})]
    assert main(["run", spec_file(tmp_path, {"recipe": "distillation"}), "--project", "demo/first"]) == 1
    assert "spec.optimizer.lr: At most 1." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ({"recipe": "a", "sede": 1}, "sede"),
        ({"spec": {}}, "recipe"),
        ({"recipe": "a", "spec": []}, "spec"),
        ([], "object"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(
    signed_in: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], request_: object, place: str
) -> None:
    assert main(["run", spec_file(tmp_path, request_), "--project", "demo/first"]) == 2
    message = capsys.readouterr().err
    assert "spec.json" in message
    assert place in message
    assert signed_in.asked == []


def test_a_wrong_project_is_a_usage_error(
    signed_in: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", spec_file(tmp_path, {"recipe": "a"}), "--project", "demo"]) == 2
    assert "--project" in capsys.readouterr().err


def test_logs_follow_to_the_end_without_repeating_a_line(
    signed_in: FaultyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stillroom_client.commands.look.FOLLOW_S", 0.0)
    first = {"n": 0, "time": 0.0, "level": "info", "stream": "log", "message": "one"}
    second = {"n": 1, "time": 0.0, "level": "info", "stream": "log", "message": "two"}
    signed_in.answers = [
        reply({"state": "RUNNING"}),
        reply({"items": [first], "next_cursor": None}),
        reply({"state": "SUCCEEDED"}),
        reply({"items": [first, second], "next_cursor": None}),
    ]
    assert main(["logs", "-f", "r_1"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]


ENTRY = {
    "label": "SONew",
    "rank": [1, 2],
    "mean": 0.25,
    "lo": 0.2,
    "hi": 0.3,
    "n": 2,
    "reached": 2,
    "steps_to_target": {"mean": 120.0, "half_width": None, "n": 1},
    "columns": {"optim/state_bytes": {"mean": 4096.0, "half_width": 0.0, "n": 2}, "perf/step_s": None},
}


def test_a_leaderboard_prints_ranks_intervals_and_columns(
    signed_in: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    board = {"name": "digits", "version": 2, "reduce": "last", "metric": "eval/loss", "target": 0.3, "seeds": 3}
    signed_in.answers = [reply({**board, "columns": list(ENTRY["columns"]), "entries": [ENTRY]})]
    assert main(["leaderboard", "b_1"]) == 0
    title, head, row = capsys.readouterr().out.splitlines()
    assert title == "digits, version 2: last eval/loss, target 0.3"
    assert head.split("  ")[0] == "RANK"
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    assert cells == ["1-2", "SONew", "0.25 ± 0.05", "2/3", "2/2", "120", "4096 ± 0", "-"]


def test_a_report_prints_arms_and_their_difference(signed_in: FaultyServer, capsys: pytest.CaptureFixture[str]) -> None:
    arm = {"values": {"0": 1.0}, "failed": 0, "unfinished": 1}
    mean = {"mean": 1.0, "half_width": None, "n": 1}
    arms = [
        {**arm, "name": "alone", "mean": mean, "difference": None},
        {**arm, "name": "taught", "mean": mean, "difference": {"mean": -0.5, "half_width": 0.25, "n": 2}},
    ]
    report = {"name": "salt", "metric": "eval/nll", "unit": "nats", "goal": "min", "reduce": "last"}
    signed_in.answers = [reply({**report, "baseline": "alone", "arms": arms})]
    assert main(["report", "s_1", "--baseline", "alone"]) == 0
    assert "baseline=alone" in signed_in.asked[-1].path
    title, _, first, second = capsys.readouterr().out.splitlines()
    assert title == "salt: last eval/nll nats, lower is better"
    assert first.split() == ["alone", "1", "baseline", "1", "0", "1"]
    assert second.split() == ["taught", "1", "-0.5", "±", "0.25", "1", "0", "1"]


def test_scores_name_misses_and_ask_for_the_reference(
    signed_in: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {"steps": 10.0, "ratio": 1.0, "trials": 1, "studies": 2}
    missed = {**there, "steps": None, "ratio": None}
    methods = [{"method": "a", "score": 1.0, "speedup": 2.0}, {"method": "b", "score": 0.0, "speedup": None}]
    workload = {"benchmark": "b_1", "name": "digits", "methods": {"a": there, "b": missed}}
    signed_in.answers = [reply({"r_max": 4.0, "methods": methods, "workloads": [workload]})]
    assert main(["scores", "b_1", "b_2", "--against", "b"]) == 0
    assert "benchmark=b_1&benchmark=b_2" in signed_in.asked[-1].path
    assert "reference=b" in signed_in.asked[-1].path
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["a", "1.000", "2.00x", "10"],
        ["b", "0.000", "-", "not", "reached"],
    ]


def test_ls_prints_a_table(signed_in: FaultyServer, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"id": "r_1", "state": "RUNNING", "recipe": "distillation", "seed": 3, "name": "", "progress": None}
    signed_in.answers = [reply({"items": [run], "next_cursor": None})]
    assert main(["ls", "demo/first", "--state", "running"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["RUN", "STATE"]
    assert row.split() == ["r_1", "RUNNING", "distillation", "3", "-", "-"]
    assert "state=RUNNING" in signed_in.asked[0].path


def test_export_writes_into_a_pipe_or_device_and_does_not_replace_it(signed_in: FaultyServer, tmp_path: Path) -> None:
    signed_in.answers = [Answer(200, b"key,step\n")]
    pipe = tmp_path / "pipe"
    got: list[bytes] = []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    assert main(["export", "r_1", "-o", str(pipe)]) == 0
    reader.join(timeout=10)
    assert got == [b"key,step\n"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_output_that_takes_nothing_is_said_in_one_line(signed_in: FaultyServer) -> None:
    signed_in.answers = [reply({"items": [], "next_cursor": None})]
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "stillroom_client", "ls", "demo/first", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "stillroom: standard output: No space left on device.\n")
