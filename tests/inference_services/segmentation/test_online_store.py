"""Reading features on the event loop: one read a request, never on the loop, and no queue before a dead store."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from blueprints.segmentation.features import FEATURES
from blueprints.segmentation.online_features import OnlineFeatures, StoreUnavailableError
from inference_services.segmentation.online_store import OnlineStore
from inference_services.serving.columns import FeatureColumns
from inference_services.serving.errors import RequestError

RECENCY = FEATURES[:1]


class Store:
    """Stands for a store that takes its time, and may be down."""

    def __init__(self, seconds=0.2, *, down=False):
        self.seconds, self.down, self.reads = seconds, down, []

    def rows(self, keys):
        self.reads.append(len(keys))
        time.sleep(self.seconds)
        if self.down:
            raise StoreUnavailableError("the store is down")
        return {key: ({"recency_days": b"\x20\x05"}, 0) for key in keys}

    def close(self):
        pass


@pytest.fixture
def opened():
    stores = []

    def make(store):
        stores.append(OnlineStore(FeatureColumns(RECENCY), OnlineFeatures(store, RECENCY)))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


async def gaps(work):
    """The longest time in which the event loop did nothing else, in seconds, and what came of the work."""
    longest, last = 0.0, time.perf_counter()
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    return longest, task.result()


def test_a_batch_is_one_read_and_the_loop_goes_on_meanwhile(opened):
    store = Store()
    longest, rows = asyncio.run(gaps(opened(store).read([7, 8, 7])))
    assert store.reads == [2]
    assert rows.matrix.tolist() == [[5.0], [5.0], [5.0]]
    assert longest < 0.15


def test_who_waits_for_a_dead_store_is_refused_with_the_first(opened):
    store = Store(down=True)
    reader = opened(store)

    async def crowd():
        return await asyncio.gather(*(reader.read([1]) for _ in range(40)), return_exceptions=True)

    started = time.perf_counter()
    refused = asyncio.run(crowd())
    assert time.perf_counter() - started < 1
    assert all(isinstance(error, RequestError) and error.status == 503 for error in refused)
    assert {error.headers for error in refused} == {(("retry-after", "1"),)}
    assert len(store.reads) <= 8
    store.down = False
    time.sleep(0.3)
    assert asyncio.run(reader.read([1])).found.all()


def test_a_store_counts_as_reached_once_it_was_read(opened):
    store = Store(0, down=True)
    reader = opened(store)
    assert not asyncio.run(reader.reached())
    time.sleep(0.3)
    store.down = False
    assert asyncio.run(reader.reached())
    store.down = True
    assert asyncio.run(reader.reached())
    assert len(store.reads) == 2


def test_values_that_the_model_would_refuse_are_the_stores_fault(opened):
    store = Store(0)
    store.rows = lambda keys: dict.fromkeys(keys, ({"recency_days": b"\x20\x00"}, 0))
    with pytest.raises(RequestError) as caught:
        asyncio.run(opened(store).read([1, 12]))
    assert caught.value.status == 503
    assert "customer 1.recency_days: must be at least 1 days, not 0" in str(caught.value)


def test_a_few_customers_of_a_file_are_read_without_a_thread_and_many_with_one(opened, monkeypatch):
    store = Store(0)
    reader = opened(store)
    monkeypatch.setattr(OnlineFeatures, "local", property(lambda _: True))
    threads = set()
    read = store.rows
    store.rows = lambda keys: threads.add(threading.current_thread().name) or read(keys)
    asyncio.run(reader.read([1]))
    assert threads == {"MainThread"}
    asyncio.run(reader.read(range(17)))
    assert threads == {"MainThread", "online-store_0"}
