"""Deadlines, overload, and clients that go away."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

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
            writer.write(f"POST /echo HTTP/1.1\r\n{JSON}{header}content-length: 50\r\n\r\n{{".encode())
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
            writer.write(f"POST /echo HTTP/1.1\r\n{JSON}content-length: 3\r\n\r\n".encode())
            full = await answer(reader)  # nothing of the body has been sent
            assert (full.status, full.headers["retry-after"]) == (429, "1")
            assert b'"type":"overloaded"' in full.body
            writer.write(b"one" + b"GET /hello HTTP/1.1\r\n\r\n")
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


def test_a_client_that_leaves_within_its_body_frees_its_place():
    async def scenario():
        async with serving(max_concurrency=1) as server:
            _, writer = await server.connect()
            writer.write(post("/hold")[:-1])
            await eventually(lambda: server.in_flight() == 1)
            writer.transport.abort()
            await eventually(lambda: server.in_flight() == 0)
            assert server.count(499) == 1

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
