"""Dynamic batching: concurrent requests share calls of the model where the machine gains by it.

A request brings an item, which is prepared (tokenized, say) into one unit or more, each of a size (tokens). Slots,
a thread each, take units and run them together. Whenever a slot is free it takes the unit whose turn it is and adds
units of like size as long as a measured table of costs says that they are cheaper beside it than on their own. So a
lone request waits for nobody, a short text does not pay for a long one, and batches grow with the load.

Requests take turns by fair queueing (Demers, Keshav and Shenker 1989): a request of many units does not hold up those
that come after it. What waits is bounded by the time that it will take: a request that would have to wait longer than
`max_queue_seconds` is refused at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference_services.serving.batch_costs import BatchCosts
from inference_services.serving.errors import overloaded

ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)
UnitT = TypeVar("UnitT")

# So many requests a slot may always wait: on a machine that is slow for a moment, a few long texts are no overload.
_ALWAYS_A_SLOT = 16
# The running estimate of how much slower than measured the machine is now follows this share of each batch.
_FOLLOW = 0.1
# Units that are put into the queue while the event loop may have to wait for it.
_CHUNK = 256


class BatchModel(Protocol[ItemT_contra, UnitT]):
    """What is batched. Its methods are called from the slots' threads, several at once."""

    def estimate(self, item: ItemT_contra) -> Sequence[int]:
        """About how large an item's units are; called on the event loop, so it must be quick."""

    def prepare(self, items: Sequence[ItemT_contra]) -> Sequence[Sequence[UnitT]]:
        """The units of each item, one or more."""

    def size(self, unit: UnitT) -> int:
        """Size of a unit."""

    def run(self, units: Sequence[UnitT]) -> NDArray[Any]:
        """An array with one row a unit."""


@dataclass(frozen=True)
class BatchPlan:
    """How a server batches.

    Attributes:
        slots: Calls of the model at one time.
        threads: Threads of each call.
        max_batch: Most units in one call.
        costs: Seconds of a call by number and size of its units, on one of the slots.
        by_cost: Whether a batch takes only units that are cheaper in it than alone; otherwise it is filled up to
            `max_batch` with the units of nearest size.
        max_wait_s: Longest that a unit waits for company while a slot is free, in seconds.
    """

    slots: int
    threads: int
    max_batch: int
    costs: BatchCosts
    by_cost: bool = True
    max_wait_s: float = 0.0


@dataclass(eq=False, slots=True)
class _Request:
    """One item on its way."""

    item: Any
    future: asyncio.Future[tuple[Sequence[Any], NDArray[Any]]]
    turn: float
    seconds: float
    count: int
    units: Sequence[Any] = ()
    rows: NDArray[Any] | None = None
    missing: int = 0


@dataclass(order=True, slots=True)
class _Waiting:
    """One unit in the queue; ordered by size, then by arrival."""

    size: int
    number: int
    since: float = field(compare=False)
    request: _Request = field(compare=False)
    index: int = field(compare=False)
    taken: bool = field(default=False, compare=False)


class DynamicBatcher(Generic[ItemT, UnitT]):
    """Runs a model for concurrent requests.

    Args:
        model: The model.
        plan: How to batch.
        max_queue_seconds: Work that may wait, in seconds of its running time.
    """

    def __init__(self, model: BatchModel[ItemT, UnitT], plan: BatchPlan, *, max_queue_seconds: float = 1.0) -> None:
        self._model = model
        self.plan = plan
        self._max_queue_seconds = max_queue_seconds
        self._changed = threading.Condition()
        self._fresh: deque[_Request] = deque()
        self._by_turn: list[tuple[float, int, _Waiting]] = []
        self._by_size: list[_Waiting] = []
        self._number = 0
        self._turn = 0.0
        self._backlog = 0.0
        self._requests = 0
        self._units = 0
        self._slowdown = 1.0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{slot}", daemon=True) for slot in range(plan.slots)
        ]

    def start(self) -> None:
        """Starts the slots; call it on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the slots after the batches that are running; what still waits is cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=10)
        if self._loop is not None and not self._loop.is_closed():
            # After the answers of the last batches, which are on their way to the loop.
            self._loop.call_soon_threadsafe(self._cancel_waiting)

    def _cancel_waiting(self) -> None:
        for request in (*self._fresh, *(waiting.request for _, _, waiting in self._by_turn)):
            request.future.cancel()

    def wait_seconds(self, seconds: float = 0.0) -> float:
        """How long a request that came now would wait for its turn, as far as can be told.

        Args:
            seconds: Running time of its own work: others get no more than that, or one unit, before it.
        """
        if not self._requests:
            return 0.0
        share = self._requests * max(seconds, self._backlog / self._units)
        return max(0.0, min(self._backlog, share)) * self._slowdown / self.plan.slots

    async def __call__(self, item: ItemT, deadline: float = float("inf")) -> tuple[Sequence[UnitT], NDArray[Any]]:
        """The units of an item and one row for each.

        Args:
            item: What the request brings.
            deadline: Time of the event loop after which nobody waits for the answer.

        Raises:
            RequestError: The queue is full, or the answer could not be there in time.
        """
        loop = self._loop
        assert loop is not None, "call start first"  # noqa: S101
        sizes = self._model.estimate(item)
        seconds = sum(map(self.plan.costs.amortized, sizes))
        wait = self.wait_seconds(seconds)
        if wait > self._max_queue_seconds and self._requests >= _ALWAYS_A_SLOT * self.plan.slots:
            raise overloaded(f"the answer would wait for {wait:.1f} seconds: try again", retry_after=wait)
        # An idle server tries, whatever it knows of slower times: only what runs tells it of faster ones.
        if self._requests and loop.time() + wait + seconds * self._slowdown > deadline:
            raise overloaded(f"the answer would take {wait + seconds:.2f} seconds, which is too late", retry_after=wait)
        request = _Request(item, loop.create_future(), self._turn, seconds, len(sizes))
        with self._changed:
            self._backlog += seconds
            self._requests += 1
            self._units += request.count
            self._fresh.append(request)
            self._changed.notify()
        try:
            return await request.future
        finally:
            with self._changed:
                self._backlog -= request.seconds
                self._requests -= 1
                self._units -= request.count

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._fresh or self._by_turn or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                fresh = list(self._fresh)
                self._fresh.clear()
            if fresh:
                self._prepare(fresh)
            with self._changed:
                batch = self._choose()
                if batch and len(batch) < self.plan.max_batch and not self._closed:
                    rest = self._by_turn[0][2].since + self.plan.max_wait_s - time.monotonic()
                    if rest > 0:
                        self._changed.wait(rest)
                        continue
                self._take(batch)
                if self._by_turn or self._fresh:
                    self._changed.notify()
            if batch:
                self._run(batch)

    def _prepare(self, requests: list[_Request]) -> None:
        requests = [request for request in requests if not request.future.done()]
        if not requests:
            return
        try:
            prepared = self._model.prepare([request.item for request in requests])
        except Exception as error:  # noqa: BLE001 - it belongs to the requests that wait for it
            self._deliver([(request, error) for request in requests])
            return
        for request, units in zip(requests, prepared, strict=True):
            request.units, request.missing = units, len(units)
            sizes = [self._model.size(unit) for unit in units]
            costs = [self.plan.costs.amortized(size) for size in sizes]
            turns = list(accumulate(costs, initial=request.turn))
            with self._changed:
                if not request.future.done():
                    # Now it is known, where before it was guessed.
                    self._backlog += turns[-1] - request.turn - request.seconds
                    self._units += len(units) - request.count
                    request.seconds, request.count = turns[-1] - request.turn, len(units)
            for start in range(0, len(units), _CHUNK):
                with self._changed:
                    self._enqueue(request, sizes, turns, range(start, min(start + _CHUNK, len(units))))

    def _enqueue(self, request: _Request, sizes: Sequence[int], turns: Sequence[float], indices: range) -> None:
        """Puts units into the queue. The lock is held."""
        now = time.monotonic()
        for index in indices:
            waiting = _Waiting(sizes[index], self._number, now, request, index)
            heappush(self._by_turn, (turns[index], self._number, waiting))
            insort(self._by_size, waiting)
            self._number += 1

    def _choose(self) -> list[_Waiting]:
        """The next batch: the unit whose turn it is first, then its company. The lock is held."""
        while self._by_turn and (self._by_turn[0][2].taken or self._by_turn[0][2].request.future.done()):
            _, _, gone = heappop(self._by_turn)
            if not gone.taken:
                gone.taken = True
                del self._by_size[bisect_left(self._by_size, gone)]
        if not self._by_turn:
            return []
        queue = self._by_size
        first = self._by_turn[0][2]
        low = bisect_left(queue, first)
        high = low + 1
        # What waits is shared between the slots: one long batch beside an idle core would be slower than two.
        limit = min(self.plan.max_batch, -(-len(queue) // self.plan.slots))
        costs = self.plan.costs
        while high - low < limit and (low > 0 or high < len(queue)):
            rows, largest = high - low, queue[high - 1].size
            below = queue[low - 1].size if low > 0 else None
            above = queue[high].size if high < len(queue) else None
            if self.plan.by_cost:
                gain_below = -1.0 if below is None else costs.gain(rows, largest, below)
                gain_above = -1.0 if above is None else costs.gain(rows, largest, above)
                if max(gain_below, gain_above) <= 0:
                    break
                take_below = gain_below >= gain_above
            else:
                take_below = above is None or (below is not None and first.size - below <= above - first.size)
            if take_below:
                low -= 1
            else:
                high += 1
        return queue[low:high]

    def _take(self, batch: list[_Waiting]) -> None:
        """Removes a batch from the queue. The lock is held."""
        if not batch:
            return
        for waiting in batch:
            waiting.taken = True
        # Virtual time: what each of those that wait would have got by now, had they been served side by side.
        seconds = self.plan.costs.seconds(len(batch), batch[-1].size)
        self._turn += seconds / max(1, self._requests)
        low = bisect_left(self._by_size, batch[0])
        del self._by_size[low : low + len(batch)]

    def _run(self, batch: list[_Waiting]) -> None:
        batch = [waiting for waiting in batch if not waiting.request.future.done()]
        if not batch:
            return
        begun = time.perf_counter()
        try:
            rows = self._model.run([waiting.request.units[waiting.index] for waiting in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to the requests that wait for it
            self._deliver([(request, error) for request in {waiting.request for waiting in batch}])
            return
        seconds = time.perf_counter() - begun
        done: list[tuple[_Request, Exception | None]] = []
        with self._changed:
            self._follow(seconds, batch)
            for row, waiting in zip(rows, batch, strict=True):
                request = waiting.request
                if request.rows is None:
                    request.rows = np.empty((len(request.units), *row.shape), row.dtype)
                request.rows[waiting.index] = row
                request.missing -= 1
                if not request.missing:
                    done.append((request, None))
        self._deliver(done)

    def _follow(self, seconds: float, batch: list[_Waiting]) -> None:
        """Learns how fast the machine is now, against the time of its calibration."""
        expected = self.plan.costs.seconds(len(batch), batch[-1].size)
        self._slowdown += _FOLLOW * (min(max(seconds / expected, 0.2), 20.0) - self._slowdown)

    def _deliver(self, results: list[tuple[_Request, Exception | None]]) -> None:
        assert self._loop is not None  # noqa: S101
        if results:
            self._loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: list[tuple[_Request, Exception | None]]) -> None:
    for request, error in results:
        if request.future.done():
            continue
        if error is not None:
            request.future.set_exception(error)
        else:
            assert request.rows is not None  # noqa: S101
            request.future.set_result((request.units, request.rows))
