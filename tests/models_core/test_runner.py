"""The runner in this process: recipes made for the purpose, events collected in a list."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_core import runner
from models_core.catalog import Recipe
from models_core.errors import NonFinite, SpecInvalid
from models_core.events import Artifact, Checkpoint, Context, Event, Log, Metric, Progress, decode_float, read_line
from models_core.sinks import LineSink
from models_core.spec import Spec


class ListSink:
    broken = False

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, kind: str, **values: Any) -> None:
        self.events.append({"type": kind, **values})

    def close(self) -> None:
        pass


def request_for(run: Callable[[Spec, Context], Iterator[Event]]) -> runner.Request:
    recipe = Recipe("made", "1", "Made", "", "optimizer", Spec, (), (), (), run)
    return runner.Request(recipe, Spec(), seed=5)


def outcome(
    run: Callable[[Spec, Context], Iterator[Event]], workdir: Path, stop: runner.Stop | None = None, **kwargs: Any
) -> tuple[int, list[dict[str, Any]]]:
    sink = ListSink()
    code = runner.run(request_for(run), sink=sink, stop=stop or runner.Stop(), workdir=workdir, **kwargs)
    return code, sink.events


def test_every_kind_of_event_is_written(tmp_path: Path) -> None:
    def run(spec: Spec, ctx: Context) -> Iterator[Event]:
        yield Log("hello", "warning")
        yield Metric(3, {"a": float("nan"), "b": float("-inf"), "c": np.float32(0.5)})
        yield Progress(3, 10, "half")
        yield Artifact("deep/report.txt", b"text", "text/plain")
        yield Checkpoint(3, {"w": np.ones(2, np.float32)}, {"k": 1})

    code, events = outcome(run, tmp_path)
    assert code == 0
    log, metric, progress, artifact, checkpoint, end = events
    assert (log["level"], log["message"]) == ("warning", "hello")
    assert metric["step"] == 3
    assert metric["values"] == {"a": "NaN", "b": "-Infinity", "c": 0.5}
    assert math.isnan(decode_float(metric["values"]["a"]))
    assert isinstance(metric["time"], float)
    assert (progress["step"], progress["total"], progress["note"]) == (3, 10, "half")
    assert (tmp_path / artifact["path"]).read_bytes() == b"text"
    assert artifact["path"] == "artifacts/deep/report.txt"
    assert artifact["size_bytes"] == 4
    assert artifact["sha256"] == hashlib.sha256(b"text").hexdigest()
    assert checkpoint["path"] == "checkpoints/step-000000003"
    for file in checkpoint["files"]:
        content = (tmp_path / checkpoint["path"] / file["name"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert end == {"type": "end", "status": "succeeded", "error": None}


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/../../b", "", ".", "a/", "a\\b", "a/./b", "nul\0"])
def test_an_artifact_cannot_leave_the_run(tmp_path: Path, name: str) -> None:
    def run(spec: Spec, ctx: Context) -> Iterator[Event]:
        yield Artifact(name, b"x")

    code, events = outcome(run, tmp_path / "work")
    assert code == 1
    assert events[-1]["error"]["code"] == "artifact.name"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_artifact_cannot_leave_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "work" / "artifacts").mkdir(parents=True)
    (tmp_path / "work" / "artifacts" / "out").symlink_to(tmp_path)

    def run(spec: Spec, ctx: Context) -> Iterator[Event]:
        yield Artifact("out/x", b"x")

    assert outcome(run, tmp_path / "work")[0] == 1
    assert not (tmp_path / "x").exists()


def test_an_error_of_the_library_keeps_its_code_and_message(tmp_path: Path) -> None:
    def run(spec: Spec, ctx: Context) -> Iterator[Event]:
        yield Log("before")
        raise NonFinite("step 3", fields={"lr": "high"})

    code, events = outcome(run, tmp_path)
    assert code == 1
    assert events[-1]["status"] == "failed"
    error = events[-1]["error"]
    assert (error["code"], error["message"], error["fields"]) == ("training.non_finite", "step 3", {"lr": "high"})


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ZeroDivisionError("x"), "run.crashed"),
        (MemoryError(), "run.out_of_memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: 3 GB"), "run.out_of_memory"),
        (KeyboardInterrupt(), "run.interrupted"),
    ],
)
def test_any_other_error_becomes_an_end_with_its_traceback(tmp_path: Path, raised: BaseException, code: str) -> None:
    def run(spec: Spec, ctx: Context) -> Iterator[Event]:
        yield Log("before")
        raise raised

    exit_code, events = outcome(run, tmp_path)
    assert exit_code == 1
    assert events[-1]["error"]["code"] == code
    assert "test_runner.py" in events[-1]["error"]["traceback"]


def counting(spec: Spec, ctx: Context) -> Iterator[Event]:
    first = ctx.resume.step if ctx.resume else 0
    for step in range(first + 1, 6):
        if ctx.should_stop():
            yield Checkpoint(step - 1, {"w": np.full(1, step - 1.0)})
            return
        yield Metric(step, {"a": float(step)})


def test_a_wish_to_stop_ends_with_a_checkpoint_from_which_the_run_goes_on(tmp_path: Path) -> None:
    stop = runner.Stop()

    class StopAfterTwo(ListSink):
        def emit(self, kind: str, **values: Any) -> None:
            super().emit(kind, **values)
            stop.asked = values.get("step") == 2

    sink = StopAfterTwo()
    code = runner.run(request_for(counting), sink=sink, stop=stop, workdir=tmp_path)
    assert code == 3
    assert [event["type"] for event in sink.events] == ["metric", "metric", "checkpoint", "end"]
    assert sink.events[-1]["status"] == "stopped"
    code, events = outcome(counting, tmp_path, resume=tmp_path / sink.events[2]["path"])
    assert code == 0
    assert [event["step"] for event in events[:-1]] == [3, 4, 5]


def test_a_wish_that_comes_after_the_last_step_changes_nothing(tmp_path: Path) -> None:
    def run(spec: Spec, ctx: Context) -> Iterator[Event]:
        yield Metric(1, {"a": 1.0})
        stop.asked = True

    stop = runner.Stop()
    assert outcome(run, tmp_path, stop)[0] == 0


def test_nobody_reading_stops_the_run_and_keeps_a_checkpoint(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = LineSink(writer)

    def run(spec: Spec, ctx: Context) -> Iterator[Event]:
        step = 0
        while not ctx.should_stop():
            step += 1
            yield Metric(step, {"a": 1.0})
        yield Checkpoint(step, {"w": np.ones(1)})

    assert runner.run(request_for(run), sink=sink, stop=runner.Stop(), workdir=tmp_path) == 3
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    os.close(writer)


def test_lines_arrive_in_order_and_whole() -> None:
    reader, writer = os.pipe()
    sink = LineSink(writer)
    for step in range(300):
        sink.emit("metric", step=step, note="é" * 50)
    with os.fdopen(reader, "rb") as stream:
        sink_closed = [read_line(stream.readline()) for _ in range(300)]
    sink.close()
    os.close(writer)
    assert [event["step"] for event in sink_closed] == list(range(300))


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ({"recipe": "optimizer_benchmark", "spec": {"steps": 0}}, ["spec.steps"]),
        ({"recipe": "optimizer_benchmark", "spec": {"optimizer": {"kind": "adam", "lr": -1}}}, ["spec.optimizer.lr"]),
        ({"recipe": "nope"}, ["recipe"]),
        ({"recipe": "optimizer_benchmark", "seed": -1}, ["seed"]),
        ({"recipe": "optimizer_benchmark", "sed": 1}, ["sed"]),
        ([], [""]),
    ],
)
def test_a_bad_request_names_its_fields(payload: object, fields: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sink = ListSink()
    assert runner.execute(payload, sink=sink, stop=runner.Stop()) == 2
    assert list(sink.events[-1]["error"]["fields"]) == fields
    printed = capsys.readouterr().err
    assert all(f"  {name or '(document)'}:" in printed for name in fields)


def test_a_request_defaults_to_the_recipes_own_spec() -> None:
    request = runner.Request.parse({"recipe": "optimizer_benchmark"})
    assert request.seed == 0
    assert json.loads(request.spec.canonical_json())["steps"] == 480


def test_impossible_combinations_are_refused_where_they_can_be_mended() -> None:
    spec = {"target": {"metric": "eval/accuracy", "value": 0.9}}
    with pytest.raises(SpecInvalid) as refusal:
        runner.Request.parse({"recipe": "optimizer_benchmark", "spec": spec})
    assert refusal.value.fields == {"spec.target.metric": "The workload autoencoder has no accuracy."}
