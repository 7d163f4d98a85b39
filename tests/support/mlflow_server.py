"""MLflow's own store behind the few REST calls that an import makes; the answers are MLflow's own messages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mlflow import MlflowClient
from mlflow.utils.proto_json_utils import message_to_json


@contextmanager
def mlflow_server(client: MlflowClient, root: Path) -> Iterator[str]:
    """Its address. Histories come 700 points a page, so that paging is exercised."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("experiments/search"):
                self.say({"experiments": [_json(one) for one in client.search_experiments()]})
            else:
                found = client.search_runs(body["experiment_ids"])
                runs = [_json(one) for one in found]
                for run in runs:
                    uri = f"mlflow-artifacts:/{run['info']['experiment_id']}/{run['info']['run_id']}/artifacts"
                    run["info"]["artifact_uri"] = uri
                self.say({"runs": runs})

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if parts.path.endswith("get-history"):
                points = client.get_metric_history(query["run_id"], query["metric_key"])
                start = int(query.get("page_token", 0))
                page: dict[str, Any] = {"metrics": [_json(one) for one in points[start : start + 700]]}
                if start + 700 < len(points):
                    page["next_page_token"] = str(start + 700)
                self.say(page)
            elif "path" in query:
                folder = root / query["path"]
                files = [{"path": one.name, "is_dir": one.is_dir()} for one in sorted(folder.iterdir())]
                self.say({"files": files})
            else:
                self.send((root / unquote(parts.path).partition("/artifacts/")[2]).read_bytes())

        def say(self, data: Any) -> None:
            self.send(json.dumps(data).encode())

        def send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _json(entity: Any) -> Any:
    return json.loads(message_to_json(entity.to_proto()))
