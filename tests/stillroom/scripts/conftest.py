"""A script's surroundings: the platform on a socket, a token, a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.cast import Cast
    from support.scripts import Bench


@pytest.fixture
def bench(cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    from support.scripts import ROOT, Bench
    from support.web import web

    folder = tmp_path / "waiting"
    with web() as url:
        ours = {
            "STILLROOM_URL": url,
            "STILLROOM_TOKEN": cast.mel.http.token,
            "STILLROOM_DIR": str(folder),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "platform"), str(ROOT))),
        }
        for name, value in ours.items():
            monkeypatch.setenv(name, value)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE", "REDIS"))}
        yield Bench(cast, folder, {**clean, **ours})
