"""The agent's settings."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workers.settings import SettingsError, read_settings

LEAST = {"STILLROOM_URL": "https://stillroom.example/", "STILLROOM_NODE_TOKEN": "sr_node_1"}


def test_address_and_token_are_enough() -> None:
    settings = read_settings(LEAST)
    assert settings.url == "https://stillroom.example"
    assert settings.token == "sr_node_1"
    assert settings.redis_url is None
    assert settings.cpu_slots is None
    assert settings.spares == 1
    assert settings.node_name == socket.gethostname()
    assert settings.node_home.name == f"node-{socket.gethostname()}"


def test_the_token_can_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("sr_node_2\n")
    environ = {"STILLROOM_URL": "http://127.0.0.1:1", "STILLROOM_NODE_TOKEN_FILE": str(file)}
    assert read_settings(environ).token == "sr_node_2"


def test_zero_is_a_number() -> None:
    settings = read_settings({**LEAST, "STILLROOM_SPARES": "0", "STILLROOM_NODE_SLOTS": "0"})
    assert (settings.spares, settings.cpu_slots) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"STILLROOM_URL": ""}, "STILLROOM_URL"),
        ({"STILLROOM_URL": "stillroom.example"}, "STILLROOM_URL"),
        ({"STILLROOM_NODE_TOKEN": ""}, "STILLROOM_NODE_TOKEN"),
        ({"STILLROOM_NODE_TOKEN": "", "STILLROOM_NODE_TOKEN_FILE": "/nowhere"}, "STILLROOM_NODE_TOKEN_FILE"),
        ({"STILLROOM_NODE_SLOTS": "two"}, "STILLROOM_NODE_SLOTS"),
        ({"STILLROOM_SPARES": "-1"}, "STILLROOM_SPARES"),
        ({"STILLROOM_NODE_NAME": "../up"}, "STILLROOM_NODE_NAME"),
        ({"STILLROOM_RUN_USER": "no such user"}, "STILLROOM_RUN_USER"),
    ],
)
def test_a_wrong_value_stops_the_start_with_its_name(changes: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({**LEAST, **changes})
