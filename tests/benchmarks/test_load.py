"""The load generator against real servers whose behaviour is known."""

import asyncio
import contextlib
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.http_client import Answer, Connection, post_request
from benchmarks.load import MALFORMED, NO_ANSWER, TIMED_OUT, Load, Plan, run

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"a": "bc"}'
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many\r\ncontent-length: 2\r\nRetry-After: 1\r\n\r\n{}"


class Peer:
    """A server on a thread of its own that answers with what a function makes of the number of the request."""

    def __init__(self, reply):
        self.reply, self.requests, self.open, self.most = reply, [], 0, 0

    async def serve(self, reader, writer):
        self.open += 1
        self.most = max(self.most, self.open)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.requests.append(await reader.readexactly(length))
                delay, parts = self.reply(len(self.requests))
                await asyncio.sleep(delay)
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if not parts:
                    break
        self.open -= 1
        writer.close()

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=512))
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/predict"
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()
        self.loop.close()


@pytest.fixture
def bodies(tmp_path):
    file = tmp_path / "bodies.jsonl"
    file.write_text('{"text": "one"}\n{"text": "two"}\n')
    return file


def test_a_closed_loop_has_as_many_requests_under_way_as_clients(bodies):
    with Peer(lambda _: (0.02, [OK])) as peer:
        load = run(Plan(peer.url, bodies, 1, warmup=0.3, clients=4))
    assert peer.most == 4
    assert load.statuses.keys() == {200}
    assert 100 < load.rate < 201
    assert 0.02 <= load.percentile(0.5) < 0.2
    counted = Counter(peer.requests)
    assert counted.keys() == {b'{"text": "one"}', b'{"text": "two"}'}
    assert abs(counted[b'{"text": "one"}'] - counted[b'{"text": "two"}']) <= 1


def test_an_open_loop_keeps_its_rate_and_counts_the_wait_from_when_a_request_was_due(bodies):
    def stall(number):
        return (0.6 if number == 100 else 0), [OK]

    with Peer(stall) as peer:
        load = run(Plan(peer.url, bodies, 1.5, warmup=0.3, rate=100, connections=1))
    assert load.requests in {149, 150, 151}
    assert np.allclose(np.diff(np.sort(load.at)), 0.01)
    # One connection stalls for 0.6 s: the sixty requests that were due meanwhile waited 0.3 s each on average.
    waited = load.latency[(load.latency > 0.05)]
    assert 50 <= len(waited) <= 75
    assert 0.2 < waited.mean() < 0.5


def test_an_open_loop_is_not_slowed_down_by_a_slow_server_and_bounds_its_connections(bodies):
    with Peer(lambda _: (0.3, [OK])) as peer:
        free = run(Plan(peer.url, bodies, 1, warmup=0.4, rate=100))
        most = peer.most
        peer.most = 0
        bounded = run(Plan(peer.url, bodies, 1, warmup=0.4, rate=100, connections=10, timeout=1))
    assert 28 <= most <= 60
    assert free.percentile(0.5) < 0.45
    assert peer.most == 10
    assert bounded.rate < 40
    assert bounded.percentile(0.5) > 0.5


def test_refusals_are_counted_and_retry_after_is_obeyed(bodies):
    with Peer(lambda _: (0, [REFUSED])) as peer:
        load = run(Plan(peer.url, bodies, 1, warmup=0, clients=5, obey_retry_after=True))
        assert load.statuses == {429: 5}
        assert load.failures() == 5
        assert load.failures(429, 503) == 0
        assert load.rate == 0
        assert load.percentile(0.99) == float("inf")
        assert run(Plan(peer.url, bodies, 0.3, warmup=0, clients=1)).statuses[429] > 10


def test_answers_that_do_not_come_or_make_no_sense_are_failures(bodies):
    answers = {
        "late": (1, [OK]),
        "none": (0.01, []),
        "empty": (0.01, [EMPTY]),
        "chunked": (0.01, [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]),
        "in pieces": (0.01, [OK[index : index + 1] for index in range(len(OK))]),
        "last": (0.01, [OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]),
    }

    def seen(reply):
        with Peer(lambda _: reply) as peer:
            return set(run(Plan(peer.url, bodies, 0.6, warmup=0, clients=2, timeout=0.3)).statuses)

    with ThreadPoolExecutor(len(answers)) as at_once:
        statuses = dict(zip(answers, at_once.map(seen, answers.values()), strict=True))
    assert statuses == {
        "late": {TIMED_OUT},
        "none": {NO_ANSWER},
        "empty": {MALFORMED},
        "chunked": {NO_ANSWER},
        "in pieces": {200},
        "last": {200},
    }


def test_nobody_there(bodies):
    load = run(Plan("http://127.0.0.1:9/predict", bodies, 0.3, warmup=0, clients=2))
    assert load.statuses.keys() == {NO_ANSWER}
    assert load.requests < 20


def test_the_generator_is_not_the_bottleneck(bodies):
    # A rate that few servers reach on the same machine.
    with Peer(lambda _: (0, [OK])) as peer:
        load = run(Plan(peer.url, bodies, 1, warmup=0.2, rate=3_000, connections=64))
        unhurried = run(Plan(peer.url, bodies, 1, warmup=0.2, rate=100, connections=64))
    assert load.rate > 2_700
    assert load.busy < 0.8
    assert unhurried.busy < 0.3


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.floats(0.001, 5), st.sampled_from([200, 200, 200, 429, NO_ANSWER])), max_size=80
    ),
    st.floats(0.01, 1),
)
def test_what_a_load_tells_is_what_its_requests_say(requests, share):
    at, latency, status = (
        (np.array(column, float) for column in zip(*requests, strict=True)) if requests else [np.array([])] * 3
    )
    load = Load(at, latency, status.astype(np.uint16), 2.0, 8.0, 0.1)
    due = [one for one in requests if 2 <= one[0] < 8]
    assert load.statuses == Counter(status for _, _, status in due)
    good = sorted(seconds for _, seconds, status in due if status == 200)
    if good:
        value = load.percentile(share)
        assert value in good
        assert sum(seconds <= value for seconds in good) >= share * (len(good) - 1)
    answered = [one for one in requests if one[2] == 200 and 2 <= one[0] + one[1] < 8]
    assert load.rate == pytest.approx(len(answered) / 6)
    assert load.goodput(1.0) == pytest.approx(sum(one[1] <= 1.0 for one in answered) / 6)
    parts = list(load.windows(1.5))
    assert len(parts) == 4
    assert sum(part.requests for part in parts) == load.requests
    assert sum(part.rate for part in parts) / 4 == pytest.approx(load.rate)


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=30))
def test_an_answer_is_read_whole_however_it_is_cut(body, cuts):
    answers = []
    connection = Connection(lambda _, answer: answers.append(answer), lambda _: None)
    connection.busy = True
    whole = b"HTTP/1.1 503 Busy\r\nContent-LENGTH: %d\r\nretry-after:2\r\n\r\n%s" % (len(body), body)
    rest = whole
    for size in [*cuts, len(whole)]:
        if rest:
            connection.data_received(rest[:size])
            rest = rest[size:]
    assert answers == [Answer(503, body, 2.0)]


def test_a_request_says_what_it_carries():
    head, _, body = post_request(
        "http://127.0.0.1:80/a", b'{"text": "\xc3\xa9"}', {"X-Request-Timeout": "1"}
    ).partition(b"\r\n\r\n")
    assert json.loads(body) == {"text": "é"}
    assert head.split(b"\r\n") == [
        b"POST /a HTTP/1.1",
        b"Host: 127.0.0.1:80",
        b"Content-Type: application/json",
        b"Content-Length: 14",
        b"X-Request-Timeout: 1",
    ]
