"""Rows from the server into base rows, in bulk, with every bucket's count and checksum kept beside them.

One object lives for one settling transaction. A row is in one bucket; when another bucket puts it, the first one's
checksum gives it up. `gone` takes a row only out of the bucket that says so, whatever the order of the lines.

A bucket whose checksum does not fit keeps its rows and loses its cursor, which is then 0: nobody is left without the
rows he works with while they are fetched anew, and what is fetched takes their place in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

import apsw
import orjson

from client_sdk.application.answer import RowsLine
from sync.engine.feed import SUM_MODULUS, BucketSum, row_sum
from sync.kernel.changeset import RowKey
from sync.protocol.messages import BucketLine, Checkpoint

_FIND = """SELECT base_row.id, base_row.bucket, base_row.version FROM json_each(?) AS asked
    CROSS JOIN base_row ON base_row.entity = ? AND base_row.id = asked.value"""
_INSERT = "INSERT INTO base_row (entity, id, bucket, version, body) VALUES (?, ?, ?, ?, ?)"
_PUT = f"""{_INSERT}
    ON CONFLICT (entity, id) DO UPDATE SET bucket = excluded.bucket, version = excluded.version, body = excluded.body"""
_GONE = """DELETE FROM base_row WHERE entity = ? AND bucket = ? AND id IN (SELECT value FROM json_each(?))
    RETURNING id, version"""
_EMPTY = "DELETE FROM base_row WHERE bucket = ? RETURNING entity, id"
_BUCKETS = "SELECT id, name, cursor, rows, total FROM bucket"
_WRITE_BUCKET = "UPDATE bucket SET cursor = ?, rows = ?, total = ? WHERE id = ?"

_BaseRow = tuple[str, str, int, int, str]
"""Entity, id, bucket, version, body; as the table has them."""


class _Bucket:
    """A bucket as this transaction has made it so far."""

    def __init__(self, bucket_id: int, cursor: int, rows: int, total: int, *, is_count_trusted: bool) -> None:
        self.id = bucket_id
        self.cursor = cursor
        self.rows = rows
        self.total = total
        self.is_count_trusted = is_count_trusted

    @property
    def sum(self) -> BucketSum:
        return BucketSum(rows=self.rows, total=self.total % SUM_MODULUS)


class PageWriter:
    """Applies bucket and rows lines; `dirty` gathers which of the `watched` rows have changed."""

    def __init__(self, connection: apsw.Connection, watched: Collection[RowKey]) -> None:
        self._connection = connection
        self._watched = watched
        self._buckets: dict[str, _Bucket] = {}
        self._by_id: dict[int, _Bucket] = {}
        for bucket_id, name, cursor, rows, total in connection.execute(_BUCKETS):
            self._keep(name, _Bucket(bucket_id, cursor, rows, int(total, 16), is_count_trusted=cursor > 0))
        self.dirty: set[RowKey] = set()
        self.rows = 0

    def bucket(self, line: BucketLine) -> None:
        """Empty a bucket that starts anew, forget one that is no longer held."""
        if line.state == "dropped":
            self._forget(line.b)
        elif line.state in ("added", "reset"):
            self._empty(self._bucket(line.b))

    def apply(self, line: RowsLine) -> None:
        """Put and take out the rows of one line."""
        bucket = self._bucket(line.bucket)
        if line.put:
            self._put(bucket, line)
        if line.gone:
            self._gone(bucket, line)
        self.rows += len(line.put) + len(line.gone)

    def finish(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Set the cursors and compare the checksums; the names of the buckets that did not fit and have no cursor now.

        What the checkpoint does not name is not held any more: left over from another epoch, or from a bucket that did
        not fit and was taken away meanwhile. `sync.engine.replica` refuses a checkpoint that leaves out anything else.
        """
        mismatched = []
        for name in self._buckets.keys() - checkpoint.buckets.keys():
            self._forget(name)
        for name, mark in checkpoint.buckets.items():
            bucket = self._bucket(name)
            bucket.cursor = mark.version
            if mark.sum is not None and (mark.rows, int(mark.sum, 16)) != (bucket.sum.rows, bucket.sum.total):
                mismatched.append(name)
                bucket.cursor = 0
        written = [(one.cursor, one.rows, f"{one.sum.total:016x}", one.id) for one in self._buckets.values()]
        self._connection.executemany(_WRITE_BUCKET, written)
        return tuple(mismatched)

    def _put(self, bucket: _Bucket, line: RowsLine) -> None:
        entity = line.entity
        rows = [(entity, row_id, bucket.id, version, orjson.dumps(row).decode()) for row_id, version, row in line.put]
        known = rows[self._insert(rows) :]
        if known:
            self._replace(entity, known)
        bucket.rows += len(rows)
        bucket.total += sum(row_sum(entity, row_id, version) for row_id, version, _ in line.put)
        if self._watched:
            self._note((entity, row_id) for row_id, _, _ in line.put)

    def _insert(self, rows: list[_BaseRow]) -> int:
        """How many could be put in before the first that is there already; a first sync never looks for old ones."""
        before = self._connection.total_changes()
        with suppress(apsw.ConstraintError):
            self._connection.executemany(_INSERT, rows)
        return self._connection.total_changes() - before

    def _replace(self, entity: str, rows: list[_BaseRow]) -> None:
        """Put rows of which some may be there; what stood there leaves its bucket's checksum."""
        asked = orjson.dumps([row_id for _, row_id, *_ in rows]).decode()
        for row_id, bucket_id, version in self._connection.execute(_FIND, (asked, entity)):
            was = self._by_id[bucket_id]
            was.rows -= 1
            was.total -= row_sum(entity, row_id, version)
        self._connection.executemany(_PUT, rows)

    def _gone(self, bucket: _Bucket, line: RowsLine) -> None:
        asked = orjson.dumps([row_id for row_id, _ in line.gone]).decode()
        gone: list[tuple[str, int]] = list(self._connection.execute(_GONE, (line.entity, bucket.id, asked)))
        for row_id, version in gone:
            bucket.rows -= 1
            bucket.total -= row_sum(line.entity, row_id, version)
            self._note([(line.entity, row_id)])

    def _empty(self, bucket: _Bucket) -> None:
        # The count tells whether the whole table must be searched.
        if bucket.rows or not bucket.is_count_trusted:
            emptied: list[RowKey] = list(self._connection.execute(_EMPTY, (bucket.id,)))
            self._note(emptied)
        bucket.cursor = bucket.rows = bucket.total = 0
        bucket.is_count_trusted = True

    def _forget(self, name: str) -> None:
        bucket = self._buckets.pop(name, None)
        if bucket:
            bucket.is_count_trusted = False
            self._empty(bucket)
            del self._by_id[bucket.id]
            self._connection.execute("DELETE FROM bucket WHERE id = ?", (bucket.id,))

    def _bucket(self, name: str) -> _Bucket:
        if name not in self._buckets:
            new = "INSERT INTO bucket (name, cursor, rows, total) VALUES (?, 0, 0, '0')"
            self._connection.execute(new, (name,))
            made = _Bucket(self._connection.last_insert_rowid(), 0, 0, 0, is_count_trusted=True)
            self._keep(name, made)
        return self._buckets[name]

    def _keep(self, name: str, bucket: _Bucket) -> None:
        self._buckets[name] = bucket
        self._by_id[bucket.id] = bucket

    def _note(self, keys: Iterable[RowKey]) -> None:
        self.dirty.update(key for key in keys if key in self._watched)
