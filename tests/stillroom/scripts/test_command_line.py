"""The `stillroom` command against the platform: every command answers, in words and in JSON, and fails in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import stillroom_client
from stillroom_client.__main__ import main, parser
from stillroom_client.commands.reference import leaves, page
from stillroom_client.commands.terminal import chart, clean
from support.cast import PROJECT, running
from support.scripts import ROOT, Bench

RUNS = f"/orgs/aster/projects/{PROJECT}/runs"


@pytest.fixture
def stillroom(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in the project: (exit code, standard output, standard error)."""
    monkeypatch.setenv("STILLROOM_PROJECT", bench.project)

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        return code, *capsys.readouterr()

    return command


def test_a_setting_changes_the_recipes_default(bench: Bench, stillroom: Any) -> None:
    code, out, _ = stillroom(
        "run", "optimizer_benchmark", "--set", "optimizer.lr=0.5", "--set", "spec.steps=40", "--seed", "3", "--tag", "a"
    )
    assert code == 0
    shown = bench.cast.mel.http.get(f"/runs/{out.strip()}").body
    assert (shown["spec"]["optimizer"]["lr"], shown["spec"]["steps"], shown["seed"]) == (0.5, 40, 3)
    assert (shown["spec"]["optimizer"]["kind"], shown["tags"]) == ("adam", {"a": ""})


def test_a_study_of_arms_and_seeds(bench: Bench, stillroom: Any, tmp_path: Path) -> None:
    arms = tmp_path / "arms.json"
    arms.write_text('{"fast": {"steps": 40}, "slow": {"steps": 80}}')
    code, out, _ = stillroom("study", "optimizer_benchmark", "--arms", str(arms), "--seeds", "0-1,5", "--json")
    study = json.loads(out)
    assert (code, len(study["runs"]), study["seeds"]) == (0, 6, [0, 1, 5])
    code, _, err = stillroom("study", "optimizer_benchmark", "--template", "no-such")
    assert (code, "--template" in err) == (2, True)


def test_looking(bench: Bench, stillroom: Any) -> None:
    with stillroom_client.init(bench.project, "one \x1b[31mred", {"lr": 0.1}, system=False) as run:
        for step in range(20):
            run.log({"loss": 1 / (1 + step)})
        run.log_text("a line")
        run.log_artifact(Path(__file__), "me.py")
    code, out, _ = stillroom("ls", "--metric", "loss", "--sort", "metric:loss")
    assert (code, "\x1b" in out) == (0, False)
    assert out.splitlines()[1].split()[:5] == [run.id, "SUCCEEDED", "external", "-", "-"]
    code, out, _ = stillroom("show", str(run.id))
    assert {"lr = 0.1", "me.py"} <= {part for line in out.splitlines() for part in (line.strip(), line.split("  ")[0])}
    assert stillroom("logs", str(run.id))[1].split()[-2:] == ["a", "line"]
    assert stillroom("logs", "-f", str(run.id))[0] == 0
    code, out, _ = stillroom("watch", str(run.id), "--once", "--metric", "loss")
    assert (code, "loss: 0.05 at step 19" in out) == (0, True)
    assert stillroom("open", str(run.id), "--print")[1].endswith(f"/o/aster/runs/{run.id}\n")
    assert stillroom("whoami")[1].startswith("mel@example.org")


def test_controlling_many_at_once_tells_of_each(bench: Bench, stillroom: Any) -> None:
    run = running(bench.cast.mel).id
    code, out, err = stillroom("cancel", run, "r_0000000000")
    assert (code, run in out, "r_0000000000" in err) == (1, True, True)


@pytest.mark.parametrize(
    "arguments",
    [("whoami",), ("ls",), ("recipes",), ("recipes", "optimizer_benchmark"), ("node", "ls"), ("sync",), ("open",)],
    ids=" ".join,
)
def test_json_is_json(stillroom: Any, arguments: tuple[str, ...]) -> None:
    code, out, _ = stillroom(*arguments, "--json")
    assert code == 0
    json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "code", "place"),
    [
        (("run", "nothing"), 1, "recipe"),
        (("run", "optimizer_benchmark", "--set", "a"), 2, "--set"),
        (("run", "optimizer_benchmark", "-f", "/nowhere.json"), 2, "/nowhere.json"),
        (("study", "optimizer_benchmark", "--seeds", "4-1"), 2, "--seeds"),
        (("ls", "no-slash"), 2, "project"),
        (("ls", "-n", "0"), 2, "-n"),
        (("show", "r_0000000000"), 1, "not_found"),
        (("export", "r_0000000000"), 1, "not_found"),
        (("import", "wandb", "/nowhere"), 2, "/nowhere"),
        (("import", "tensorboard", "/etc/ssl"), 1, "tfevents"),
        (("import", "mlflow", "http://127.0.0.1:9"), 1, "127.0.0.1:9"),
        (("sync", "/nowhere"), 2, "/nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_wrong_is_said_in_words(stillroom: Any, arguments: tuple[str, ...], code: int, place: str) -> None:
    found, _, err = stillroom(*arguments)
    assert (found, place in err, "Traceback" in err) == (code, True, False)


def test_a_platform_that_does_not_answer_has_a_code_of_its_own(stillroom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("stillroom_client.transport.Retries.pause_s", lambda *_: 0.0)
    assert stillroom("ls")[0] == 3


def test_every_command_has_help_and_json_and_stands_in_the_reference() -> None:
    for name, meaning, leaf in leaves(parser()):
        assert meaning != "None", name
        assert "--json" in leaf.format_help(), name
    assert (ROOT / "docs/reference/command-line.md").read_text() == page(parser())


def test_a_chart_keeps_its_size_whatever_it_shows() -> None:
    for values in ([1.0, 2.0, 3.0], [5.0], [float("nan"), float("inf")], [1e300, -1e300], [0.0] * 1000):
        lines = chart(list(range(len(values))), values, columns=60, rows=5)
        assert all(len(line) <= 60 for line in lines)
    assert clean("a\x1b[31m\nb\x9b") == "a[31m b"
