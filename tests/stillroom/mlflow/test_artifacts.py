"""Files through MLflow's own client and raw: Unicode, large, folders, ranges, traversal, deletion, prefixes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from support.tracking import Server, refused, use

FILES = {
    "plain.txt": b"x",
    "füße/größe ü.bin": os.urandom(1000),
    "a/b/c.txt": b"deep",
    "a/d.txt": b"",
    "日本語.txt": b"jp",
}


def put(server: Server, run: str, path: str, body: bytes = b"x") -> int:
    return server.call("PUT", f"mlflow-artifacts/artifacts/0/{run}/artifacts/{path}", content=body).status_code


def test_files_go_up_and_come_back(server: Server, tmp_path: Path) -> None:
    import mlflow

    client = server.client()
    run = client.create_run("0").info.run_id
    for name, body in FILES.items():
        file = tmp_path / "up" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    for _ in range(2):
        client.log_artifacts(run, str(tmp_path / "up"))
    client.log_text(run, "hello", "notes/hello.txt")
    client.log_dict(run, {"a": [1]}, "config.json")
    assert sorted(found.path for found in client.list_artifacts(run)) == sorted(
        ["plain.txt", "füße", "a", "日本語.txt", "notes", "config.json"]
    )
    deep = {found.path: (found.is_dir, found.file_size) for found in client.list_artifacts(run, "a")}
    assert deep == {"a/b": (True, None), "a/d.txt": (False, 0)}
    assert client.list_artifacts(run, "plain.txt") == []
    assert client.list_artifacts(run, "nothing") == []
    down = Path(client.download_artifacts(run, "", str(tmp_path)))
    for name, body in FILES.items():
        assert (down / name).read_bytes() == body
    assert mlflow.artifacts.load_text(f"runs:/{run}/notes/hello.txt") == "hello"
    rest = server.cast.mel.http.get(f"/runs/{run}/artifacts").body["items"]
    assert {item["path"] for item in rest} == {*FILES, "notes/hello.txt", "config.json"}
    listed = server.get("artifacts/list", run_id=run, path="a").json()
    assert listed["root_uri"] == f"mlflow-artifacts:/0/{run}/artifacts"
    assert {file["path"] for file in listed["files"]} == {"a/b", "a/d.txt"}


def test_five_mebibytes_and_ranges(server: Server, tmp_path: Path) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    body = os.urandom(5 * 1024 * 1024)
    file = tmp_path / "big.bin"
    file.write_bytes(body)
    client.log_artifact(run, str(file), "models")
    client.set_terminated(run)
    found = Path(client.download_artifacts(run, "models/big.bin", str(tmp_path)))
    assert hashlib.sha256(found.read_bytes()).digest() == hashlib.sha256(body).digest()
    path = f"mlflow-artifacts/artifacts/0/{run}/artifacts/models/big.bin"
    part = server.call("GET", path, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, body[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(body)}"
    beyond = server.call("GET", path, headers={"Range": "bytes=9000000-"})
    assert (beyond.status_code, beyond.json()["error_code"]) == (416, "INVALID_PARAMETER_VALUE")
    again = server.call("GET", path, headers={"If-None-Match": part.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../../x", "%2e%2e/x", "%252e%252e/x", "%25252e%25252e/x", "..%2fx", "a%2f..%2f..%2fx", "..%5cx",
        "a%5c..%5cx", "./x", "%2fetc/passwd", "a//b", "a%00b", "%2e%2e%5c%2e%2e%5cx", "file:%2f%2f%2fetc%2fpasswd",
    ],
)  # fmt: skip
def test_no_path_climbs(server: Server, path: str) -> None:
    import socket
    from urllib.parse import urlsplit

    client = server.client()
    run = client.create_run("0").info.run_id
    address = urlsplit(server.url)
    for method in ("GET", "PUT", "DELETE"):
        with socket.create_connection((str(address.hostname), address.port or 80), timeout=30) as wire:
            head = (
                f"{method} /api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: Bearer {server.token()}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
            )
            wire.sendall(head.encode())
            answer = b"".join(iter(lambda wire=wire: wire.recv(65536), b""))
        assert answer.split(b" ")[1] in (b"400", b"404"), (method, answer[:200])
        assert b"root:" not in answer
    assert client.list_artifacts(run) == []
    query = server.call("GET", "mlflow-artifacts/artifacts", params={"path": f"0/{run}/artifacts/../x"})
    assert (query.status_code, query.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert server.get("artifacts/list", run_id=run, path="../x").status_code == 400
    for absolute in ("/etc/passwd", "%2Fetc%2Fpasswd", f"/0/{run}/artifacts/x"):
        answer = server.call("PUT", f"mlflow-artifacts/artifacts/{absolute}", content=b"x")
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), absolute


def test_a_path_that_is_nothings_does_not_exist(server: Server) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    for path in ("x.txt", "0/nothing/artifacts/x", f"0/{run}/x", "0/r_0000000000/artifacts/x"):
        for method in ("GET", "PUT", "DELETE"):
            answer = server.call(method, f"mlflow-artifacts/artifacts/{path}", content=b"x")
            assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), (method, path)
    assert server.call("GET", f"mlflow-artifacts/artifacts/0/{run}/artifacts/none").status_code == 404


@pytest.mark.parametrize(
    "name",
    ["a b.txt", "100%.txt", "a&b=c+d.txt", "it's.txt", 'q"q.txt', "C:x.txt", " lead", "..double",
     "a...b", "\U0001f9ea.txt", "日本語/é.txt", "[x];$!,~.txt"],
)  # fmt: skip
def test_any_name_of_a_file_comes_back(server: Server, tmp_path: Path, name: str) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    client.log_text(run, name, f"n/{name}")
    assert Path(client.download_artifacts(run, f"n/{name}", str(tmp_path))).read_text() == name
    folder, _, last = f"n/{name}".rpartition("/")
    listed = server.call("GET", "mlflow-artifacts/artifacts", params={"path": f"0/{run}/artifacts/{folder}"}).json()
    assert listed == {"files": [{"path": last, "is_dir": False, "file_size": len(name.encode())}]}
    assert client.list_artifacts(run, f"n/{name}") == []


def test_files_and_folders_are_deleted(server: Server) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client = server.client()
    run = client.create_run("0").info
    for path in ("a/b.txt", "a/c.txt", "ab.txt"):
        client.log_text(run.run_id, path, path)
    repository = get_artifact_repository(run.artifact_uri)
    repository.delete_artifacts("a/b.txt")
    assert [found.path for found in client.list_artifacts(run.run_id, "a")] == ["a/c.txt"]
    repository.delete_artifacts("a")
    assert [found.path for found in client.list_artifacts(run.run_id)] == ["ab.txt"]


def test_multipart_is_refused_so_that_the_client_sends_one_piece(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "10")
    client = server.client()
    run = client.create_run("0").info.run_id
    (tmp_path / "f.bin").write_bytes(b"y" * 1000)
    client.log_artifact(run, str(tmp_path / "f.bin"))
    assert [found.file_size for found in client.list_artifacts(run)] == [1000]


def test_a_prefix_in_the_address_and_basic_credentials(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    use(server, "mel")
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anybody")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.token())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.url}/mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"{server.url}/mlflow")
    run = client.create_run("0").info.run_id
    client.log_text(run, "x", "a.txt")
    assert [found.path for found in client.list_artifacts(run)] == ["a.txt"]
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.token())
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    refused("UNAUTHENTICATED", lambda: client.get_run(run))
