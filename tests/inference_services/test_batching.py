"""Batching: everybody gets their own rows, in few calls, and errors stay with those they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_services.serving.batching import Batcher


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def doubler(executor: ThreadPoolExecutor, **limits: int) -> tuple[Batcher, list[int]]:
    calls: list[int] = []

    def double(rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        return rows[:, 0] * 2

    return Batcher(double, executor=executor, **limits), calls


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_every_request_gets_its_own_rows(executor, sizes):
    async def main() -> None:
        batcher, calls = doubler(executor, max_rows=50, inline_rows=20)
        starts = np.cumsum([0, *sizes])
        requests = [np.arange(a, a + n, dtype=np.float32)[:, None] for a, n in zip(starts, sizes, strict=False)]
        for rows, answer in zip(requests, await asyncio.gather(*map(batcher, requests)), strict=True):
            np.testing.assert_array_equal(answer, rows[:, 0] * 2)
        assert sum(calls) == sum(sizes)
        assert max(calls) <= 50

    asyncio.run(main())


def test_waiting_requests_share_a_call(executor):
    async def main() -> None:
        batcher, calls = doubler(executor)
        await asyncio.gather(*(batcher(np.ones((1, 1), np.float32)) for _ in range(32)))
        assert calls == [32]

    asyncio.run(main())


def test_an_error_reaches_everyone_in_the_batch_and_the_next_batch_works(executor):
    fail = True

    def work(rows: np.ndarray) -> np.ndarray:
        if fail:
            raise ValueError("broken")
        return rows

    async def main() -> None:
        nonlocal fail
        batcher = Batcher(work, executor=executor)
        row = np.ones((1, 1), np.float32)
        assert all(
            isinstance(result, ValueError)
            for result in await asyncio.gather(*(batcher(row) for _ in range(3)), return_exceptions=True)
        )
        fail = False
        assert (await batcher(row)).tolist() == [[1.0]]

    asyncio.run(main())


def test_a_request_that_gave_up_does_not_disturb_the_others(executor):
    async def main() -> None:
        batcher, calls = doubler(executor)
        gone = asyncio.create_task(batcher(np.ones((1, 1), np.float32)))
        stays = asyncio.create_task(batcher(np.full((1, 1), 4, np.float32)))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await stays).tolist() == [8.0]
        assert calls == [1]  # and costs nothing

    asyncio.run(main())
