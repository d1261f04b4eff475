"""The dynamic batcher, with a model of numbers: a unit is a (size, value), its row the value."""

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_services.serving.batch_costs import BatchCosts
from inference_services.serving.dynamic_batching import BatchPlan, DynamicBatcher
from inference_services.serving.errors import RequestError

SIZES = (8, 64, 512)
# Half a millisecond a call and 0.01 a token, padding included.
LINEAR = BatchCosts(
    rows=(1, 2, 4, 8, 16),
    sizes=SIZES,
    table=tuple(tuple(0.0005 + 0.00001 * rows * size for size in SIZES) for rows in (1, 2, 4, 8, 16)),
)


class Numbers:
    """Notes every batch; a negative value fails it, `hold` stops it."""

    def __init__(self, *, seconds=0.0):
        self.batches = []
        self.hold = threading.Event()
        self.hold.set()
        self.seconds = seconds
        self._lock = threading.Lock()

    def estimate(self, item):
        return [size for size, _ in item]

    def prepare(self, items):
        if any(value == -2 for item in items for _, value in item):
            raise ValueError("cannot be prepared")
        return items

    def size(self, unit):
        return unit[0]

    def run(self, units):
        self.hold.wait(5)
        with self._lock:
            self.batches.append(list(units))
        time.sleep(self.seconds)
        if any(value == -1 for _, value in units):
            raise ValueError("cannot be run")
        return np.array([[value, value + 0.5] for _, value in units])


def plan(**changes):
    return BatchPlan(**{"slots": 2, "threads": 1, "max_batch": 16, "costs": LINEAR, **changes})


def run(model, use, *, max_queue_seconds=10.0, **changes):
    async def main():
        batcher = DynamicBatcher(model, plan(**changes), max_queue_seconds=max_queue_seconds)
        batcher.start()
        try:
            return await asyncio.wait_for(use(batcher), 20)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, batcher.close)
            assert batcher.wait_seconds() == pytest.approx(0, abs=1e-6)

    return asyncio.run(main())


units = st.tuples(st.integers(1, 512), st.integers(0, 10_000))


@settings(deadline=None, max_examples=60)
@given(
    items=st.lists(st.lists(units, min_size=1, max_size=5), min_size=1, max_size=30),
    slots=st.integers(1, 3),
    max_batch=st.integers(1, 16),
    by_cost=st.booleans(),
    max_wait_s=st.sampled_from([0.0, 0.002]),
)
def test_every_request_gets_the_rows_of_its_own_units_in_their_order(items, slots, max_batch, by_cost, max_wait_s):
    model = Numbers()

    async def use(batcher):
        return await asyncio.gather(*map(batcher, items))

    answers = run(model, use, slots=slots, max_batch=max_batch, by_cost=by_cost, max_wait_s=max_wait_s)
    for item, (its_units, rows) in zip(items, answers, strict=True):
        assert list(its_units) == item
        assert rows[:, 0].tolist() == [value for _, value in item]
    assert max(map(len, model.batches)) <= max_batch
    assert sum(map(len, model.batches)) == sum(map(len, items))


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 512), min_size=1, max_size=40))
def test_batches_cost_no_more_than_their_units_alone(sizes):
    model = Numbers()

    async def use(batcher):
        await asyncio.gather(*(batcher([(size, index)]) for index, size in enumerate(sizes)))

    run(model, use)
    for batch in model.batches:
        together = LINEAR.seconds(len(batch), max(size for size, _ in batch))
        assert together <= sum(LINEAR.seconds(1, size) for size, _ in batch) + 1e-9


def test_what_comes_while_the_slots_are_busy_is_batched_with_its_like():
    model = Numbers()
    model.hold.clear()

    async def use(batcher):
        first = [asyncio.ensure_future(batcher([(100, n)])) for n in range(2)]
        await asyncio.sleep(0.05)
        rest = [asyncio.ensure_future(batcher([(size, 1)])) for size in [8, 500] * 6]
        await asyncio.sleep(0.05)
        model.hold.set()
        await asyncio.gather(*first, *rest)

    run(model, use, slots=1)
    mixed = [batch for batch in model.batches if {8, 500} <= {size for size, _ in batch}]
    assert not mixed
    assert max(len(batch) for batch in model.batches if batch[0][0] == 8) == 6


def test_a_fixed_size_fills_batches_whatever_they_cost():
    model = Numbers()
    model.hold.clear()

    async def use(batcher):
        work = [asyncio.ensure_future(batcher([(size, 1)])) for size in [8, 500, 8, 500, 8]]
        await asyncio.sleep(0.05)
        model.hold.set()
        await asyncio.gather(*work)

    run(model, use, slots=1, max_batch=4, by_cost=False)
    assert max(map(len, model.batches)) == 4


def test_what_waits_is_shared_between_the_slots():
    model = Numbers(seconds=0.05)

    async def use(batcher):
        await asyncio.gather(*(batcher([(8, n)]) for n in range(8)))

    run(model, use, slots=2)
    assert max(map(len, model.batches)) <= 4


def test_a_lone_request_waits_for_nobody():
    async def use(batcher):
        begun = time.perf_counter()
        await batcher([(8, 1)])
        return time.perf_counter() - begun

    assert run(Numbers(), use) < 0.5


def test_a_lone_request_waits_for_company_as_long_as_it_is_told_to():
    model = Numbers()

    async def use(batcher):
        first = asyncio.ensure_future(batcher([(8, 1)]))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, batcher([(8, 2)]))

    run(model, use, slots=1, max_wait_s=0.3, max_batch=2)
    assert [len(batch) for batch in model.batches] == [2]


def test_an_error_belongs_to_the_requests_of_its_batch():
    model = Numbers()

    async def use(batcher):
        good = await batcher([(8, 1)])
        for value, words in ((-1, "cannot be run"), (-2, "cannot be prepared")):
            with pytest.raises(ValueError, match=words):
                await batcher([(8, value)])
        return good, await batcher([(8, 3)])

    (_, before), (_, after) = run(model, use)
    assert before[0, 0] == 1
    assert after[0, 0] == 3


def test_work_of_a_request_that_was_given_up_is_dropped():
    model = Numbers()
    model.hold.clear()

    async def use(batcher):
        busy = asyncio.ensure_future(batcher([(8, 1)]))
        await asyncio.sleep(0.05)
        given_up = asyncio.ensure_future(batcher([(8, 2), (8, 22)]))
        kept = asyncio.ensure_future(batcher([(8, 3)]))
        await asyncio.sleep(0.05)
        given_up.cancel()
        await asyncio.sleep(0)
        model.hold.set()
        await asyncio.gather(busy, kept)

    run(model, use, slots=1)
    assert [value for batch in model.batches for _, value in batch] == [1, 3]


def test_more_than_the_queue_may_hold_is_refused_at_once_and_taken_again_later():
    model = Numbers()
    model.hold.clear()

    async def use(batcher):
        waiting = [asyncio.ensure_future(batcher([(512, n)])) for n in range(37)]
        await asyncio.sleep(0.05)
        with pytest.raises(RequestError) as refused:
            await batcher([(8, 1)])
        model.hold.set()
        await asyncio.gather(*waiting)
        await batcher([(8, 1)])
        return refused.value

    refusal = run(model, use, slots=1, max_queue_seconds=0.19)
    assert refusal.status == 429
    assert dict(refusal.headers)["retry-after"] == "1"


def test_a_request_that_cannot_be_answered_in_time_is_refused_before_it_waits():
    model = Numbers()
    model.hold.clear()

    async def use(batcher):
        now = asyncio.get_running_loop().time()
        waiting = [asyncio.ensure_future(batcher([(512, n)], now + 60)) for n in range(20)]
        await asyncio.sleep(0.05)
        with pytest.raises(RequestError, match="too late"):
            await batcher([(8, 1)], now + 0.06)
        model.hold.set()
        await asyncio.gather(*waiting)

    run(model, use, slots=1)


def test_a_request_of_many_units_does_not_hold_up_those_that_come_later():
    model = Numbers(seconds=0.002)

    async def use(batcher):
        many = asyncio.ensure_future(batcher([(512, 0)] * 300))
        await asyncio.sleep(0.05)
        for value in (1, 2, 3):
            await batcher([(512, value)])
        assert not many.done()
        await many

    run(model, use, slots=1, max_batch=1)
    order = [value for batch in model.batches for _, value in batch]
    assert order.index(3) < 200


def test_a_request_of_many_units_goes_on_while_others_keep_coming():
    model = Numbers(seconds=0.001)

    async def use(batcher):
        many = asyncio.ensure_future(batcher([(512, 0)] * 20))

        async def client():
            while not many.done():
                await batcher([(512, 1)])

        await asyncio.gather(many, *(client() for _ in range(4)))

    run(model, use, slots=1, max_batch=1)


def test_after_slow_times_an_idle_server_tries_again():
    model = Numbers(seconds=0.05)

    async def use(batcher):
        await asyncio.gather(*(batcher([(8, n)]) for n in range(40)))
        model.seconds = 0.0
        now = asyncio.get_running_loop().time()
        await batcher([(8, 1)], now + 0.005 + 0.05)
        for _ in range(40):
            await batcher([(8, 1)])
        await asyncio.gather(*(batcher([(8, 1)], asyncio.get_running_loop().time() + 0.2) for _ in range(4)))

    run(model, use, slots=1, max_batch=1)


def test_closing_cancels_what_waits():
    model = Numbers()
    model.hold.clear()

    async def main():
        batcher = DynamicBatcher(model, plan(slots=1))
        batcher.start()
        running = asyncio.ensure_future(batcher([(8, 1)]))
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(batcher([(8, 2)]))
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.1, model.hold.set)
        closing = asyncio.get_running_loop().run_in_executor(None, batcher.close)
        answers = await asyncio.gather(running, waiting, closing, return_exceptions=True)
        assert isinstance(answers[0], tuple)
        assert isinstance(answers[1], asyncio.CancelledError)

    asyncio.run(main())
