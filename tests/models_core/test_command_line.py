"""The command line in real processes: signals, exit codes, resuming, spare interpreters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models_core.events import read_line

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "workload": {"task": "autoencoder", "width": 0.01, "code": 2},
    "steps": 30,
    "batch_size": 100,
    "warmup_steps": 0,
    "eval_every": 30,
    "checkpoint_every": 10,
}


def request(**changes: Any) -> dict[str, Any]:
    return {"recipe": "optimizer_benchmark", "spec": TINY | changes, "seed": 1}


class Process:
    """`python -m models_core ...` with its events on a pipe."""

    def __init__(self, process: subprocess.Popen[bytes], reader: int) -> None:
        self.process = process
        self._reader = os.fdopen(reader, "rb")

    def event(self) -> dict[str, Any]:
        return read_line(self._reader.readline())

    def until(self, kind: str) -> dict[str, Any]:
        while (event := self.event())["type"] != kind:
            assert event["type"] != "end", event
        return event

    def rest(self) -> list[dict[str, Any]]:
        return [read_line(line) for line in self._reader]

    def close(self) -> None:
        self._reader.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = str(tmp_path_factory.mktemp("cache"))
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "STILLROOM_CACHE_DIR": cache,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PLATFORMS": "cpu",
    }


@contextmanager
def started(environment: dict[str, str], *arguments: str) -> Iterator[Process]:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "models_core", *arguments, "--events-fd", str(writer)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[writer],
        env=environment,
    )
    os.close(writer)
    running = Process(process, reader)
    try:
        yield running
    finally:
        running.close()


def run_to_end(
    environment: dict[str, str], tmp_path: Path, payload: object, *arguments: str
) -> tuple[int, list[dict[str, Any]], str]:
    with started(environment, "run", "-", "--workdir", str(tmp_path), *arguments) as running:
        _, errors = running.process.communicate(json.dumps(payload).encode())
        return running.process.returncode, running.rest(), errors.decode()


@pytest.fixture(scope="session")
def whole(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run of 30 steps that kept the checkpoints of steps 10 and 20."""
    workdir = tmp_path_factory.mktemp("whole")
    code, events, errors = run_to_end(environment, workdir, request())
    assert code == 0, errors
    return workdir, events


def losses(events: list[dict[str, Any]]) -> dict[int, float]:
    return {
        event["step"]: event["values"]["train/loss"]
        for event in events
        if event["type"] == "metric" and "train/loss" in event["values"]
    }


def checksum(events: list[dict[str, Any]], name: str) -> str:
    (artifact,) = [event for event in events if event["type"] == "artifact" and event["name"] == name]
    return artifact["sha256"]


def test_a_run_ends_with_end_and_reports_every_step(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    workdir, events = whole
    assert events[-1] == {"type": "end", "status": "succeeded", "error": None}
    assert sorted(losses(events)) == list(range(1, 31))
    assert (workdir / "artifacts" / "model.safetensors").exists()
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["step-000000010", "step-000000020"]


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    environment: dict[str, str], whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    workdir, events = whole
    checkpoint = workdir / "checkpoints" / "step-000000010"
    code, resumed, _ = run_to_end(environment, tmp_path, request(), "--resume", str(checkpoint))
    assert code == 0
    assert losses(resumed) == {number: loss for number, loss in losses(events).items() if number > 10}
    assert checksum(resumed, "model.safetensors") == checksum(events, "model.safetensors")


def test_a_damaged_checkpoint_is_refused(
    environment: dict[str, str], whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    source, damaged = whole[0] / "checkpoints" / "step-000000010", tmp_path / "damaged"
    damaged.mkdir()
    for path in source.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes().replace(b"seconds", b"SECONDS"))
    code, events, _ = run_to_end(environment, tmp_path, request(), "--resume", str(damaged))
    assert code == 1
    assert events[-1]["error"]["code"] == "checkpoint.invalid"
    assert "state.json" in events[-1]["error"]["message"]


def test_sigterm_stops_within_a_step_and_a_second_one_changes_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(request(steps=1_000_000, eval_every=1_000_000)))
    with started(environment, "run", str(tmp_path / "spec.json"), "--workdir", str(tmp_path)) as running:
        while running.until("metric")["step"] < 1:
            pass
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGTERM)
        events = running.rest()
        assert running.process.wait(60) == 3
    assert events[-1] == {"type": "end", "status": "stopped", "error": None}
    checkpoint = events[-2]
    assert checkpoint["type"] == "checkpoint"
    assert (tmp_path / checkpoint["path"] / "manifest.json").exists()


def test_a_bad_spec_names_the_field_on_stderr(environment: dict[str, str], tmp_path: Path) -> None:
    code, events, errors = run_to_end(environment, tmp_path, request(optimizer={"kind": "sgd", "lr": -1}))
    assert code == 2
    assert "spec.optimizer.lr: Must be above 0." in errors
    assert events[-1]["error"]["fields"] == {"spec.optimizer.lr": "Must be above 0."}


def test_what_is_no_json_is_a_bad_spec(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{")
    with started(environment, "run", str(tmp_path / "spec.json")) as running:
        assert running.process.wait(60) == 2
        assert running.rest()[-1]["error"]["code"] == "spec.invalid"


def test_divergence_names_the_step_and_the_last_gradient(environment: dict[str, str], tmp_path: Path) -> None:
    wild = {"kind": "sgd", "lr": 100.0, "momentum": 0.99, "weight_decay": 10.0}
    code, events, _ = run_to_end(environment, tmp_path, request(optimizer=wild, steps=400, decay="none"))
    assert code == 1
    error = events[-1]["error"]
    assert error["code"] == "training.non_finite"
    assert "at step" in error["message"]
    assert "gradient norm was" in error["message"]


def test_without_events_fd_a_person_can_read_it(environment: dict[str, str], tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "models_core", "run", "-", "--workdir", str(tmp_path)],
        input=json.dumps(request(steps=2, eval_every=2)).encode(),
        capture_output=True,
        env=environment,
        check=True,
    )
    lines = result.stdout.decode().splitlines()
    assert lines[0].startswith("[info] Runs on 1 x cpu")
    assert any(line.startswith("step      2  train/loss ") for line in lines)
    assert lines[-1] == "succeeded"


def test_catalogue_as_text_and_as_json(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "models_core", "catalog"]
    text = subprocess.run(command, capture_output=True, env=environment, check=True).stdout.decode()
    listed = json.loads(subprocess.run([*command, "--json"], capture_output=True, env=environment, check=True).stdout)
    names = [entry["name"] for entry in listed]
    assert names == sorted(names)
    assert all(f"{name} " in text for name in names)
    assert {"schema", "examples", "metrics", "title", "family", "version"} <= set(listed[0])


def test_a_spare_interpreter_takes_its_environment_with_the_request(
    environment: dict[str, str], tmp_path: Path, whole: tuple[Path, list[dict[str, Any]]]
) -> None:
    order = {
        "request": request(),
        "workdir": str(tmp_path),
        "env": {"XLA_FLAGS": "--xla_force_host_platform_device_count=3", "OMP_NUM_THREADS": "1"},
    }
    with started(environment, "warm") as running:
        ready = running.event()
        assert (ready["type"], ready["pid"]) == ("ready", running.process.pid)
        running.process.communicate(json.dumps(order).encode() + b"\n")
        events = running.rest()
        assert running.process.returncode == 0
    # Three devices: no backend had been started before the request arrived.
    assert events[0]["message"].startswith("Runs on 3 x cpu")
    assert events[-1]["status"] == "succeeded"
    assert losses(events).keys() == losses(whole[1]).keys()


@pytest.mark.parametrize(("line", "code"), [(b"", 0), (b"{\n", 2), (b'{"request": {"recipe": "nope"}}\n', 2)])
def test_a_spare_interpreter_without_a_good_request(environment: dict[str, str], line: bytes, code: int) -> None:
    with started(environment, "warm") as running:
        running.process.communicate(line)
        assert running.process.returncode == code
        assert running.event()["type"] == "ready"
        assert [event["type"] for event in running.rest()] == ["end"] * (code > 0)


def test_a_waiting_spare_interpreter_dies_of_sigterm(environment: dict[str, str]) -> None:
    with started(environment, "warm") as running:
        running.until("ready")
        running.process.terminate()
        assert running.process.wait(60) == -signal.SIGTERM
