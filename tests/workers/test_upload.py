"""Artifacts and checkpoints on their way up, and a checkpoint on its way back."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stillroom_client.agent import RemoteFile, Resume
from stillroom_client.points import AttemptApi
from stillroom_client.transport import Retries, Transport
from tests.stillroom_client.faulty_server import RESET, Answer, Asked, FaultyServer, refuse, reply, serving
from workers.sandbox import upload as upload_module
from workers.sandbox.files import NotInside, is_plain_path, open_inside
from workers.sandbox.resume import CheckpointDamaged, fetch_checkpoint
from workers.sandbox.upload import Uploader


class Uploading:
    def __init__(self, server: FaultyServer, workdir: Path) -> None:
        self.workdir = workdir
        self.published: list[tuple[int, list[RemoteFile]]] = []
        self.said: list[str] = []
        self.stale = threading.Event()
        self.arrived = threading.Event()
        self.arrived.set()
        self.uploader = Uploader(
            AttemptApi(Transport(server.url), "r_1", 2, lambda: "sr_run_1"),
            workdir,
            wait_for=lambda seq: self.arrived.wait(10.0),
            publish=self._publish,
            say=lambda level, message: self.said.append(message),
            on_stale=self.stale.set,
        )

    def _publish(self, step: int, files: Sequence[RemoteFile]) -> None:
        self.published.append((step, list(files)))

    def checkpoint(self, step: int, content: bytes = b"arrays") -> dict[str, Any]:
        folder = self.workdir / f"checkpoints/step-{step}"
        folder.mkdir(parents=True)
        (folder / "arrays").write_bytes(content)
        listed = {"name": "arrays", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return {"step": step, "path": f"checkpoints/step-{step}", "files": [listed]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    monkeypatch.setattr(upload_module, "PATIENCE", Retries(base_s=0.002, cap_s=0.01))
    with serving(otherwise=lambda asked: reply({}, 201)) as running:
        yield running


@pytest.fixture
def uploading(server: FaultyServer, tmp_path: Path) -> Iterator[Uploading]:
    workdir = tmp_path / "work"
    workdir.mkdir()
    made = Uploading(server, workdir)
    yield made
    made.uploader.stop()


def paths(server: FaultyServer) -> list[str]:
    return [one.path.partition("/artifacts/")[2].partition("?")[0] for one in server.asked]


def test_an_artifact_is_uploaded_through_a_bad_network(server: FaultyServer, uploading: Uploading) -> None:
    server.answers = [RESET, reply({"code": "busy"}, 503)]
    (uploading.workdir / "plot.png").write_bytes(b"png")
    uploading.uploader.start()
    uploading.uploader.add_artifact({"name": "plots/plot.png", "path": "plot.png", "media_type": "image/png"})
    assert uploading.uploader.drain(10.0)
    assert paths(server) == ["plots/plot.png"] * 3
    assert server.asked[-1].body == b"png"
    assert server.asked[-1].headers["Content-Type"] == "image/png"


def test_a_checkpoint_counts_after_its_files_and_its_metrics(server: FaultyServer, uploading: Uploading) -> None:
    uploading.arrived.clear()
    uploading.uploader.start()
    uploading.uploader.add_checkpoint(uploading.checkpoint(10), after_seq=4)
    server.wait_for(1)
    assert not uploading.uploader.drain(0.1)
    assert uploading.published == []
    uploading.arrived.set()
    assert uploading.uploader.drain(10.0)
    ((step, files),) = uploading.published
    assert (step, files[0].path, files[0].name) == (10, "checkpoints/step-10/arrays", "arrays")


def test_only_the_newest_waiting_checkpoint_is_uploaded(server: FaultyServer, uploading: Uploading) -> None:
    for step in (1, 2, 3):
        uploading.uploader.add_checkpoint(uploading.checkpoint(step), after_seq=0)
    uploading.uploader.start()
    assert uploading.uploader.drain(10.0)
    assert [step for step, _ in uploading.published] == [3]
    assert paths(server) == ["checkpoints/step-3/arrays"]


def test_a_checkpoint_that_the_run_rotates_away_is_still_uploaded(uploading: Uploading) -> None:
    event = uploading.checkpoint(5)
    uploading.uploader.add_checkpoint(event, after_seq=0)
    (uploading.workdir / "checkpoints/step-5/arrays").unlink()
    uploading.uploader.start()
    assert uploading.uploader.drain(10.0)
    assert [step for step, _ in uploading.published] == [5]


def test_a_checkpoint_that_changed_on_disk_is_not_announced(uploading: Uploading) -> None:
    event = uploading.checkpoint(5)
    (uploading.workdir / "checkpoints/step-5/arrays").write_bytes(b"arrayz")
    uploading.uploader.add_checkpoint(event, after_seq=0)
    uploading.uploader.start()
    assert uploading.uploader.drain(10.0)
    assert uploading.published == []
    assert "damaged" in uploading.said[0]


def test_a_refusal_is_said_and_the_next_file_goes_on(server: FaultyServer, uploading: Uploading) -> None:
    server.answers = [refuse(413, "artifact.too_large")]
    for name in ("a", "b"):
        (uploading.workdir / name).write_bytes(b"x")
        uploading.uploader.add_artifact({"name": name, "path": name})
    uploading.uploader.start()
    assert uploading.uploader.drain(10.0)
    assert paths(server) == ["a", "b"]
    assert "artifact.too_large" in uploading.said[0]


def test_a_stale_attempt_is_told(server: FaultyServer, uploading: Uploading) -> None:
    server.answers = [refuse(409, "ingest.stale_epoch")]
    (uploading.workdir / "a").write_bytes(b"x")
    uploading.uploader.add_artifact({"name": "a", "path": "a"})
    uploading.uploader.start()
    assert uploading.stale.wait(10.0)


def test_stopping_interrupts_a_hopeless_upload(
    server: FaultyServer, uploading: Uploading, eventually: Callable[..., None]
) -> None:
    server.otherwise = lambda asked: RESET
    (uploading.workdir / "a").write_bytes(b"x")
    uploading.uploader.add_artifact({"name": "a", "path": "a"})
    uploading.uploader.start()
    server.wait_for(3)
    uploading.uploader.stop()
    eventually(lambda: not uploading.uploader._thread.is_alive())


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a//b", "a/./b", "", "a\\b", "a\nb"])
def test_names_that_lead_elsewhere_are_not_uploaded(server: FaultyServer, uploading: Uploading, name: str) -> None:
    assert not is_plain_path(name)
    (uploading.workdir / "a").write_bytes(b"x")
    uploading.uploader.add_artifact({"name": name, "path": "a"})
    uploading.uploader.start()
    assert uploading.uploader.drain(10.0)
    assert server.asked == []


def test_no_file_outside_of_the_run_can_be_opened(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    secret = tmp_path / "token"
    secret.write_text("sr_node_secret")
    (work / "link").symlink_to(secret)
    (work / "folder").symlink_to(tmp_path)
    (work / "fine").write_text("fine")
    os.mkfifo(work / "pipe")
    for path in ("link", "folder/token", "../token", str(secret), "pipe", "."):
        with pytest.raises((NotInside, OSError)):
            open_inside(work, path)
    with open_inside(work, "fine") as file:
        assert file.read() == b"fine"


def files_of(content: bytes) -> Resume:
    digest = hashlib.sha256(content).hexdigest()
    names = ("arrays", "state.json")
    return Resume(7, 1, tuple(RemoteFile(f"checkpoints/step-7/{name}", name, len(content), digest) for name in names))


def test_a_checkpoint_is_fetched_whole(server: FaultyServer, tmp_path: Path) -> None:
    server.otherwise = lambda asked: Answer(200, b"good")
    api = AttemptApi(Transport(server.url), "r_1", 2)
    folder = fetch_checkpoint(api, files_of(b"good"), tmp_path / "resume")
    assert sorted(path.name for path in folder.iterdir()) == ["arrays", "state.json"]


@pytest.mark.parametrize("answer", [Answer(200, b"bad!"), Answer(200, b"goo"), refuse(404, "artifact.not_found")])
def test_a_damaged_or_missing_file_is_a_damaged_checkpoint(
    server: FaultyServer, tmp_path: Path, answer: Answer
) -> None:
    def second_is_bad(asked: Asked) -> Answer:
        return answer if "state" in asked.path else Answer(200, b"good")

    server.otherwise = second_is_bad
    with pytest.raises(CheckpointDamaged, match="step 7"):
        fetch_checkpoint(AttemptApi(Transport(server.url), "r_1", 2), files_of(b"good"), tmp_path / "resume")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
def test_a_file_name_cannot_lead_out_of_the_folder(server: FaultyServer, tmp_path: Path, name: str) -> None:
    resume = Resume(7, 1, (RemoteFile("p", name, 1, "0"),))
    with pytest.raises(CheckpointDamaged, match="file name"):
        fetch_checkpoint(AttemptApi(Transport(server.url), "r_1", 2), resume, tmp_path / "resume")
