"""Features of customers at the moment of a request: one round trip a batch to the store that Feast has filled.

Read in the formats that Feast documents (`docs/specs/online_store_format.md` in its repository), without Feast: it
takes seconds to import and hundreds of megabytes, and a server needs none of the rest. Values are protobuf messages of
one field, decoded here for the types of numbers.
"""

from __future__ import annotations

import sqlite3
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blueprints.schema import Column
from blueprints.segmentation.features import FEATURES
from blueprints.segmentation.store_config import FEATURE_VIEW, StoreConfig, StoreConfigError
from blueprints.segmentation.transactions import CUSTOMER

TIMEOUT_S = 1.0
"""How long a read may take, and how long a connection."""

Row = tuple[Mapping[str, bytes | None], int]
"""Encoded values by feature, and the time that they belong to, in microseconds since 1970."""

# Keys of one statement; SQLite limits variables.
_KEYS = 10_000
_STRING, _INT64 = 2, 4  # Feast's ValueType


class StoreUnavailableError(Exception):
    """The online store cannot be read just now; the message says why, and never holds a password."""


@dataclass(frozen=True)
class FeatureRows:
    """Features of a batch of customers, in the order of the question.

    Attributes:
        found: Whether the store knows the customer, shape (n,).
        matrix: Features, NaN where missing, float64 of shape (n, k); all NaN for unknown customers.
        as_of: Date that the features were computed as of, `datetime64[us]` in UTC of shape (n,); NaT for unknown ones.
    """

    found: NDArray[np.bool_]
    matrix: NDArray[np.float64]
    as_of: NDArray[np.datetime64]


class _Reader(Protocol):
    """Reads encoded rows by key, in one round trip."""

    def rows(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """The rows that are there."""

    def close(self) -> None:
        """Closes the connections of this thread, or all."""


class OnlineFeatures:
    """Reads the online store; thread-safe. A store that comes back is found again by the next read.

    Args:
        reader: Of the store's kind.
        columns: Features, in the order of the matrix.
    """

    def __init__(self, reader: _Reader, columns: Sequence[Column] = FEATURES) -> None:
        self._reader = reader
        self._positions = {column.name: position for position, column in enumerate(columns)}

    @property
    def local(self) -> bool:
        """Whether the store is a file of this machine, so that a read waits for no network."""
        return isinstance(self._reader, _SQLiteReader)

    @classmethod
    def open(
        cls, config: StoreConfig, columns: Sequence[Column] = FEATURES, *, timeout: float = TIMEOUT_S
    ) -> OnlineFeatures:
        """Prepares reading; connects at the first read.

        Args:
            config: The feature store.
            columns: Features, in the order of the matrix, such as a model's inputs.
            timeout: Seconds that a read or a connection may take.

        Raises:
            StoreConfigError: The store is of another kind than SQLite, Redis or PostgreSQL, or a column is no feature.
        """
        if unknown := sorted({column.name for column in columns} - {column.name for column in FEATURES}):
            raise StoreConfigError(
                f"the feature store has no {', '.join(unknown)}; see blueprints.segmentation.features"
            )
        kind = config.online["type"]
        if kind not in _READERS:
            raise StoreConfigError(f"{config.path}: online_store of type {kind!r}; use {', '.join(_READERS)}")
        return cls(_READERS[kind](config, [column.name for column in columns], timeout), columns)

    def read(self, customer_ids: Sequence[int]) -> FeatureRows:
        """The features of customers; a customer may occur twice.

        Raises:
            StoreUnavailableError: The store does not answer, or was never filled.
            ValueError: A number does not fit into 64 bits.
        """
        keys = encode_keys(customer_ids)
        rows = self._reader.rows(list(dict.fromkeys(keys)))
        matrix = np.full((len(keys), len(self._positions)), np.nan)
        found = np.zeros(len(keys), np.bool_)
        moments = np.full(len(keys), np.datetime64("NaT"), "datetime64[us]")
        for index, key in enumerate(keys):
            row = rows.get(key)
            if row is None:
                continue
            found[index] = True
            values, moment = row
            moments[index] = np.datetime64(moment, "us")
            for name, value in values.items():
                position = self._positions.get(name)
                if position is not None and value:
                    matrix[index, position] = decode_value(value)
        return FeatureRows(found, matrix, moments)

    def close(self) -> None:
        """Closes the connections."""
        self._reader.close()


def encode_keys(customer_ids: Sequence[int]) -> list[bytes]:
    """Keys of customers as Feast serialises them (version 3): names and values, each with type and length.

    Raises:
        ValueError: A number does not fit into 64 bits.
    """
    name = CUSTOMER.encode()
    start = struct.pack("<III", 1, _STRING, len(name)) + name + struct.pack("<II", _INT64, 8)
    try:
        return [start + struct.pack("<q", customer) for customer in customer_ids]
    except struct.error:
        raise ValueError("customer_id must be a whole number of at most 64 bits") from None


def decode_value(value: bytes) -> float:
    """A number in one of Feast's values; NaN if it is null.

    Raises:
        ValueError: The value is no number.
    """
    if not value or value.startswith(b"\x98\x01"):  # nothing at all, or field 19, null
        return float("nan")
    tag = value[0]
    if tag == 0x29:  # field 5, double
        return float(struct.unpack_from("<d", value, 1)[0])
    if tag in {0x18, 0x20}:  # field 3 and 4, integers
        number = _varint(value, 1)[0]
        return float(number - (1 << 64) if number >> 63 else number)
    if tag == 0x35:  # field 6, float
        return float(struct.unpack_from("<f", value, 1)[0])
    raise ValueError("the online store holds a value that is no number; materialize the features again")


def decode_moment(value: bytes) -> int:
    """Microseconds since 1970 in a protobuf `Timestamp`."""
    seconds = nanoseconds = position = 0
    while position < len(value):
        field = value[position] >> 3
        number, position = _varint(value, position + 1)
        number = number - (1 << 64) if number >> 63 else number
        if field == 1:
            seconds = number
        elif field == 2:
            nanoseconds = number
    return seconds * 1_000_000 + nanoseconds // 1_000


def _varint(value: bytes, position: int) -> tuple[int, int]:
    """A number in base 128, least significant digits first, and where it ends."""
    number = shift = 0
    while True:
        byte = value[position]
        number |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return number, position
        shift += 7


def _microseconds(moment: datetime) -> int:
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _gather(rows: Iterable[tuple[bytes, str, bytes, datetime]]) -> dict[bytes, Row]:
    """Rows of one value each, as the SQL stores have them, by customer."""
    values: dict[bytes, dict[str, bytes | None]] = {}
    moments: dict[bytes, datetime] = {}
    for key, name, value, moment in rows:
        values.setdefault(key, {})[name] = value
        moments[key] = moment
    return {key: (row, _microseconds(moments[key])) for key, row in values.items()}


class _SQLiteReader:
    """One file; a connection for each thread, opened again when the file is another one."""

    def __init__(self, config: StoreConfig, features: Sequence[str], timeout: float) -> None:  # noqa: ARG002
        self._path: Path = config.online_path
        self._table = f'"{config.project}_{FEATURE_VIEW}"'
        self._timeout = timeout
        self._mine = threading.local()

    def rows(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        try:
            connection = self._connection()
            found: list[Any] = []
            for start in range(0, len(keys), _KEYS):
                some = keys[start : start + _KEYS]
                marks = ",".join("?" * len(some))
                sql = (
                    f"SELECT entity_key, feature_name, value, event_ts FROM {self._table} WHERE entity_key IN ({marks})"  # noqa: S608
                )
                found += connection.execute(sql, some).fetchall()
        except (OSError, sqlite3.Error) as error:
            self.close()
            reason = error.strerror if isinstance(error, OSError) else error
            raise StoreUnavailableError(
                f"online store {self._path.name}: {reason}; materialize the features"
            ) from error
        # As Feast reads what it wrote: seconds since 1970 of a time that it takes for local.
        times = {row[3]: datetime.fromtimestamp(row[3]) for row in found}  # noqa: DTZ006
        return _gather((key, name, value, times[moment]) for key, name, value, moment in found)

    def close(self) -> None:
        opened = getattr(self._mine, "opened", None)
        self._mine.opened = None
        if opened is not None:
            opened[1].close()

    def _connection(self) -> sqlite3.Connection:
        status = self._path.stat()
        identity = (status.st_dev, status.st_ino)
        opened: tuple[tuple[int, int], sqlite3.Connection] | None = getattr(self._mine, "opened", None)
        if opened is None or opened[0] != identity:
            self.close()
            connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=self._timeout)
            self._mine.opened = opened = (identity, connection)
        return opened[1]


class _RedisReader:
    """One hash a customer; a batch is one pipeline."""

    def __init__(self, config: StoreConfig, features: Sequence[str], timeout: float) -> None:
        import mmh3
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        if config.online.get("redis_type", "redis") != "redis":
            raise StoreConfigError(
                f"{config.path}: only redis_type 'redis' can be read here, no cluster and no sentinel"
            )
        address, *settings = str(config.online.get("connection_string", "localhost:6379")).split(",")
        host, _, port = address.partition(":")
        options: dict[str, Any] = dict(setting.partition("=")[::2] for setting in settings)
        self._client: Any = redis.Redis(
            host=host,
            port=int(port or 6379),
            db=int(options.get("db", 0)),
            username=options.get("username"),
            password=options.get("password"),
            ssl=options.get("ssl", "false").lower() == "true",
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # A connection that a restarted server has forgotten is replaced at once.
            retry=Retry(NoBackoff(), 1),
        )
        self._error: type[Exception] = redis.RedisError
        self._project = config.project.encode()
        self._features = list(features)
        self._fields = [struct.pack("<I", mmh3.hash(f"{FEATURE_VIEW}:{name}", signed=False)) for name in features]
        self._fields.append(f"_ts:{FEATURE_VIEW}".encode())

    def rows(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key + self._project, self._fields)
                answers = pipe.execute()
        except (self._error, OSError) as error:
            raise StoreUnavailableError(f"online store Redis: {error}") from error
        return {
            key: (dict(zip(self._features, values, strict=True)), decode_moment(moment))
            for key, (*values, moment) in zip(keys, answers, strict=True)
            if moment is not None
        }

    def close(self) -> None:
        self._client.close()


class _PostgresReader:
    """One table; a connection for each thread, opened again when the server has dropped it."""

    def __init__(self, config: StoreConfig, features: Sequence[str], timeout: float) -> None:
        import psycopg
        from psycopg import sql

        online = config.online
        self._settings: dict[str, Any] = {
            "host": online.get("host"),
            "port": online.get("port", 5432),
            "dbname": online.get("database"),
            "user": online.get("user"),
            "password": online.get("password"),
            "sslmode": online.get("sslmode", "require"),
            "connect_timeout": max(2, round(timeout)),  # libpq takes no less
            "options": f"-c statement_timeout={round(timeout * 1000)}",
        }
        table = sql.Identifier(online.get("db_schema", "public"), f"{config.project}_{FEATURE_VIEW}")
        self._query = sql.SQL(
            "SELECT entity_key, feature_name, value, event_ts FROM {} "
            "WHERE entity_key = ANY(%s) AND feature_name = ANY(%s)"
        ).format(table)
        self._features = list(features)
        self._connect: Callable[..., Any] = psycopg.connect
        self._error: type[Exception] = psycopg.Error
        self._mine = threading.local()

    def rows(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        reused = getattr(self._mine, "connection", None) is not None
        try:
            return self._rows(keys)
        except self._error as error:
            self.close()
            if not reused:
                raise StoreUnavailableError(f"online store PostgreSQL: {' '.join(str(error).split())}") from None
        return self.rows(keys)  # once more, with a new connection

    def _rows(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        connection = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = self._connect(autocommit=True, **self._settings)
        with connection.cursor(binary=True) as cursor:
            cursor.execute(self._query, (list(keys), self._features), prepare=True)
            return _gather((bytes(key), name, bytes(value), moment) for key, name, value, moment in cursor.fetchall())

    def close(self) -> None:
        connection = getattr(self._mine, "connection", None)
        self._mine.connection = None
        if connection is not None:
            connection.close()


_READERS: Mapping[str, Callable[[StoreConfig, Sequence[str], float], _Reader]] = {
    "sqlite": _SQLiteReader,
    "redis": _RedisReader,
    "postgres": _PostgresReader,
}
