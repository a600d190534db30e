"""The rows that `verify` has rebuilt, in bounded memory: the newest in a dict, all others in a SQLite file of its own.

The file has no name, so it is gone when the process is, however that ends; it lies where SQLITE_TMPDIR or TMPDIR says
and becomes about as large as the rows of the town.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import orjson

from sync.engine.feed import Stored, encode_body
from sync.kernel.changeset import RowKey

RECENT_ROWS_MAX = 20_000
"""Rows that are in memory as they are, some 2 KB each."""

MARKS = 4 * 1024 * 1024
"""Bytes in which it is noted what the file has: most rows that are asked for are new ones, which are not there."""

PAGE_CACHE_KIB = 32 * 1024
"""What SQLite may keep of the file in memory."""

_SETTINGS = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -{PAGE_CACHE_KIB};
CREATE TABLE rows (entity TEXT, id TEXT, version INTEGER, body BLOB, PRIMARY KEY (entity, id)) WITHOUT ROWID;
BEGIN;
"""
_READ = "SELECT version, body FROM rows WHERE entity = ? AND id = ?"
_READ_ALL = "SELECT id, version, body FROM rows WHERE entity = ? ORDER BY id"
_WRITE = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)"


class RebuiltInFile(dict[RowKey, Stored | None]):
    """The `RebuiltRows` of a town of any size; as a dict it is what was asked for or written of late."""

    def __init__(self, connection: sqlite3.Connection, recent_rows_max: int) -> None:
        super().__init__()
        self._connection = connection
        self._recent_rows_max = recent_rows_max
        self._unwritten: set[RowKey] = set()
        self._marks = bytearray(MARKS)

    def __missing__(self, key: RowKey) -> Stored | None:
        """The row out of the file, None when there is none."""
        stored = self._read(key) if self._marks[hash(key) % MARKS] else None
        self[key] = stored
        self._keep_bound()
        return stored

    def get(self, key: RowKey, /) -> Stored | None:  # type: ignore[override]  # nothing is unknown here
        """The row, None when there is none."""
        return self[key]

    def put(self, key: RowKey, stored: Stored, /) -> None:
        """The row as it stands now."""
        self[key] = stored
        self._unwritten.add(key)
        self._keep_bound()

    def ordered(self, entity: str, /) -> Iterator[tuple[str, Stored]]:
        """All rows of an entity with their ids, by id; no row may be written meanwhile."""
        self._write()
        for row_id, version, body in self._connection.execute(_READ_ALL, [entity]):
            yield row_id, Stored(version=version, fields=orjson.loads(body))

    def _read(self, key: RowKey) -> Stored | None:
        found = self._connection.execute(_READ, key).fetchone()
        return Stored(version=found[0], fields=orjson.loads(found[1])) if found else None

    def _keep_bound(self) -> None:
        if len(self) > self._recent_rows_max:
            self._write()
            self.clear()

    def _write(self) -> None:
        rows = ((key, self[key]) for key in sorted(self._unwritten))  # in the order in which the file has them
        self._connection.executemany(
            _WRITE, ((*key, stored.version, encode_body(stored.fields)) for key, stored in rows if stored)
        )
        for key in self._unwritten:
            self._marks[hash(key) % MARKS] = 1
        self._unwritten.clear()


@contextmanager
def rebuilt_in_file(recent_rows_max: int = RECENT_ROWS_MAX) -> Iterator[RebuiltInFile]:
    """Room for the rows of one town; gone when the block ends."""
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        connection.executescript(_SETTINGS)
        yield RebuiltInFile(connection, recent_rows_max)
