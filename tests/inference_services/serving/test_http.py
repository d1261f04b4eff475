"""HTTP/1.1 as the kit speaks it: whatever comes, in whatever pieces, is answered in order; nothing is held for long."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_services.serving import http_server
from tests.inference_services.serving.application import answer, eventually, post, serving

# Clients of these tests are connected; the rest of a drain is tested as it is.
http_server._LAST_ACCEPTED_S = 0.0

GET = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"HEAD /hello HTTP/1.1\r\nhost: x\r\n\r\n"


def chunked(path: str, *parts: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"
    return post(path, b"", "transfer-encoding: chunked\r\n", length=False) + body


# What may be sent on a connection that stays open, with the status and body of its answer (None: any).
REQUESTS = [
    (GET, 200, b"hello"),
    (HEAD, 200, b""),
    (post("/echo", b"one"), 200, b"one"),
    (post("/echo?x=1", b"query"), 200, b"query"),
    (post("/e%63ho", b"quoted"), 200, b"quoted"),
    (post("http://host/echo", b"absolute"), 200, b"absolute"),
    (post("/echo", b""), 200, b""),
    (chunked("/echo", b"in ", b"pieces"), 200, b"in pieces"),
    (chunked("/echo"), 200, b""),
    (post("/echo", b"x" * 200), 413, None),
    (chunked("/echo", b"x" * 60, b"y" * 60, b"z" * 300), 413, None),
    (post("/nothing", b"some body"), 404, None),
    (chunked("/nothing", b"some", b"body"), 404, None),
    (post("/hello", b"x"), 405, None),
    (post("/echo", b"{}", "content-encoding: gzip\r\n"), 415, None),
    (post("/broken"), 500, None),
    (post("/echo", b"old", "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"), 200, b"old"),
    (
        post("/echo", b"", "connection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n", length=False)
        + b"3\r\nold\r\n0\r\n\r\n",
        200,
        b"old",
    ),
    (GET.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"), 200, b"hello"),
    (GET.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"), 200, b"hello"),
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_however_requests_are_cut_up_and_strung_together_each_is_answered_in_its_turn(data):
    chosen = data.draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=12))
    stream = b"".join(request for request, _, _ in chosen)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))

    async def scenario():
        async with serving(max_body=100, max_concurrency=1) as server:
            reader, writer = await server.connect()
            for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
                writer.write(stream[start:end])
                await asyncio.sleep(0.0005)
            for request, status, body in chosen:
                got = await answer(reader, head=request.startswith(b"HEAD"))
                assert got.status == status, (request, got)
                assert body is None or got.body == body
                assert "connection" not in got.headers
            await eventually(lambda: server.in_flight() == 0)
            writer.close()

    uvloop.run(scenario())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_refused_after_what_came_before_it_and_ends_the_connection(garbage, first):
    async def scenario():
        async with serving(max_body=100) as server:
            reader, writer = await server.connect()
            writer.write((post("/echo", b"one") if first else b"") + garbage + b"\x00\r\n\r\n")
            if first:
                assert (await answer(reader)).body == b"one"
            writer.write_eof()
            rest = await asyncio.wait_for(reader.read(), 5)
            assert not rest or rest.startswith(b"HTTP/1.1 4")
            writer.close()
            await eventually(lambda: server.in_flight() == 0)

    uvloop.run(scenario())


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -2\r\n\r\n{}",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n{}",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /hello HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"CONNECT host:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_ambiguous_or_broken_requests_are_refused_with_400_and_nothing_after_them_is_read(request_):
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(request_ + GET)
            got = await answer(reader)
            assert (got.status, got.headers["connection"]) == (400, "close")
            assert b'"type":"malformed"' in got.body
            assert await reader.read() == b""
            assert server.in_flight() == 0
            writer.close()

    uvloop.run(scenario())


@pytest.mark.parametrize("head", [b"GET /" + b"a" * 400_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 60_000])
def test_a_head_without_end_is_cut_off(head):
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(head)
            assert (await answer(reader)).status == 431
            writer.close()

    uvloop.run(scenario())


@pytest.mark.parametrize("end", [b"t: %b\r\n" % (b"v" * 600), b"v" * 600])
def test_trailers_without_end_are_cut_off(end):
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(post("/echo", b"", "transfer-encoding: chunked\r\n", length=False) + b"2\r\n{}\r\n0\r\nt: v")
            for _ in range(1_000):
                writer.write(end)
            got = await answer(reader)
            assert (got.status, got.headers["connection"]) == (431, "close")
            assert not server.application._incomplete
            assert all(len(connection._headers) < 2 for connection in server.http._connections)
            writer.transport.abort()

    uvloop.run(scenario())


def test_many_small_chunks_and_a_trailer_are_a_request():
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            body = b"1\r\nx\r\n" * 100_000 + b"0\r\ntrailer: x\r\nhost: y\r\n\r\n"
            writer.write(post("/echo", b"", "transfer-encoding: chunked\r\n", length=False) + body + GET)
            assert (await answer(reader)).body == b"x" * 100_000
            assert (await answer(reader)).body == b"hello"
            writer.close()

    uvloop.run(scenario())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /hello HTTP/2.0\r\nhost: x\r\n\r\n", (400, 505)),
        (b"GET /hello HTTP/0.9\r\n\r\n", (400, 505)),
        (b"GET http://[::1/hello HTTP/1.1\r\nhost: x\r\n\r\n", (400,)),
        (b"POST /echo HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{}", (200,)),
    ],
)
def test_other_versions_and_urls_that_are_none(request_, status):
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(request_)
            assert (await answer(reader)).status in status
            writer.close()

    uvloop.run(scenario())


@pytest.mark.parametrize("callback", ["run", "begin"])
def test_a_fault_of_the_server_is_a_500_and_in_the_log(monkeypatch, caplog, callback):
    async def scenario():
        async with serving() as server:

            def fail(*_):
                raise RuntimeError("secret")

            broken = "run" if callback == "run" else "_find"
            monkeypatch.setattr(server.application, broken, fail)
            reader, writer = await server.connect()
            writer.write(post("/echo?x=1"))
            got = await answer(reader)
            assert got.status == 500
            assert b"secret" not in got.body
            assert "secret" in caplog.text
            assert server.in_flight() == 0
            writer.close()

    uvloop.run(scenario())


def test_a_client_that_ends_its_side_after_its_requests_gets_its_answers():
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(post("/hold") + post("/echo", b"two") + GET)
            writer.write_eof()
            await asyncio.sleep(0.1)
            server.released.set()
            assert (await answer(reader)).status == 200
            assert (await answer(reader)).body == b"two"
            assert (await answer(reader)).body == b"hello"
            assert await asyncio.wait_for(reader.read(), 1) == b""
            writer.close()

    uvloop.run(scenario())


@pytest.mark.parametrize(
    "request_", [b"GET /hello HTTP/1.0\r\n\r\n", b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"]
)
def test_a_client_that_wants_the_connection_closed_gets_that(request_):
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(request_ + GET)
            assert (await answer(reader)).headers["connection"] == "close"
            assert await reader.read() == b""
            writer.close()

    uvloop.run(scenario())


def test_a_client_that_asks_first_is_told_to_go_on_or_refused_before_it_sends():
    async def scenario():
        async with serving(max_body=100) as server:
            reader, writer = await server.connect()
            head = post("/echo", b"", "expect: 100-continue\r\ncontent-length: 3\r\n", length=False)
            writer.write(head)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"one")
            assert (await answer(reader)).body == b"one"
            writer.write(head.replace(b"length: 3", b"length: 3000"))
            got = await answer(reader)
            assert (got.status, got.headers["connection"], await reader.read()) == (413, "close", b"")
            writer.close()

    uvloop.run(scenario())


def test_a_client_that_does_not_read_its_answers_is_not_read_any_further():
    async def scenario():
        body = b"x" * 100_000
        async with serving() as server:
            reader, writer = await server.connect()
            request = post("/echo", body)
            writer.transport.set_write_buffer_limits(high=0)
            sent = 0
            try:
                async with asyncio.timeout(0.5):
                    while True:
                        writer.write(request)
                        await writer.drain()
                        sent += 1
            except TimeoutError:
                pass
            assert sent < 500
            for _ in range(sent):
                assert (await answer(reader)).body == body
            writer.transport.abort()

    uvloop.run(scenario())


def test_idle_connections_and_heads_that_dribble_are_closed(monkeypatch):
    monkeypatch.setattr(http_server, "_KEEP_ALIVE_S", 0.3)
    monkeypatch.setattr(http_server, "_SWEEP_S", 0.05)

    async def scenario():
        async with serving() as server:
            idle, _ = await server.connect()
            dribbling, writer = await server.connect()
            busy, busy_writer = await server.connect()
            busy_writer.write(post("/hold"))
            for byte in b"GET /hello":
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)
                if dribbling.at_eof():
                    break
            assert await idle.read() == b""
            with pytest.raises(ConnectionError) if not dribbling.at_eof() else pytest.raises(EOFError):
                if not await dribbling.read():
                    raise EOFError
            server.released.set()
            assert (await answer(busy)).status == 200  # work is not idling

    uvloop.run(scenario())


def test_two_thousand_connections_are_served_and_held_cheaply():
    async def scenario():
        async with serving(max_concurrency=2_000) as server:
            connections = []
            for _ in range(40):
                connections += await asyncio.gather(*(server.connect() for _ in range(50)))
            for _, writer in connections:
                writer.write(post("/echo", b"one"))
            for reader, _ in connections:
                assert (await answer(reader)).status == 200
            for _, writer in connections:
                writer.transport.abort()

    http_server.allow_many_connections()
    uvloop.run(scenario())
