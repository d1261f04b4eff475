"""Deadlines, overload, and clients that go away."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from inference_services.serving import rest
from inference_services.serving.deadlines import allowed_seconds
from inference_services.serving.errors import RequestError, overloaded, unavailable
from tests.inference_services.serving.application import JSON, answer, eventually, post, serving


@given(st.decimals(min_value="0.001", max_value="99999", places=3), st.floats(0.001, 1e5))
def test_a_request_has_what_it_asks_for_but_no_more_than_the_server_allows(given_, limit):
    assert allowed_seconds(str(given_).encode(), limit) == min(float(given_), limit)
    assert allowed_seconds(None, limit) == limit


@pytest.mark.parametrize("bad", [b"", b"soon", b"-1", b"0", b"0.0", b"1s", b"nan", b"inf", b"1e3", b" 1", b"9" * 400])
def test_a_time_out_that_is_none_is_refused_with_the_headers_name(bad):
    with pytest.raises(RequestError) as refused:
        allowed_seconds(bad, 30)
    assert refused.value.status == 422
    assert refused.value.problems[0].loc == ("header", "x-request-timeout")


@given(st.floats(0, 100))
def test_overload_is_429_with_whole_seconds_to_wait(seconds):
    error = overloaded("full", seconds)
    assert error.status == 429
    ((name, value),) = error.headers
    assert name == "retry-after"
    assert int(value) >= 1
    assert seconds <= int(value) <= max(1, seconds + 1)
    assert unavailable("down").status == 503


def test_the_deadline_reaches_the_handler_and_ends_it_with_504():
    async def scenario():
        async with serving(request_timeout=20) as server:
            reader, writer = await server.connect()
            for header, remaining in (("", 20), ("x-request-timeout: 7.5\r\n", 7.5), ("x-request-timeout: 90\r\n", 20)):
                writer.write(post("/deadline", b"{}", header))
                assert json.loads((await answer(reader)).body)["remaining"] == pytest.approx(remaining, abs=1)
            writer.write(post("/hold", b"{}", "x-request-timeout: 0.05\r\nx-request-id: late\r\n"))
            late = await answer(reader)
            assert late.status == 504
            assert b"0.05 seconds" in late.body
            assert server.cancelled == ["late"]
            writer.write(post("/echo", b"{}", "x-request-timeout: soon\r\n"))
            assert (await answer(reader)).status == 422
            writer.write(post("/echo", b"still here"))  # the connection stays usable
            assert (await answer(reader)).body == b"still here"
            assert server.in_flight() == 0

    uvloop.run(scenario())


@pytest.mark.parametrize(("header", "status"), [("", 408), ("x-request-timeout: 0.05\r\n", 504)])
def test_a_body_that_dribbles_is_given_up(header, status):
    async def scenario():
        async with serving(request_timeout=0.2) as server:
            reader, writer = await server.connect()
            writer.write(f"POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}{header}content-length: 50\r\n\r\n{{".encode())
            late = await answer(reader)
            assert (late.status, late.headers["connection"]) == (status, "close")
            assert await reader.read() == b""
            assert server.in_flight() == 0

    uvloop.run(scenario())


def test_a_full_server_refuses_before_the_body_and_keeps_the_connection():
    async def scenario():
        async with serving(max_concurrency=2) as server:
            held = [await server.connect() for _ in range(2)]
            for _, writer in held:
                writer.write(post("/hold"))
            await eventually(lambda: server.in_flight() == 2)
            reader, writer = await server.connect()
            writer.write(f"POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 3\r\n\r\n".encode())
            full = await answer(reader)  # nothing of the body has been sent
            assert (full.status, full.headers["retry-after"]) == (429, "1")
            assert b'"type":"overloaded"' in full.body
            writer.write(b"one" + b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await answer(reader)).body == b"hello"  # what is no work is answered all the same
            server.released.set()
            for one, _ in held:
                assert (await answer(one)).status == 200
            writer.write(post("/echo", b"one"))
            assert (await answer(reader)).status == 200
            assert server.count(429, "/echo") == 1

    uvloop.run(scenario())


@pytest.mark.parametrize("reset", [True, False])
def test_the_work_of_a_client_that_went_away_is_dropped_and_counted_as_499(reset):
    async def scenario():
        async with serving(max_concurrency=1) as server:
            reader, writer = await server.connect()
            writer.write(post("/hold", b"{}", "x-request-id: gone\r\n"))
            await eventually(lambda: server.in_flight() == 1)
            writer.transport.abort() if reset else writer.close()
            await eventually(lambda: server.count(499) == 1)
            assert server.cancelled == ["gone"]
            reader, writer = await server.connect()
            writer.write(post("/echo", b"room again"))
            assert (await answer(reader)).body == b"room again"

    uvloop.run(scenario())


@pytest.mark.parametrize("timeout", ["0.0000001", "0.0001", "0.0004", "0.001", "0.002", "0.003"])
def test_a_deadline_that_is_over_before_the_work_begins_is_answered_and_frees_the_place(timeout):
    async def scenario():
        async with serving(max_concurrency=2) as server:
            reader, writer = await server.connect()
            for number in range(1, 6):
                writer.write(post("/hold", b"{}", f"x-request-timeout: {timeout}\r\n"))
                assert (await answer(reader)).status == 504
                assert server.in_flight() == 0
                assert server.count(504) == number
            writer.write(post("/echo", b"room"))
            assert (await answer(reader)).body == b"room"

    uvloop.run(scenario())


def test_a_client_that_leaves_before_the_work_begins_frees_the_place():
    async def scenario():
        async with serving(max_concurrency=1) as server:
            _, writer = await server.connect()
            run = server.application.run

            def run_and_lose(exchange):
                run(exchange)
                exchange.connection.connection_lost(None)

            server.application.run = run_and_lose
            writer.write(post("/hold"))
            await eventually(lambda: server.count(499) == 1)
            assert server.in_flight() == 0
            assert server.cancelled == []
            writer.transport.abort()

    uvloop.run(scenario())


def test_clients_that_send_slowly_do_not_crowd_out_those_that_do_not(monkeypatch):
    monkeypatch.setattr(rest, "_BODY_S", 0.4)

    async def scenario():
        async with serving(max_concurrency=2) as server:
            slow = [await server.connect() for _ in range(3)]
            for _, writer in slow:
                writer.write(post("/echo", b"{}")[:-1])
                await asyncio.sleep(0.02)
            assert server.in_flight() == 0
            assert (await answer(slow[0][0])).status == 429  # they are bounded too: the slowest goes
            reader, writer = await server.connect()
            for _ in range(5):
                request = post("/echo", b"whole")
                writer.write(request[:-5])  # as many clients do, the body after the head
                await asyncio.sleep(0.005)
                writer.write(request[-5:])
                assert (await answer(reader)).body == b"whole"
            assert (await answer(slow[1][0])).status == 429
            late = await answer(slow[2][0])
            assert (late.status, late.headers["connection"]) == (408, "close")
            assert b"0.4 seconds" in late.body
            assert not server.application._incomplete

    uvloop.run(scenario())


def test_work_may_take_longer_than_a_body():
    async def scenario():
        async with serving(request_timeout=0.3) as server:
            reader, writer = await server.connect()
            writer.write(post("/hold")[:-1])
            await asyncio.sleep(0.02)
            writer.write(b"}")
            started = asyncio.get_running_loop().time()
            assert (await answer(reader)).status == 504
            assert asyncio.get_running_loop().time() - started > 0.2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest, "_BODY_S", 0.1)
        uvloop.run(scenario())


@pytest.mark.parametrize("body", ["content-length: 1999999\r\n\r\nxxx", "transfer-encoding: chunked\r\n\r\n3\r\nxxx"])
def test_where_nothing_is_to_be_sent_no_body_is_taken(body):
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(f"GET /hello HTTP/1.1\r\nhost: x\r\n{body}".encode())
            assert (await answer(reader)).status == 413
            (connection,) = server.http._connections
            assert connection._reading.parts == []
            writer.transport.abort()

    uvloop.run(scenario())


def test_a_client_that_leaves_within_its_body_is_forgotten():
    async def scenario():
        async with serving(max_concurrency=1) as server:
            _, writer = await server.connect()
            writer.write(post("/hold")[:-1])
            await eventually(lambda: len(server.application._incomplete) == 1)
            writer.transport.abort()
            await eventually(lambda: not server.application._incomplete)
            assert server.count(499) == 1
            assert server.in_flight() == 0

    uvloop.run(scenario())


def test_draining_answers_what_runs_and_closes_the_rest():
    async def scenario():
        async with serving() as server:
            reader, writer = await server.connect()
            idle, _ = await server.connect()
            writer.write(post("/hold"))
            await eventually(lambda: server.in_flight() == 1)
            server.application.draining = True
            drained = asyncio.create_task(server.http.drain(5))
            await asyncio.sleep(0.2)
            server.released.set()
            got = await answer(reader)
            assert (got.status, got.headers["connection"]) == (200, "close")
            assert await idle.read() == b""
            await drained

    uvloop.run(scenario())
