"""REST: literal routes with limits, deadlines, request ids, metrics and one shape for errors."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus
from itertools import count

from inference_services.serving.admission import Places
from inference_services.serving.deadlines import HEADER, allowed_seconds
from inference_services.serving.errors import RequestError, refuse, too_late
from inference_services.serving.http_connection import Exchange
from inference_services.serving.metrics import Answers, RequestMetrics
from inference_services.serving.model import Call, Operation, Reply
from inference_services.serving.options import Options
from inference_services.serving.request_log import RequestLog, described

Headers = Mapping[bytes, bytes]

_log = logging.getLogger("serving")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_MODEL_PATH = re.compile(r"/v[12]/models/(?P<model>[^/:]+)(/versions/(?P<version>[^/]+))?")
_UNKNOWN_ROUTE = "unknown"
_TIMEOUT = HEADER.encode()
_CLIENT_GONE = 499
_FAILED = "the server failed; the log has the request id"
# A body that comes must come at once: who sends slowly holds memory, but no place of those that are worked on.
_BODY_S = 10.0
_TICK_S = 0.002  # an event loop's timers are no finer
_numbers = count()
_process = (0, "")


def new_request_id(given: bytes | None) -> str:
    """The caller's request id if it is a plain word of at most 128 characters, else a new one: 32 hex digits."""
    global _process  # noqa: PLW0603  # drawn anew after a fork
    if given and _REQUEST_ID.fullmatch(given):
        return given.decode()
    if _process[0] != os.getpid():
        _process = (os.getpid(), os.urandom(10).hex())
    return f"{_process[1]}{next(_numbers):012x}"


class _Route:
    """A path and a method, with what is the same for each of its requests."""

    __slots__ = ("allowed", "description", "method", "metrics", "operation", "path")

    def __init__(self, operation: Operation, method: str, metrics: RequestMetrics, allowed: Sequence[str]) -> None:
        self.operation = operation
        self.method = method
        self.path = operation.path
        self.allowed = allowed
        self.metrics: Answers = metrics.http(method, operation.path, timed=operation.work)
        self.description = described("request", method=method, path=operation.path)


class _Work:
    """What is known of an exchange while it is worked on."""

    __slots__ = (
        "admitted",
        "deadline",
        "finished",
        "gone",
        "incomplete",
        "request_id",
        "route",
        "running",
        "seconds",
        "started",
        "task",
        "timer",
    )

    def __init__(self, started: float, request_id: str) -> None:
        self.started = started
        self.request_id = request_id
        self.route: _Route | None = None
        self.incomplete = self.admitted = self.running = self.finished = False
        self.gone = False
        self.seconds = self.deadline = 0.0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class RestApplication:
    """Answers the requests of HTTP connections. Needs a running event loop.

    Args:
        operations: What it answers.
        options: Its limits.
        metrics: Where requests are counted.
        model: Name of the model and its version, for the answer to a path of another model.
        log: Where requests are written.
        places: The places that requests for work need.

    Attributes:
        draining: Set once the server ends: clients are asked to close their connections.
        max_body: Largest body, in bytes.
    """

    draining = False

    def __init__(
        self,
        operations: Sequence[Operation],
        options: Options,
        metrics: RequestMetrics,
        model: tuple[str, str],
        log: RequestLog,
        places: Places,
    ) -> None:
        self.max_body = options.max_body
        self._routes: dict[tuple[bytes, bytes], _Route] = {}
        self._methods: dict[str, list[str]] = {}
        for operation in operations:
            methods = self._methods.setdefault(operation.path, [])
            for method in (operation.method, "HEAD") if operation.method == "GET" else (operation.method,):
                methods.append(method)
                route = _Route(operation, method, metrics, methods)
                self._routes[method.encode(), operation.path.encode()] = route
        self._options = options
        self._unknown = metrics.http("any", _UNKNOWN_ROUTE, timed=False)
        self._model, self._version = model
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._places = places
        self._incomplete: dict[Exchange, None] = {}  # they wait for their bodies, the oldest first
        self._heads: dict[tuple[int, bytes, tuple[tuple[bytes, bytes], ...]], bytes] = {}
        self._date = (0, b"")
        self._full = _refusal(places.full)

    def begin(self, exchange: Exchange) -> None:
        """Refuses a request for what stands in its head, or admits it."""
        headers = exchange.headers
        work = exchange.state = _Work(time.perf_counter(), new_request_id(headers.get(b"x-request-id")))
        try:
            route = work.route = self._routes.get((exchange.method, exchange.url)) or self._find(exchange)
            work.seconds = self._options.request_timeout
            now = self._loop.time()
            if route.operation.work:
                if self._places.taken >= self._places.limit:
                    self._answer(exchange, self._full)
                    return
                _check_headers(headers, self.max_body)
                if _TIMEOUT in headers:
                    work.seconds = allowed_seconds(headers[_TIMEOUT], work.seconds)
                if exchange.more:
                    work.incomplete = True
                    self._incomplete[exchange] = None
                    if len(self._incomplete) > self._places.limit:
                        # Not this one: most send their body at once.
                        self._answer(next(iter(self._incomplete)), self._full)
            elif headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
                raise refuse(("body",), "there is nothing to send here", "too_large", status=413)
            work.deadline = until = now + work.seconds
            if work.incomplete and work.seconds > _BODY_S:
                until = now + _BODY_S
            work.timer = self._loop.call_at(until, self._expire, exchange)
        except RequestError as error:
            self._answer(exchange, _refusal(error))
        except Exception:  # noqa: BLE001 - see _failed
            self._answer(exchange, _failed(work.request_id, _shown(exchange.url, 200)))

    def refuse(self, exchange: Exchange) -> None:
        """Refuses a request for its form."""
        if exchange.state is None:
            exchange.state = _Work(time.perf_counter(), new_request_id(exchange.headers.get(b"x-request-id")))
        if exchange.fault == 413:
            error = _too_large(self.max_body)
        elif exchange.fault == 431:
            error = refuse(("header",), "the head of the request is too long", "too_large", status=431)
        elif exchange.fault == 500:
            error = refuse(("server",), _FAILED, "fault", status=500)
        elif exchange.fault == 505:
            error = refuse(("request",), "speak HTTP/1.1", "malformed", status=505)
        else:
            error = refuse(("request",), "this is no HTTP/1.1 request", "malformed", status=400)
        self._answer(exchange, _refusal(error))

    def run(self, exchange: Exchange) -> None:
        """Works on a request whose body is there."""
        work: _Work = exchange.state
        route = work.route
        if route is None:
            return
        if work.incomplete:
            work.incomplete = False
            del self._incomplete[exchange]
        if route.operation.work:
            if not self._places.take():
                self._answer(exchange, self._full)
                return
            work.admitted = True
        work.task = self._loop.create_task(self._work(exchange, work, route))

    def gone(self, exchange: Exchange) -> None:
        """Drops the work of a client that has gone."""
        work: _Work = exchange.state
        work.gone = True
        if work.task is not None:
            work.task.cancel()
        if not work.running:
            self._finish(exchange, _CLIENT_GONE)

    async def _work(self, exchange: Exchange, work: _Work, route: _Route) -> None:
        work.running = True  # a task that is cancelled before gets no step at all
        accept = exchange.headers.get(b"accept", b"").decode("latin-1").lower()
        call = Call(exchange.body(), work.request_id, accept, work.deadline)
        try:
            reply = await route.operation.handler(call)
        except RequestError as error:
            reply = _refusal(error)
        except (asyncio.CancelledError, TimeoutError):
            if work.gone:
                self._finish(exchange, _CLIENT_GONE)
                return
            reply = _refusal(too_late(work.seconds))
        except Exception:  # noqa: BLE001 - see _failed
            reply = _failed(work.request_id, route.path)
        self._answer(exchange, reply)

    def _expire(self, exchange: Exchange) -> None:
        """Ends what takes too long: a request, or the coming of its body."""
        work: _Work = exchange.state
        over = work.deadline - self._loop.time() < _TICK_S
        if work.task is not None:
            if not over:
                work.timer = self._loop.call_at(work.deadline, self._expire, exchange)
                return
            work.task.cancel()
            if not work.running:
                self._answer(exchange, _refusal(too_late(work.seconds)))
        elif not exchange.answered:
            exchange.keep_alive = False
            error = too_late(work.seconds)
            if not over or work.seconds == self._options.request_timeout:
                message = f"the body did not arrive within {min(_BODY_S, work.seconds):g} seconds"
                error = refuse(("server",), message, "timeout", status=408)
            self._answer(exchange, _refusal(error))

    def _answer(self, exchange: Exchange, reply: Reply) -> None:
        work: _Work = exchange.state
        keep_alive = exchange.stays_open() and not self.draining
        kind = (reply.status, reply.media_type, reply.headers)
        head = self._heads.get(kind) or self._head(kind)
        response = b"%bdate: %b\r\ncontent-length: %d\r\nx-request-id: %b%b\r\n\r\n%b" % (
            head,
            self._now(),
            len(reply.body),
            work.request_id.encode(),
            b"" if keep_alive else b"\r\nconnection: close",
            b"" if exchange.method == b"HEAD" else reply.body,
        )
        if not work.gone:
            exchange.answer(response, keep_alive=keep_alive)
        self._finish(exchange, reply.status)

    def _finish(self, exchange: Exchange, status: int) -> None:
        """Counts and logs an answer, and makes room for the next request."""
        work: _Work = exchange.state
        if work.finished:
            return
        work.finished = True
        if work.timer is not None:
            work.timer.cancel()
        if work.incomplete:
            del self._incomplete[exchange]
        if work.admitted:
            self._places.leave()
        seconds = time.perf_counter() - work.started
        route = work.route
        if route is None:
            self._unknown.observe(status, seconds)
            what = described("request", method=_shown(exchange.method, 16), path=_shown(exchange.url, 200))
            self._log.add(what, work.request_id, b"%d" % status, seconds)
        else:
            route.metrics.observe(status, seconds)
            if route.operation.work:
                self._log.add(route.description, work.request_id, b"%d" % status, seconds)

    def _head(self, kind: tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]) -> bytes:
        """The head of a response as far as it is the same for all of its kind."""
        status, media_type, headers = kind
        phrase = HTTPStatus(status).phrase.encode()
        lines = [b"HTTP/1.1 %d %b" % (status, phrase), b"content-type: " + media_type]
        lines += [b"x-content-type-options: nosniff", *(b"%b: %b" % header for header in headers), b""]
        head = b"\r\n".join(lines)
        if len(self._heads) < _KINDS:
            self._heads[kind] = head
        return head

    def _now(self) -> bytes:
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]

    def _find(self, exchange: Exchange) -> _Route:
        """The route of a URL that is not written as the route is."""
        path = _path(exchange.url)
        method = exchange.method.decode("ascii")
        route = self._routes.get((exchange.method, path.encode(errors="replace")))
        if route is not None:
            return route
        methods = self._methods.get(path)
        if methods is not None:
            error = refuse(("method",), f"use {' or '.join(methods)}, not {method}", "method_not_allowed", status=405)
            raise RequestError(405, error.problems, [("allow", ", ".join(methods))])
        match = _MODEL_PATH.match(path)
        if match and match["model"] != self._model:
            message = f"no model is named {match['model'][:80]!r}: this server has {self._model!r}"
            raise refuse(("path", "model_name"), message, "model_not_found", status=404)
        if match and match["version"] not in (None, self._version):
            message = f"no version {match['version'][:80]!r}: this server has {self._version!r}"
            raise refuse(("path", "model_version"), message, "version_not_found", status=404)
        raise refuse(("path",), "there is nothing at this path; see /docs", "not_found", status=404)


# Heads of responses that are kept: a Retry-After or a Location could be of any kind.
_KINDS = 256


def _path(url: bytes) -> str:
    """The path of a request's URL, without its query."""
    text = url.decode("latin-1")
    if not text.startswith("/"):
        try:
            text = urllib.parse.urlsplit(text).path or "/"
        except ValueError as error:
            raise refuse(("path",), f"this is no URL: {error}", "malformed", status=400) from None
    return urllib.parse.unquote(text.partition("?")[0], errors="replace")


def _shown(text: bytes, length: int) -> str:
    return text[:length].decode("ascii", "replace")


def _check_headers(headers: Headers, max_body: int) -> None:
    media_type = headers.get(b"content-type", b"application/json")
    if media_type != b"application/json":
        media_type = media_type.split(b";", 1)[0].strip().lower()
    if media_type != b"application/json" or b"inference-header-content-length" in headers:
        message = "send JSON as 'application/json'; binary tensors go over gRPC"
        raise refuse(("header", "content-type"), message, "unsupported_media_type", status=415)
    if headers.get(b"content-encoding", b"identity") != b"identity":
        message = "send the body without compression"
        raise refuse(("header", "content-encoding"), message, "unsupported_media_type", status=415)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > max_body:
        raise _too_large(max_body)


def _too_large(limit: int) -> RequestError:
    return refuse(("body",), f"is larger than {limit} bytes: send fewer rows at a time", "too_large", status=413)


def _failed(request_id: str, path: str) -> Reply:
    """The answer when the server itself fails: the caller gets a plain message, the log the trace."""
    _log.exception("request failed", extra={"fields": {"request_id": request_id, "path": path}})
    return _refusal(refuse(("server",), _FAILED, "fault", status=500))


def _refusal(error: RequestError) -> Reply:
    headers = tuple((name.encode(), value.encode()) for name, value in error.headers)
    return Reply(error.json(), error.status, headers=headers)
