"""Files and ports of the launcher: private, whole, rotated; free means free."""

import os
import socket
import stat
from pathlib import Path

import pytest

from stillroom.local.binaries import find_postgres, find_valkey, place_postgres, place_valkey
from stillroom.local.frontend import needs_build
from stillroom.local.home import Home
from stillroom.local.logs import rotate, tail
from stillroom.local.ports import free_port, is_free, next_free_port
from stillroom.local.privileges import Account, enterable, reachable
from stillroom.local.state import Secrets, read_json, write_json, write_private

STRANGER = Account("stranger", 54_321, 54_321)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_written_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_json(tmp_path / "state.json", {"a": 1})
        Secrets.kept_in(tmp_path)
    finally:
        os.umask(before)
    assert [mode(path) for path in sorted(tmp_path.iterdir())] == [0o600, 0o600]


def test_a_failed_write_keeps_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"a": 1})
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_record_reads_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert read_json(tmp_path / "state.json") == {}
    assert Home(tmp_path).read_state().processes == []


def test_secrets_stay_the_same(tmp_path: Path) -> None:
    assert Secrets.kept_in(tmp_path) == Secrets.kept_in(tmp_path)
    assert len(Secrets.kept_in(tmp_path).secret_key) >= 50


def test_a_home_is_closed_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    assert mode(home.folder) & 0o066 == 0
    assert mode(home.logs) == 0o700


def test_a_home_is_held_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.held() as first:
        with home.held() as second:
            assert (first, second) == (True, False)
        assert home.is_held()
    assert not home.is_held()


def test_a_full_log_moves_on_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab") as writer:
        for number in range(5):
            writer.write(f"{number}\n".encode() * 10)
            writer.flush()
            assert rotate(log, max_bytes=10, kept=2)
        writer.write(b"last\n")
    assert log.read_text() == "last\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]
    assert tail(tmp_path / "web.log.1", lines=1) == "4"
    assert not rotate(log, max_bytes=10, kept=2)


def test_tail_leaves_out_an_earlier_start(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("old\nnew\n")
    assert tail(tmp_path / "a.log", since_bytes=4) == "new"
    assert tail(tmp_path / "a.log", since_bytes=400) == "old\nnew"
    assert tail(tmp_path / "absent.log") == ""
    (tmp_path / "a.log").write_text("\x1b[31mred\x1b[0m\n")
    assert tail(tmp_path / "a.log") == "red"


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert not is_free(port)
        assert next_free_port(port) > port
        assert free_port(port) != port
    assert free_port(port) == port


def test_a_port_taken_on_every_address_counts_as_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen(1)
        assert not is_free(taken.getsockname()[1])


def test_reaching_needs_every_folder_above(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "open").chmod(0o755)
    assert not enterable(closed / "open", STRANGER)
    assert not reachable(closed / "open" / "absent", STRANGER)
    assert enterable(Path("/"), STRANGER)
    assert reachable(Path("/etc/passwd"), STRANGER)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another account")
def test_programs_are_copied_to_where_the_account_reaches_them(tmp_path: Path) -> None:
    nobody_else = Account("nobody", 65_534, 65_534)
    hidden = tmp_path / "hidden" / "valkey-server"
    hidden.parent.mkdir(mode=0o700)
    hidden.write_bytes(find_valkey().read_bytes())
    hidden.chmod(0o700)
    copied = place_valkey(hidden, tmp_path / "programs", nobody_else)
    assert copied.parent == tmp_path / "programs"
    assert mode(copied) == 0o755
    assert place_valkey(find_valkey(), tmp_path / "unused", None) == find_valkey()
    postgres = find_postgres()
    assert place_postgres(postgres, tmp_path / "unused", None) == postgres


def test_the_page_is_built_when_a_source_is_newer(tmp_path: Path) -> None:
    frontend = tmp_path / "frontend"
    assert not needs_build(frontend)
    for path in ("package.json", "src/app/main.tsx", "dist/index.html", "node_modules/x/index.js"):
        (frontend / path).parent.mkdir(parents=True, exist_ok=True)
        (frontend / path).touch()
        os.utime(frontend / path, (1_000, 1_000))
    assert not needs_build(frontend)
    os.utime(frontend / "node_modules/x/index.js", (2_000, 2_000))
    assert not needs_build(frontend)
    os.utime(frontend / "src/app/main.tsx", (2_000, 2_000))
    assert needs_build(frontend)
    (frontend / "dist/index.html").unlink()
    assert needs_build(frontend)
