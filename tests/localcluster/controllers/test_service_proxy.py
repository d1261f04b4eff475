import asyncio
import contextlib
import statistics
import time

import pytest

from localcluster.controllers.service_proxy import ServiceProxy
from tests.ports import free_ports

HOST = "127.0.0.1"


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 30))


@contextlib.asynccontextmanager
async def server(handler):
    """A TCP server on a free port; yields its address."""

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    listening = await asyncio.start_server(serve, HOST, 0)
    try:
        yield listening.sockets[0].getsockname()[:2]
    finally:
        listening.close()


@contextlib.asynccontextmanager
async def proxied(*endpoints, **settings):
    """A proxy before endpoints; yields it and its address."""
    proxy, address = ServiceProxy(**settings), (HOST, free_ports(1)[0])
    await proxy.serve(address, endpoints)
    try:
        yield proxy, address
    finally:
        proxy.close()


def named(name):
    async def handler(reader, writer):
        while line := await reader.readline():
            writer.write(name + b" " + line)
            await writer.drain()

    return handler


async def ask(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello\n")
    answer = await reader.readline()
    writer.close()
    return answer.split()[0] if answer else b""


def nobody():
    return HOST, free_ports(1)[0]


def test_connections_go_to_the_endpoint_with_the_fewest():
    async def scenario():
        async with server(named(b"a")) as a, server(named(b"b")) as b, proxied(a, b) as (_, address):
            held = [await asyncio.open_connection(*address) for _ in range(10)]
            for _, writer in held:
                writer.write(b"hello\n")
            names = [(await reader.readline()).split()[0] for reader, _ in held]
            assert sorted(names) == [b"a"] * 5 + [b"b"] * 5
            for (_, writer), name in zip(held, names, strict=True):
                if name == b"a":
                    writer.close()
            await asyncio.sleep(0.05)
            assert [await ask(address) for _ in range(3)] == [b"a"] * 3

    run(scenario())


def test_an_endpoint_that_refuses_is_passed_over():
    async def scenario():
        async with server(named(b"a")) as alive, proxied(nobody(), alive, nobody()) as (_, address):
            assert [await ask(address) for _ in range(12)] == [b"a"] * 12

    run(scenario())


@pytest.mark.parametrize("endpoints", [(), (nobody(), nobody())], ids=["none", "none that answers"])
def test_without_an_endpoint_that_answers_a_client_hears_so_at_once(endpoints):
    async def scenario():
        async with proxied(*endpoints) as (proxy, address):
            begun = time.monotonic()
            with contextlib.suppress(ConnectionError):
                assert await ask(address) == b""
            assert time.monotonic() - begun < 0.5
            await asyncio.sleep(0.02)
            assert proxy.connections == 0

    run(scenario())


def test_both_directions_carry_megabytes_and_one_may_end_before_the_other():
    sent = bytes(range(256)) * 20_000

    async def echo_after_the_end(reader, writer):
        received = await reader.read()  # until the client has said all
        writer.write(received[::-1])
        await writer.drain()

    async def scenario():
        async with server(echo_after_the_end) as endpoint, proxied(endpoint) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent[::-1]
            writer.close()

    run(scenario())


def test_a_client_that_does_not_read_holds_the_endpoint_back():
    taken = 0

    async def flood(reader, writer):
        nonlocal taken
        for _ in range(1_000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            taken += 100_000

    async def scenario():
        async with server(flood) as endpoint, proxied(endpoint) as (_, address):
            reader, writer = await asyncio.open_connection(*address, limit=1_000)
            await asyncio.sleep(0.5)
            assert taken < 20_000_000  # what the kernel's buffers hold, not the flood's 100 MB
            total = 0
            while data := await reader.read(1 << 20):
                total += len(data)
            assert total == 100_000_000
            writer.close()

    run(scenario())


def test_a_connection_to_an_endpoint_that_left_ends_its_own_way():
    async def scenario():
        async with server(named(b"old")) as old, server(named(b"new")) as new, proxied(old) as (proxy, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"1\n")
            assert await reader.readline() == b"old 1\n"
            await proxy.serve(address, [new])
            writer.write(b"2\n")
            assert await reader.readline() == b"old 2\n"
            assert await ask(address) == b"new"
            writer.close()

    run(scenario())


def test_the_end_of_an_endpoint_reaches_the_client_at_once():
    async def one_answer(reader, writer):
        await reader.readline()
        writer.write(b"bye\n")
        await writer.drain()

    async def scenario():
        async with server(one_answer) as endpoint, proxied(endpoint) as (proxy, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"hello\n")
            assert await asyncio.wait_for(reader.read(), 1) == b"bye\n"
            writer.close()
            await asyncio.sleep(0.05)
            assert proxy.connections == 0

    run(scenario())


def test_connections_are_bounded():
    async def scenario():
        async with server(named(b"a")) as endpoint, proxied(endpoint, max_connections=2) as (_, address):
            held = [await asyncio.open_connection(*address) for _ in range(2)]
            with contextlib.suppress(ConnectionError):
                assert await ask(address) == b""
            for _, writer in held:
                writer.close()
            await asyncio.sleep(0.05)
            assert await ask(address) == b"a"

    run(scenario())


def test_a_dropped_address_is_free_again_and_close_ends_what_is_open():
    async def scenario():
        async with server(named(b"a")) as endpoint, proxied(endpoint) as (proxy, address):
            reader, writer = await asyncio.open_connection(*address)
            proxy.drop(address)
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(*address)
            writer.write(b"still\n")
            assert await reader.readline() == b"a still\n"
            await proxy.serve(address, [endpoint])
            proxy.close()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    run(scenario())


def test_a_taken_address_is_told():
    async def scenario():
        async with server(named(b"a")) as taken:
            with pytest.raises(OSError, match="in use"):
                await ServiceProxy().serve(taken, [])

    run(scenario())


def test_it_adds_little_to_a_request():
    async def latency(address):
        reader, writer = await asyncio.open_connection(*address)
        seconds = []
        for _ in range(500):
            begun = time.perf_counter()
            writer.write(b"hello\n")
            await reader.readline()
            seconds.append(time.perf_counter() - begun)
        writer.close()
        return statistics.median(seconds)

    async def scenario():
        async with server(named(b"a")) as endpoint, proxied(endpoint) as (_, address):
            direct, through = await latency(endpoint), await latency(address)
            # All three on one loop here; apart it is less. The goal is 0.3 ms.
            assert through - direct < 1e-3, (direct, through)
            return direct, through

    print([f"{1e3 * seconds:.3f} ms" for seconds in run(scenario())])  # noqa: T201
