"""A REST application with operations that show what the kit does, on a free port, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from inference_services.serving.admission import Places
from inference_services.serving.http_server import HttpServer, bind
from inference_services.serving.metrics import RequestMetrics
from inference_services.serving.model import Call, Operation, Reply, json_reply
from inference_services.serving.options import Options
from inference_services.serving.request_log import RequestLog
from inference_services.serving.rest import RestApplication

JSON = "content-type: application/json\r\n"


@dataclass
class Serving:
    """A server that runs, and what its operations have seen."""

    port: int
    registry: CollectorRegistry
    http: HttpServer
    application: RestApplication
    cancelled: list[str] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def count(self, status: int, route: str = "/hold") -> float:
        labels = {"method": "POST", "route": route, "status": str(status)}
        return self.registry.get_sample_value("http_requests_total", labels) or 0

    def in_flight(self) -> float | None:
        return self.registry.get_sample_value("requests_in_flight")


@contextlib.asynccontextmanager
async def serving(**options: float) -> AsyncIterator[Serving]:
    registry = CollectorRegistry()
    seen: Serving

    async def echo(call: Call) -> Reply:
        return Reply(call.body, media_type=b"text/plain")

    async def hold(call: Call) -> Reply:
        try:
            await seen.released.wait()
        except asyncio.CancelledError:
            seen.cancelled.append(call.request_id)
            raise
        return json_reply({"id": call.request_id})

    async def hello(_: Call) -> Reply:
        return Reply(b"hello", media_type=b"text/plain")

    async def deadline(call: Call) -> Reply:
        return json_reply({"remaining": call.deadline - asyncio.get_running_loop().time()})

    async def broken(_: Call) -> Reply:
        raise RuntimeError("secret")

    work = {"/echo": echo, "/hold": hold, "/deadline": deadline, "/broken": broken}
    operations = [Operation("POST", path, handler, "", "", {}) for path, handler in work.items()]
    operations.append(Operation("GET", "/hello", hello, "", "", {}, work=False))
    with tempfile.TemporaryFile() as lines:
        log = RequestLog(lines.fileno())
        settings = Options(**options)  # type: ignore[arg-type]
        metrics = RequestMetrics(registry)
        places = Places(settings.max_concurrency, metrics.in_flight)
        application = RestApplication(operations, settings, metrics, ("m", "1"), log, places)
        listening = bind("127.0.0.1", 0)
        server = HttpServer(application)
        await server.listen(listening)
        seen = Serving(listening.getsockname()[1], registry, server, application)
        try:
            yield seen
        finally:
            seen.released.set()
            application.draining = True
            await server.drain(1)
            log.close()


@dataclass
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


async def answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:-2])
    body = b"" if head else await reader.readexactly(int(headers["content-length"]))
    return Answer(int(lines[0].split()[1]), headers, body)


def post(path: str, body: bytes = b"{}", more: str = "", *, length: bool = True) -> bytes:
    size = f"content-length: {len(body)}\r\n" if length else ""
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{JSON}{more}{size}\r\n".encode() + body


async def eventually(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
