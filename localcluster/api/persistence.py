"""Objects and their recent changes on disk: one SQLite file, in which an answered write survives a killed process."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from localcluster.api.errors import ApiError
from localcluster.render import Object

FILE = "objects.db"
# Watchers that were away for longer than this many changes have to list again.
HISTORY = 5000
_PRUNE_EVERY = 100
_FORMAT = 1
# A server that was just told to end may hold the file for a moment.
_WAIT_FOR_LOCK_S = 2
_TABLES = """
CREATE TABLE objects (
    storage TEXT, namespace TEXT, name TEXT, item BLOB NOT NULL, PRIMARY KEY (storage, namespace, name)
) WITHOUT ROWID;
CREATE TABLE changes (
    version INTEGER PRIMARY KEY, type TEXT NOT NULL, storage TEXT NOT NULL, item BLOB NOT NULL, before BLOB
);
"""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class PersistenceError(Exception):
    """What is on disk cannot be used."""


@dataclass(frozen=True)
class Change:
    """One write.

    Attributes:
        version: The resourceVersion that it made.
        type: What became of the object.
        storage: `Resource.storage` of its kind.
        item: The object after it; for one that was deleted, as it was last, at this version.
        before: The object before it.
    """

    version: int
    type: ChangeType
    storage: str
    item: Object
    before: Object | None


class Database:
    """The file; only one process at a time can have it open.

    Args:
        folder: Where it is; made, for its owner alone, if it is not there.

    Raises:
        PersistenceError: It is damaged, newer than this program, or open elsewhere; says which, and what to do.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.path = folder / FILE
        # SQLite gives its other files the rights of this one.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self.path.chmod(0o600)
        self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=_WAIT_FOR_LOCK_S)
        try:
            self._open()
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise PersistenceError(f"cannot open {self.path}: {error}; is another cluster running on it?") from error
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise PersistenceError(
                f"{self.path} is damaged ({error}): move it away, and the cluster starts empty"
            ) from error
        except PersistenceError:
            self._connection.close()
            raise

    def _open(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode=EXCLUSIVE")
        # With a write-ahead log a commit is in the operating system's hands before it returns: a killed process
        # loses nothing; a power cut may lose the last moments, never the file.
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=NORMAL")
        execute("BEGIN IMMEDIATE")
        found = execute("PRAGMA user_version").fetchone()[0]
        if found > _FORMAT:
            raise PersistenceError(
                f"{self.path} was written by a newer version of this program (format {found}, this one knows"
                f" {_FORMAT}): update, or move it away, and the cluster starts empty"
            )
        if found == 0:
            for statement in _TABLES.split(";")[:-1]:
                execute(statement)
            execute(f"PRAGMA user_version={_FORMAT}")
        execute("COMMIT")
        if (verdict := execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(verdict)

    def objects(self) -> Iterator[tuple[str, Object]]:
        """Every object with its storage."""
        for storage, item in self._connection.execute("SELECT storage, item FROM objects"):
            yield storage, orjson.loads(item)

    def versions(self) -> tuple[int, int]:
        """The first and the last version of which the change is kept; zeros if there is none."""
        first, last = self._connection.execute("SELECT min(version), max(version) FROM changes").fetchone()
        return first or 0, last or 0

    def changes(self, storage: str, after: int) -> list[Change]:
        """Changes of one kind of objects after a version, oldest first."""
        rows = self._connection.execute(
            "SELECT version, type, item, before FROM changes WHERE version > ? AND storage = ? ORDER BY version",
            (after, storage),
        )
        return [
            Change(version, type_, storage, orjson.loads(item), orjson.loads(before) if before else None)
            for version, type_, item, before in rows
        ]

    def write(self, change: Change) -> int:
        """Makes a change durable, all or nothing.

        Returns:
            The first version of which the change is kept; 0 if that is as it was.

        Raises:
            ApiError: 503 if the disk does not take it.
        """
        metadata = change.item["metadata"]
        key = (change.storage, metadata.get("namespace", ""), metadata["name"])
        body = orjson.dumps(change.item)
        before = orjson.dumps(change.before) if change.before is not None else None
        first = 0
        try:
            # Commits at its end, and rolls back if anything fails.
            with self._connection as connection:
                connection.execute("BEGIN")
                connection.execute(
                    "INSERT INTO changes VALUES (?, ?, ?, ?, ?)",
                    (change.version, change.type, change.storage, body, before),
                )
                if change.type == "DELETED":
                    connection.execute("DELETE FROM objects WHERE storage = ? AND namespace = ? AND name = ?", key)
                else:
                    connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (*key, body))
                if change.version % _PRUNE_EVERY == 0 and change.version > HISTORY:
                    first = change.version - HISTORY + 1
                    connection.execute("DELETE FROM changes WHERE version < ?", (first,))
        except sqlite3.Error as error:
            message = f"cannot write {self.path}: {error}; nothing was changed"
            raise ApiError(503, "ServiceUnavailable", message, retry_after_s=1) from error
        return first

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
