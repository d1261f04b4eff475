"""The API server: one folder on disk, one token, two loopback ports."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from localcluster.api import discovery, openapi, routes
from localcluster.api.auth import OPEN_PATHS, Guard
from localcluster.api.certificate import CERTIFICATE, server_context
from localcluster.api.collector import GarbageCollector
from localcluster.api.deletion import PERMANENT_NAMESPACES
from localcluster.api.errors import ApiError, bad_request
from localcluster.api.handlers import Handlers, LogFile, json_response
from localcluster.api.persistence import Database
from localcluster.api.registry import Registry, WriteOptions
from localcluster.api.resources import NAMESPACES
from localcluster.api.retention import EventRetention
from localcluster.api.store import Key, Store

_LOG = logging.getLogger("localcluster")
HOST = "127.0.0.1"
_LARGEST_BODY = 3 << 20
_IDLE_CONNECTION_S = 120
# Streams end by themselves when the server does; this is for a client that does not read.
_SHUTDOWN_S = 1.0


def _no_logs(namespace: str, pod: str, previous: bool) -> Path | None:  # as `LogFile` is called
    del namespace, pod, previous
    return None


class ApiServer:
    """Serves the Kubernetes API on loopback. Use it as an asynchronous context manager.

    Args:
        folder: Where objects and the server's key are kept; made, for its owner alone, if it is not there.
        token: What every request must bear.
        port: Port of plain HTTP, for what runs beside it in the cluster; 0 for a free one.
        secure_port: Port of HTTPS, for kubectl, which sends its token over TLS only; 0 for a free one.
        logs: Where the logs of pods are.

    Attributes:
        url: Where plain HTTP is answered.
        secure_url: Where HTTPS is answered.
    """

    def __init__(
        self, folder: Path, *, token: str, port: int = 0, secure_port: int = 0, logs: LogFile = _no_logs
    ) -> None:
        self._folder = folder
        self._guard = Guard(token)
        self._ports = (port, secure_port)
        self._log_file = logs
        self._exit = AsyncExitStack()

    @property
    def port(self) -> int:
        """Port of plain HTTP."""
        return self._ports[0]

    @property
    def secure_port(self) -> int:
        """Port of HTTPS."""
        return self._ports[1]

    @property
    def url(self) -> str:
        """Where plain HTTP is answered."""
        return f"http://{HOST}:{self.port}"

    @property
    def secure_url(self) -> str:
        """Where HTTPS is answered."""
        return f"https://{HOST}:{self.secure_port}"

    @property
    def certificate(self) -> bytes:
        """What clients check the server's certificate against, as PEM."""
        return (self._folder / CERTIFICATE).read_bytes()

    async def __aenter__(self) -> Self:
        """Begins to serve.

        Raises:
            PersistenceError: What is in the folder cannot be used.
            OSError: A port is in use.
        """
        async with AsyncExitStack() as stack:
            database = Database(self._folder)
            stack.callback(database.close)
            await self._start(Store(database), stack)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def _start(self, store: Store, stack: AsyncExitStack) -> None:
        collector = GarbageCollector(store)
        retention = EventRetention(store)
        registry = Registry(store, collector.deleter)
        for name in PERMANENT_NAMESPACES:
            if store.get(Key(NAMESPACES.storage, "", name)) is None:
                registry.create(NAMESPACES, "", {"metadata": {"name": name}}, WriteOptions("apiserver"))
        collector.start()
        stack.callback(collector.stop)
        retention.start()
        stack.callback(retention.stop)
        handlers = Handlers(store, registry, collector, self._log_file)
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", partial(self._answer, handlers))
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            keepalive_timeout=_IDLE_CONNECTION_S,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        # Streams end first.
        stack.callback(handlers.close)
        secure = await asyncio.to_thread(server_context, self._folder)
        self._ports = (await _listen(runner, self._ports[0], None), await _listen(runner, self._ports[1], secure))

    async def _answer(self, handlers: Handlers, request: web.Request) -> web.StreamResponse:
        try:
            return await self._route(handlers, request)
        except ApiError as error:
            return _failure(error)
        except web.HTTPRequestEntityTooLarge:
            message = f"the body of the request is larger than {_LARGEST_BODY} bytes"
            return _failure(ApiError(413, "RequestEntityTooLarge", message))
        except web.HTTPException as error:
            return _failure(ApiError(error.status, "BadRequest", error.reason))
        except (ConnectionError, web.RequestPayloadError) as error:
            return _failure(bad_request(f"the body of the request cannot be read: {' '.join(str(error).split())}"))
        except Exception as error:  # noqa: BLE001  # one request fails, the server goes on
            _LOG.exception("%s %s", request.method, request.path)
            return _failure(ApiError(500, "InternalError", f"Internal error occurred: {type(error).__name__}"))

    async def _route(self, handlers: Handlers, request: web.Request) -> web.StreamResponse:
        path = request.path
        self._guard.check(
            path=path,
            host=request.headers.get("Host", ""),
            origin=request.headers.get("Origin"),
            authorization=request.headers.get("Authorization", ""),
        )
        if path in OPEN_PATHS:
            return web.Response(text="ok")
        place = path.rstrip("/") or "/"
        if (legacy := openapi.legacy_document(place)) is not None:
            return web.Response(body=legacy, content_type=openapi.LEGACY_TYPE)
        document = discovery.document(place)
        if document is None and place.startswith("/openapi/"):
            document = openapi.document(place)
        if document is not None:
            if request.method not in {"GET", "HEAD"}:
                raise ApiError(405, "MethodNotAllowed", "this can only be read")
            return json_response(document)
        return await handlers.handle(request, routes.find(path))


async def _listen(runner: web.AppRunner, port: int, context: ssl.SSLContext | None) -> int:
    """Listens on a port of loopback; returns which."""
    await web.TCPSite(runner, HOST, port, ssl_context=context).start()
    return int(runner.addresses[-1][1])


def _failure(error: ApiError) -> web.Response:
    response = json_response(error.status(), error.code)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="laptop cluster"'
    if error.retry_after_s:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response
