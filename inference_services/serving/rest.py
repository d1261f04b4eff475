"""REST: an ASGI application of literal routes with limits, request ids, metrics and one shape for errors."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from inference_services.serving.deadlines import HEADER, allowed_seconds
from inference_services.serving.errors import RequestError, overloaded, refuse, too_late
from inference_services.serving.metrics import RequestMetrics
from inference_services.serving.model import Call, Operation, Reply
from inference_services.serving.options import Options

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Mapping[bytes, bytes]

_log = logging.getLogger("serving")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_MODEL_PATH = re.compile(r"/v[12]/models/(?P<model>[^/:]+)(/versions/(?P<version>[^/]+))?")
_UNKNOWN_ROUTE = "unknown"
_TIMEOUT = HEADER.encode()


def new_request_id(given: bytes | None) -> str:
    """The caller's request id if it is a plain word of at most 128 characters, else a new one."""
    return given.decode() if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


class RestApplication:
    """An ASGI application.

    Args:
        operations: What it answers.
        options: Its limits.
        metrics: Where requests are counted.
        model: Name of the model and its version, for the answer to a path of another model.

    Attributes:
        draining: Set once the server ends: clients are asked to close their connections.
    """

    draining = False

    def __init__(
        self, operations: Sequence[Operation], options: Options, metrics: RequestMetrics, model: tuple[str, str]
    ) -> None:
        self._routes: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            self._routes.setdefault(operation.path, {})[operation.method] = operation
            if operation.method == "GET":
                self._routes[operation.path]["HEAD"] = operation
        self._options = options
        self._metrics = metrics
        self._model, self._version = model
        self._working = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request."""
        started = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        method = scope["method"]
        request_id = new_request_id(headers.get(b"x-request-id"))
        operation: Operation | None = None
        try:
            operation = self._route(method, scope["path"])
            reply = await self._answer(operation, headers, receive, request_id)
        except RequestError as error:
            reply = _refusal(error)
        except Exception:  # noqa: BLE001 - the caller gets a plain message, the log the trace
            _log.exception("request failed", extra={"fields": {"request_id": request_id, "path": scope["path"]}})
            reply = _refusal(refuse(("server",), "the server failed; the log has the request id", "fault", status=500))
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [
                    (b"content-type", reply.media_type),
                    (b"content-length", b"%d" % len(reply.body)),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    *([(b"connection", b"close")] if self.draining else []),
                    *reply.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": reply.body})
        seconds = time.perf_counter() - started
        route = operation.path if operation else _UNKNOWN_ROUTE
        working = operation is not None and operation.work
        self._metrics.observe_http(method if operation else "any", route, reply.status, seconds if working else None)
        if operation is None or operation.work:
            fields = {
                "request_id": request_id,
                "method": method[:16],
                "path": scope["path"][:200],
                "status": reply.status,
                "ms": round(seconds * 1e3, 2),
            }
            _log.info("request", extra={"fields": fields})

    def _route(self, method: str, path: str) -> Operation:
        methods = self._routes.get(path)
        if methods is None:
            match = _MODEL_PATH.match(path)
            if match and match["model"] != self._model:
                message = f"no model is named {match['model'][:80]!r}: this server has {self._model!r}"
                raise refuse(("path", "model_name"), message, "model_not_found", status=404)
            if match and match["version"] not in (None, self._version):
                message = f"no version {match['version'][:80]!r}: this server has {self._version!r}"
                raise refuse(("path", "model_version"), message, "version_not_found", status=404)
            raise refuse(("path",), "there is nothing at this path; see /docs", "not_found", status=404)
        operation = methods.get(method)
        if operation is None:
            error = refuse(("method",), f"use {' or '.join(methods)}", "method_not_allowed", status=405)
            raise RequestError(405, error.problems, [("allow", ", ".join(methods))])
        return operation

    async def _answer(self, operation: Operation, headers: Headers, receive: Receive, request_id: str) -> Reply:
        accept = headers.get(b"accept", b"").decode("latin-1").lower()
        if not operation.work:
            return await operation.handler(Call(b"", request_id, accept))
        if self._working >= self._options.max_concurrency:
            raise overloaded(f"{self._working} requests are being worked on: try again")
        self._working += 1
        self._metrics.in_flight.inc()
        body: bytes | None = None
        seconds = self._options.request_timeout
        try:
            _check_headers(headers, self._options.max_body)
            seconds = allowed_seconds(headers.get(_TIMEOUT), seconds)
            deadline = asyncio.get_running_loop().time() + seconds
            async with asyncio.timeout_at(deadline):
                body = await _read(receive, self._options.max_body)
                return await operation.handler(Call(body, request_id, accept, deadline))
        except TimeoutError:
            if body is not None:
                raise too_late(seconds) from None
            message = f"the body did not arrive within {seconds:g} seconds"
            raise refuse(("server",), message, "timeout", status=408) from None
        finally:
            self._working -= 1
            self._metrics.in_flight.dec()


def _check_headers(headers: Headers, max_body: int) -> None:
    media_type = headers.get(b"content-type", b"application/json").split(b";", 1)[0].strip().lower()
    if media_type != b"application/json" or b"inference-header-content-length" in headers:
        message = "send JSON as 'application/json'; binary tensors go over gRPC"
        raise refuse(("header", "content-type"), message, "unsupported_media_type", status=415)
    if headers.get(b"content-encoding", b"identity") != b"identity":
        message = "send the body without compression"
        raise refuse(("header", "content-encoding"), message, "unsupported_media_type", status=415)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > max_body:
        raise _too_large(max_body)


async def _read(receive: Receive, limit: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                break
        body = b"".join(parts)
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> RequestError:
    return refuse(("body",), f"is larger than {limit} bytes: send fewer rows at a time", "too_large", status=413)


def _refusal(error: RequestError) -> Reply:
    headers = tuple((name.encode(), value.encode()) for name, value in error.headers)
    return Reply(error.json(), error.status, headers=headers)
