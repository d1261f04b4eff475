"""A load generator for one URL, as a process of its own: `python -m benchmarks.load PLAN FILE`.

PLAN is a `Plan` as JSON; FILE gets what was seen. Two kinds of load:

- closed loop: each of `clients` sends its next request when it has the answer to the last one;
- open loop: requests leave at `rate`, evenly spaced, whether earlier ones have been answered or not. Their latency
  counts from the moment at which they *should* have been sent, so that a slow server or a late generator cannot hide a
  wait (Tene, "How NOT to Measure Latency": coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from benchmarks.http_client import NO_ANSWER, Answer, Connection, post_request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TIMED_OUT = 1
"""Status of a request that got no answer in time."""
MALFORMED = 2
"""Status of an answer 200 that is empty or no JSON object."""

PROJECT = Path(__file__).resolve().parents[1]
_SWEEP_S = 0.1
_TICK_S = 0.001
_RECONNECT_S = 0.1
# One answer in so many is parsed, and the first of each connection.
_PARSED = 100


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes:
        url: Where to, plain HTTP.
        bodies: File with one JSON body a line; they are sent in turn.
        seconds: Length of the measurement.
        warmup: Seconds of the same load before it.
        clients: Simultaneous connections of a closed loop; 0 for an open loop.
        rate: Requests/s of an open loop; 0 for a closed loop.
        connections: Most connections of an open loop; what finds none free waits for one.
        timeout: Seconds that an answer may take.
        obey_retry_after: Whether a client that is refused (429, 503) waits as long as `Retry-After` says, and up to
            half as long again so that not all come back at once. Else it asks again at once.
        headers: Further headers.
    """

    url: str
    bodies: Path
    seconds: float
    warmup: float = 1.0
    clients: int = 0
    rate: float = 0.0
    connections: int = 1024
    timeout: float = 15.0
    obey_retry_after: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """Requests of one measurement.

    Attributes:
        at: When each request was due, in seconds of the machine's monotonic clock.
        latency: Seconds until its answer.
        status: HTTP status, or `NO_ANSWER`, `TIMED_OUT`, `MALFORMED`.
        begin: Begin of the measurement.
        end: Its end.
        busy: Share of one core that the generator used: near 1, it was the bottleneck.
    """

    at: NDArray[np.float64]
    latency: NDArray[np.float64]
    status: NDArray[np.uint16]
    begin: float
    end: float
    busy: float

    def between(self, begin: float, end: float) -> Self:
        """The part of the measurement between two moments."""
        return type(self)(self.at, self.latency, self.status, begin, end, self.busy)

    def windows(self, seconds: float) -> Iterator[Self]:
        """The measurement cut into parts of so many seconds."""
        for number in range(int((self.end - self.begin) / seconds + 1e-6)):
            begin = self.begin + number * seconds
            yield self.between(begin, begin + seconds)

    @property
    def rate(self) -> float:
        """Answers 200 per second."""
        return self.goodput(float("inf"))

    def goodput(self, deadline: float) -> float:
        """Answers 200 per second that took no longer than `deadline` seconds."""
        answered = self.at + self.latency
        good = (self.status == 200) & (self.latency <= deadline) & (answered >= self.begin) & (answered < self.end)
        return float(good.sum()) / (self.end - self.begin)

    def percentile(self, share: float) -> float:
        """Seconds that this share of the answers 200 did not exceed; infinite if there were none."""
        import numpy as np

        latency = self.latency[self._due & (self.status == 200)]
        return float(np.quantile(latency, share, method="higher")) if len(latency) else float("inf")

    @property
    def statuses(self) -> dict[int, int]:
        """Number of requests by status."""
        return dict(sorted(Counter(self.status[self._due].tolist()).items()))

    @property
    def requests(self) -> int:
        """Number of requests."""
        return int(self._due.sum())

    def failures(self, *allowed: int) -> int:
        """Requests whose answer was neither 200 nor one of the allowed statuses."""
        return sum(number for status, number in self.statuses.items() if status not in {200, *allowed})

    @property
    def _due(self) -> NDArray[np.bool_]:
        return (self.at >= self.begin) & (self.at < self.end)


def run(plan: Plan) -> Load:
    """Carries out a plan in a second process.

    Raises:
        RuntimeError: The generator failed.
    """
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        file = Path(folder) / "load.npz"
        command = [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(plan), default=str), str(file)]
        limit = plan.warmup + plan.seconds + plan.timeout + 30
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=limit, check=False)
        if done.returncode:
            raise RuntimeError(f"the load generator failed: {done.stderr[-800:]}")
        return _read(file)


def _read(file: Path) -> Load:
    import numpy as np

    with np.load(file) as stored:
        begin, end, busy = stored["window"].tolist()
        return Load(stored["at"], stored["latency"], stored["status"], begin, end, busy)


class _Generator:
    """Drives the connections of one plan."""

    def __init__(self, plan: Plan, requests: Sequence[bytes]) -> None:
        self._plan = plan
        self._requests = requests
        self._sent = 0
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._connecting = 0
        self._waiting: deque[float] = deque()
        self._stopped = False
        self.at, self.latency, self.status = array("d"), array("d"), array("H")

    async def drive(self) -> tuple[float, float]:
        """Sends everything; begin and end of the measurement."""
        plan = self._plan
        start = time.monotonic()
        begin = start + plan.warmup
        end = begin + plan.seconds
        sweeper = asyncio.create_task(self._sweep())
        if plan.clients:
            for _ in range(plan.clients):
                self._connect()
            await asyncio.sleep(end - time.monotonic())
        else:
            await self._keep_rate(start, end)
        self._stopped = True
        limit = time.monotonic() + plan.timeout + 2 * _SWEEP_S
        while (self._waiting or any(one.busy for one in self._all)) and time.monotonic() < limit:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        sweeper.cancel()
        for connection in self._all:
            connection.abort()
        return begin, end

    async def _keep_rate(self, start: float, end: float) -> None:
        due, step = start, 1 / self._plan.rate
        # A wait below the timer's resolution would be a loop that takes a core from the server.
        shortest = _TICK_S if step < 2 * _TICK_S else 0.0
        number = 0
        while due < end:
            now = time.monotonic()
            while due <= now and due < end:
                self._waiting.append(due)
                number += 1
                due = start + number * step
            self._send_waiting()
            await asyncio.sleep(max(shortest, due - time.monotonic()))

    def _send_waiting(self) -> None:
        while self._waiting:
            connection = self._free()
            if connection is None:
                break
            self._send(connection, self._waiting.popleft())
        room = self._plan.connections - len(self._all) - self._connecting
        for _ in range(min(room, len(self._waiting) - self._connecting)):
            self._connect()

    def _free(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    def _send(self, connection: Connection, due: float) -> None:
        self._sent += 1
        connection.send(self._requests[self._sent % len(self._requests)], due)

    def _next(self, connection: Connection) -> None:
        """The connection is free for its next request."""
        if self._stopped and not self._waiting:
            return
        if not self._plan.clients:
            self._idle.append(connection)
            self._send_waiting()
        elif connection.open and not connection.busy:
            self._send(connection, time.monotonic())

    def _answered(self, connection: Connection, answer: Answer) -> None:
        status = answer.status
        if status == 200 and not (answer.body and (len(self.at) % _PARSED or _is_object(answer.body))):
            status = MALFORMED
        self._record(connection.begun, status)
        if answer.retry_after and self._plan.obey_retry_after:
            wait = answer.retry_after * random.uniform(1, 1.5)  # noqa: S311
            asyncio.get_running_loop().call_later(wait, self._next, connection)
        elif connection.open:
            self._next(connection)

    def _record(self, due: float, status: int) -> None:
        self.at.append(due)
        self.latency.append(time.monotonic() - due)
        self.status.append(status)

    def _connect(self) -> None:
        self._connecting += 1
        task = asyncio.create_task(self._open())
        task.add_done_callback(lambda _: self._send_waiting())

    async def _open(self) -> None:
        there = urlsplit(self._plan.url)
        loop, due = asyncio.get_running_loop(), time.monotonic()
        try:
            async with asyncio.timeout(self._plan.timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._answered, self._closed), there.hostname or "", there.port or 80
                )
        except (OSError, TimeoutError):
            # An open loop's request still waits, and times out; a client of a closed loop has failed once.
            if self._plan.clients:
                self._record(due, NO_ANSWER)
            await asyncio.sleep(_RECONNECT_S)
            self._connecting -= 1
            self._reconnect()
        else:
            self._connecting -= 1
            self._all.add(connection)
            self._next(connection)

    def _closed(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._reconnect()

    def _reconnect(self) -> None:
        if self._plan.clients and not self._stopped:
            self._connect()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            late = time.monotonic() - self._plan.timeout
            while self._waiting and self._waiting[0] < late:
                self._record(self._waiting.popleft(), TIMED_OUT)
            for connection in [one for one in self._all if one.busy and one.begun < late]:
                connection.busy = False
                self._record(connection.begun, TIMED_OUT)
                connection.abort()


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def main() -> None:
    """Drives the load of a plan and writes what it saw."""
    import numpy as np
    import uvloop

    fields = json.loads(sys.argv[1])
    plan = Plan(**{**fields, "bodies": Path(fields["bodies"])})
    lines = plan.bodies.read_bytes().splitlines()
    generator = _Generator(plan, [post_request(plan.url, line, plan.headers) for line in lines])
    begun, used = time.monotonic(), time.process_time()
    window = uvloop.run(generator.drive())
    busy = (time.process_time() - used) / (time.monotonic() - begun)
    np.savez(
        sys.argv[2],
        at=np.frombuffer(generator.at),
        latency=np.frombuffer(generator.latency),
        status=np.frombuffer(generator.status, np.uint16),
        window=np.array([*window, busy]),
    )


if __name__ == "__main__":
    main()
