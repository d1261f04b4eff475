"""The decision record: every decision with its inputs, output, explanation and lineage, in an append-only store."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
import sqlalchemy as sa

Synchronous = Literal["normal", "full"]

_BATCH = 256
_ATTEMPTS = 3
_LOOK = 500  # ids in one query; drivers limit parameters
# No replica waits for ever for another one that hangs.
_SESSION = "-c lock_timeout=5s -c statement_timeout=10s -c idle_in_transaction_session_timeout=10s"
_WRITER_LOCK = 0x6465_6369  # any number that nothing else in the database uses

_metadata = sa.MetaData()
_models = sa.Table(
    "models",
    _metadata,
    sa.Column("model_version", sa.String(64), primary_key=True),
    sa.Column("model_name", sa.String(63), nullable=False),
    sa.Column("lineage", sa.JSON, nullable=False),
)
_decisions = sa.Table(
    "decisions",
    _metadata,
    sa.Column("decision_id", sa.String(64), primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("model_version", sa.ForeignKey(_models.c.model_version), nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("output", sa.JSON, nullable=False),
    sa.Column("explanation", sa.JSON, nullable=False),
)
_TRIGGERS = (
    ("sqlite", "CREATE TRIGGER %(table)s_no_update BEFORE UPDATE ON %(table)s {refuse}"),
    ("sqlite", "CREATE TRIGGER %(table)s_no_delete BEFORE DELETE ON %(table)s {refuse}"),
    # INSERT OR REPLACE deletes without asking the trigger above.
    ("sqlite", "CREATE TRIGGER %(table)s_no_replace BEFORE INSERT ON %(table)s WHEN {exists} {refuse}"),
    ("postgresql", "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger AS $$ {raise} $$ LANGUAGE plpgsql"),
    ("postgresql", "CREATE TRIGGER %(table)s_append_only {changes} ON %(table)s {each} refuse_change()"),
)
_CLAUSES = {
    "refuse": "BEGIN SELECT RAISE(ABORT, 'decision records are append-only'); END",
    "exists": "EXISTS (SELECT 1 FROM %(table)s WHERE {key} = NEW.{key})",
    "raise": "BEGIN RAISE EXCEPTION 'decision records are append-only'; END",
    "changes": "BEFORE UPDATE OR DELETE OR TRUNCATE",
    "each": "FOR EACH STATEMENT EXECUTE FUNCTION",
}
for _table in (_models, _decisions):
    for _dialect, _statement in _TRIGGERS:
        _text = _statement.format(**_CLAUSES).format(key=_table.primary_key.columns[0].name)
        _ddl = sa.DDL(_text).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]
        sa.event.listen(_table, "after_create", _ddl)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision as it was made.

    Attributes:
        decision_id: Its name, 1 to 64 characters.
        time: When, UTC, ISO 8601.
        request_id: Id of the request that asked for it.
        model_version: Version of the model package that decided.
        inputs: The application, field by field.
        output: Probability, decision and threshold.
        explanation: `base_value` and `contributions`, which sum to the margin.
    """

    decision_id: str
    time: str
    request_id: str
    model_version: str
    inputs: dict[str, Any]
    output: dict[str, Any]
    explanation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision read back, with the origin of its model."""

    decision: Decision
    model_name: str
    lineage: dict[str, Any]


class DecisionConflictError(Exception):
    """A decision id stands for another application already.

    Args:
        position: Which of the submitted decisions.
        decision_id: The id.
    """

    def __init__(self, position: int, decision_id: str) -> None:
        self.position = position
        self.decision_id = decision_id
        super().__init__(f"decision_id {decision_id!r} belongs to another application already: give a new one")


class StoreUnavailableError(Exception):
    """The store cannot be written just now, so nothing may be answered."""


class DecisionStore:
    """Writes decisions durably, many requests to one commit, and reads them back.

    One thread writes, and one process at a time. A commit survives the end of the process at any point, SIGKILL
    included. On SQLite `synchronous="normal"` leaves the last moments to the operating system, which matters only when
    the machine itself loses power; `"full"` waits for the disk at every commit. PostgreSQL follows its own
    `synchronous_commit`; once the tables are there, its role needs no rights but SELECT and INSERT on them.

    Args:
        url: SQLAlchemy URL, `sqlite:///…` or `postgresql://…`; for SQLite the folder is created.
        synchronous: How SQLite commits.
        max_waiting: Requests that may wait for the writer.

    Raises:
        StoreUnavailableError: The store cannot be opened.
    """

    def __init__(self, url: str, *, synchronous: Synchronous = "normal", max_waiting: int = 1024) -> None:
        try:
            self._engine = _open(url, synchronous)
            _create_tables(self._engine)
        except (ImportError, sa.exc.SQLAlchemyError) as error:
            raise StoreUnavailableError(f"decision store: {error}; check DECISIONS_URL") from error
        self._queue: queue.Queue[tuple[list[Decision], Future[list[Decision]]] | None] = queue.Queue(max_waiting)
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    def register_model(self, model_version: str, model_name: str, lineage: Mapping[str, Any]) -> None:
        """Notes where a model version comes from, once; its decisions refer to it."""
        row = {"model_version": model_version, "model_name": model_name, "lineage": dict(lineage)}
        known = sa.select(_models.c.model_version).where(_models.c.model_version == model_version)
        for _ in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    if connection.execute(known).first() is None:
                        connection.execute(_models.insert(), row)
            except sa.exc.IntegrityError:  # another replica was faster
                continue
            return

    def submit(self, decisions: Sequence[Decision]) -> Future[list[Decision]]:
        """Records the decisions of one request: all of them, or none.

        An id that is on record already with the same inputs keeps its first record, and that is what is returned.

        Returns:
            A future of the decisions on record. It raises DecisionConflictError where an id belongs to other inputs,
            and StoreUnavailableError where the store cannot be written.

        Raises:
            StoreUnavailableError: Too many requests wait for the store.
        """
        future: Future[list[Decision]] = Future()
        try:
            self._queue.put_nowait((list(decisions), future))
        except queue.Full:
            raise StoreUnavailableError("too many requests wait for the decision store: try again") from None
        return future

    def read(self, decision_id: str) -> RecordedDecision | None:
        """A decision and the lineage of its model, or nothing."""
        query = (
            sa.select(_decisions, _models.c.model_name, _models.c.lineage)
            .join(_models)
            .where(_decisions.c.decision_id == decision_id)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return RecordedDecision(_decision(row), row["model_name"], row["lineage"])

    @property
    def alive(self) -> bool:
        """Whether the writer runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Writes what waits and closes the store."""
        self._queue.put(None)
        self._thread.join()
        self._engine.dispose()

    def _run(self) -> None:
        running = True
        while running:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            running = None not in batch
            jobs = [job for job in batch if job is not None]
            if jobs:
                self._commit(jobs)

    def _commit(self, jobs: list[tuple[list[Decision], Future[list[Decision]]]]) -> None:
        """One transaction for many requests; answers them after the commit."""
        # From here on a request can no longer be cancelled; one that was leaves no record.
        jobs = [job for job in jobs if job[1].set_running_or_notify_cancel()]
        results: list[list[Decision] | Exception] = []
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    _become_the_writer(connection)
                    results = [_write(connection, decisions, look=attempt > 0) for decisions, _ in jobs]
                break
            except sa.exc.IntegrityError as error:  # an id is on record already: look before the next insert
                results = [StoreUnavailableError(f"the decisions cannot be recorded: {error.orig}")] * len(jobs)
            except Exception as error:  # noqa: BLE001 - the writer must outlive whatever one batch holds
                results = [StoreUnavailableError(f"the decisions cannot be recorded: {error}")] * len(jobs)
                time.sleep(0.05 * attempt)
        for (_, future), result in zip(jobs, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def new_decision_id() -> str:
    """A new id, a UUID of version 7 (RFC 9562): ordered by time, so that the store's index grows at one end."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | secrets.randbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def utc_now() -> str:
    """The time, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _open(url: str, synchronous: Synchronous) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    sqlite = parsed.get_backend_name() == "sqlite"
    engine = sa.create_engine(
        parsed,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={"timeout": 5} if sqlite else {"connect_timeout": 5, "options": _SESSION},
        pool_pre_ping=not sqlite,
    )
    if sqlite:
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)

        @sa.event.listens_for(engine, "connect")
        def _configure(connection: Any, _: Any) -> None:
            connection.isolation_level = None
            for pragma in ("journal_mode=WAL", f"synchronous={synchronous.upper()}", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _become_the_writer(connection: sa.Connection) -> None:
    """Waits for the writers of other replicas, whose ids could otherwise lock each other out; SQLite does so itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))


def _create_tables(engine: sa.Engine) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            with engine.begin() as connection:
                _metadata.create_all(connection)
        except sa.exc.SQLAlchemyError:  # another replica may create them at this moment
            if attempt == _ATTEMPTS - 1:
                engine.dispose()
                raise
            time.sleep(0.2)
        else:
            return


def _write(
    connection: sa.Connection, decisions: list[Decision], *, look: bool
) -> list[Decision] | DecisionConflictError:
    """Inserts the decisions of one request; with `look`, leaves out those on record already."""
    if not look:
        connection.execute(_decisions.insert(), [asdict(decision) for decision in decisions])
        return decisions
    ids = [decision.decision_id for decision in decisions]
    on_record: dict[str, Decision] = {}
    for start in range(0, len(ids), _LOOK):
        some = _decisions.c.decision_id.in_(ids[start : start + _LOOK])
        rows = connection.execute(sa.select(_decisions).where(some)).mappings()
        on_record |= {row["decision_id"]: _decision(row) for row in rows}
    new: list[Decision] = []
    for position, decision in enumerate(decisions):
        first = on_record.setdefault(decision.decision_id, decision)
        if first is decision:
            new.append(decision)
        elif first.inputs != decision.inputs:
            return DecisionConflictError(position, decision.decision_id)
    if new:
        connection.execute(_decisions.insert(), [asdict(decision) for decision in new])
    return [on_record[id_] for id_ in ids]


def _decision(row: Mapping[Any, Any]) -> Decision:
    return Decision(**{name: row[name] for name in Decision.__slots__})
