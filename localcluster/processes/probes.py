"""Carries out one probe, as a kubelet would: an answer within the time-out, or not healthy."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping

from localcluster.processes.process_spec import Exec, Grpc, HttpGet, Probe, TcpSocket

_MAX_STATUS_LINE = 1024
# grpc.health.v1.HealthCheckResponse with `status: SERVING` (field 1, varint 1).
_SERVING = b"\x08\x01"


async def healthy(probe: Probe, environment: Mapping[str, str]) -> bool:
    """Whether a probe succeeds now.

    Args:
        probe: The probe.
        environment: Environment of its command, for an exec probe.
    """
    try:
        async with asyncio.timeout(probe.timeout_s):
            match probe.action:
                case HttpGet() as get:
                    return await _http_get(get)
                case TcpSocket() as socket:
                    _, writer = await asyncio.open_connection(socket.host, socket.port)
                    writer.close()
                    return True
                case Grpc() as grpc:
                    return await _grpc(grpc)
                case Exec() as command:
                    return await _exec(command, environment)
    except (OSError, TimeoutError, ValueError, EOFError, asyncio.LimitOverrunError):
        return False


async def _http_get(get: HttpGet) -> bool:
    context = _unverified() if get.scheme == "https" else None
    reader, writer = await asyncio.open_connection(get.host, get.port, ssl=context, limit=_MAX_STATUS_LINE)
    try:
        given = {name.lower() for name, _ in get.headers}
        defaults = (("Host", f"{get.host}:{get.port}"), ("User-Agent", "localcluster-probe"), ("Connection", "close"))
        headers = [*get.headers, *(header for header in defaults if header[0].lower() not in given)]
        lines = [f"GET {get.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        protocol, status, *_ = (await reader.readuntil(b"\r\n")).decode("latin-1").split(" ", 2)
        return protocol.startswith("HTTP/") and 200 <= int(status) < 400
    finally:
        writer.close()


@functools.cache
def _unverified() -> ssl.SSLContext:
    """A kubelet does not verify certificates either: the probe asks whether the server lives."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _grpc(grpc: Grpc) -> bool:
    import grpc.aio as grpc_aio

    # HealthCheckRequest: field 1, the service's name; one message, so no generated code.
    name = grpc.service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    async with grpc_aio.insecure_channel(f"{grpc.host}:{grpc.port}") as channel:
        try:
            answer: bytes = await channel.unary_unary("/grpc.health.v1.Health/Check")(request)
        except grpc_aio.AioRpcError:
            return False
    return answer == _SERVING


async def _exec(command: Exec, environment: Mapping[str, str]) -> bool:
    process = await asyncio.create_subprocess_exec(
        *command.command,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        return await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
