"""Gathers concurrent requests into one call of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray


class Batcher:
    """Runs a row-wise function for many requests at once.

    Whatever is waiting when the event loop comes round is one batch: a lone request waits for nobody, and under load
    batches grow by themselves. Small batches run on the event loop, where a hop to a thread would cost more than the
    work; large ones run in an executor, so that the loop stays free. What waits is bounded by the server's limit on
    concurrent requests and rows.

    Args:
        run: From a float32 matrix of shape (n, k) to an array whose first axis is n; must treat rows independently.
        executor: Runs large batches.
        max_rows: Rows in one call; a single request may hold more and is then a batch of its own.
        inline_rows: Largest batch that may run on the event loop.
    """

    def __init__(
        self,
        run: Callable[[NDArray[np.float32]], NDArray[np.floating]],
        *,
        executor: Executor,
        max_rows: int = 1024,
        inline_rows: int = 64,
    ) -> None:
        self._run = run
        self._executor = executor
        self._max_rows = max_rows
        self._inline_rows = inline_rows
        self._waiting: list[tuple[NDArray[np.float32], asyncio.Future[NDArray[np.floating]]]] = []

    async def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.floating]:
        """The function's result for these rows."""
        loop = asyncio.get_running_loop()
        if len(rows) > self._inline_rows:
            return await loop.run_in_executor(self._executor, self._run, rows)
        future: asyncio.Future[NDArray[np.floating]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((rows, future))
        return await future

    def _flush(self) -> None:
        batch: list[tuple[NDArray[np.float32], asyncio.Future[NDArray[np.floating]]]] = []
        rows = 0
        # Whose client has gone or whose time is over gets no work done.
        self._waiting = [waiting for waiting in self._waiting if not waiting[1].done()]
        while self._waiting and (not batch or rows + len(self._waiting[0][0]) <= self._max_rows):
            batch.append(self._waiting.pop(0))
            rows += len(batch[-1][0])
        if not batch:
            return
        loop = asyncio.get_running_loop()
        if self._waiting:
            loop.call_soon(self._flush)
        matrix = batch[0][0] if len(batch) == 1 else np.concatenate([matrix for matrix, _ in batch])
        futures = [(len(matrix), future) for matrix, future in batch]
        if rows > self._inline_rows:
            running = loop.run_in_executor(self._executor, self._run, matrix)
            running.add_done_callback(lambda done: _share(done.result, futures))
        else:
            _share(lambda: self._run(matrix), futures)


def _share(
    result: Callable[[], NDArray[np.floating]], futures: list[tuple[int, asyncio.Future[NDArray[np.floating]]]]
) -> None:
    """Hands every request its rows, or all of them the error."""
    try:
        values = result()
    except Exception as error:  # noqa: BLE001 - it belongs to the requests that wait for it
        for _, future in futures:
            if not future.done():
                future.set_exception(error)
        return
    start = 0
    for rows, future in futures:
        if not future.done():
            future.set_result(values[start : start + rows])
        start += rows
