from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def blueprints(tmp_path: Path) -> Command:
    """Runs the installed command in an empty workspace."""
    program = Path(sys.executable).with_name("blueprints")
    environment = {**os.environ, "BLUEPRINTS_HOME": str(tmp_path / "home")}

    def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=environment,
            cwd=tmp_path,
        )

    return run


@dataclass
class Kubeflow:
    """Answers as Kubeflow's v2beta1 API does, as far as the client asks, and keeps what it was told.

    Attributes:
        host: Its URL.
        told: Path and body of every request that changes something.
        scheduled: The recurring runs that it knows.
    """

    NEW = "5d1e6f3a-0000-4000-8000-000000000001"

    host: str
    told: list[tuple[str, Any]] = field(default_factory=list)
    scheduled: list[dict[str, str]] = field(default_factory=list)

    def bodies(self, kind: str) -> list[Any]:
        """What was to be made of a kind, such as `runs`."""
        return [body for path, body in self.told if path.endswith(f"/{kind}")]


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "recurringruns" in self.path:
                self.answer({"recurringRuns": stand_in.scheduled})
            elif "experiments" in self.path:
                self.answer({"experiments": [{"experiment_id": "e", "display_name": "blueprints", "namespace": ""}]})
            else:
                self.answer({"multi_user": False})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            stand_in.told.append((self.path, body))
            made = {"run_id": Kubeflow.NEW, "recurring_run_id": Kubeflow.NEW, "experiment_id": "e"}
            self.answer({**made, "display_name": body.get("display_name")})

        def do_DELETE(self) -> None:
            stand_in.told.append((self.path, None))
            self.answer({})

        def answer(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    stand_in = Kubeflow(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield stand_in
    server.shutdown()
    server.server_close()
