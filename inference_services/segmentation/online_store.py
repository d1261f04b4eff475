"""The online store for servers: one read a request, off the event loop, and a quick no while the store is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from blueprints.segmentation.online_features import FeatureRows, OnlineFeatures, StoreUnavailableError
from blueprints.segmentation.store_config import StoreConfig, StoreConfigError
from inference_services.serving.columns import FeatureColumns
from inference_services.serving.errors import RequestError, unavailable

# Reads at one time, each with a connection of its own.
_READERS = 4
# Of a file on this machine so many customers are read where the request is: a hop to a thread costs more than the read.
_INLINE_CUSTOMERS = 16
# After a failure, who waits for a reader is refused for this long: reads of a store that hangs would queue up behind
# each other's time-outs.
_PAUSE_S = 0.25


class OnlineStore:
    """Reads features of customers for one model.

    Args:
        columns: The model's inputs; values that the model would refuse are refused here.
        features: The store.
    """

    def __init__(self, columns: FeatureColumns, features: OnlineFeatures) -> None:
        self._columns = columns
        self._features = features
        self._executor = ThreadPoolExecutor(_READERS, "online-store")
        self._failure: tuple[float, str] = (0.0, "")
        self._reached = False

    @classmethod
    def open(cls, columns: FeatureColumns) -> OnlineStore:
        """The store that `FEATURE_STORE_CONFIG` names; connects at the first read.

        Raises:
            SystemExit: The configuration cannot be used, or the store has not all of the columns.
        """
        try:
            features = OnlineFeatures.open(StoreConfig.current(), columns.columns)
        except StoreConfigError as error:
            raise SystemExit(f"feature store: {error}") from error
        return cls(columns, features)

    async def read(self, customers: Sequence[int]) -> FeatureRows:
        """The features of customers, in one round trip.

        Raises:
            RequestError: 503: the store does not answer, or holds what does not fit the model.
        """
        try:
            if self._features.local and len(customers) <= _INLINE_CUSTOMERS:
                rows = self._read(customers)
            else:
                rows = await asyncio.get_running_loop().run_in_executor(self._executor, self._read, customers)
        except StoreUnavailableError as error:
            raise unavailable(str(error)) from error
        except ValueError as error:
            raise unavailable(f"online store: {error}") from error
        self._reached = True
        self._check(customers, rows)
        return rows

    async def reached(self) -> bool:
        """Whether the store was ever read; tries it if it was not.

        A server that has never seen its store may have the wrong one, and must not replace one that works. Later its
        absence is told to each caller: were it not ready, callers would learn nothing.
        """
        if not self._reached:
            try:
                await self.read([0])
            except RequestError:
                return False
        return True

    def close(self) -> None:
        """Ends the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._features.close()

    def _read(self, customers: Sequence[int]) -> FeatureRows:
        until, reason = self._failure
        if time.monotonic() < until:
            raise StoreUnavailableError(reason)
        try:
            return self._features.read(customers)
        except StoreUnavailableError as error:
            self._failure = (time.monotonic() + _PAUSE_S, str(error))
            raise

    def _check(self, customers: Sequence[int], rows: FeatureRows) -> None:
        """Refuses features that the model cannot have been trained on: they are no fault of the caller."""
        known = rows.matrix[rows.found]
        if not len(known):
            return
        positions = rows.found.nonzero()[0].tolist()
        try:
            self._columns.matrix(
                dict(zip(self._columns.names, known.T, strict=True)),
                lambda name, row: ("store", f"customer {customers[positions[row]]}", name),
            )
        except RequestError as error:
            told = str(error.problems[0])
            raise unavailable(f"the online store's features do not fit the model: {told}") from error
