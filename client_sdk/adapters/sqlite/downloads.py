"""Files on their way into the replica, in parts, inside the encrypted file; and the lines they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import apsw

from client_sdk.adapters.sqlite import meta
from client_sdk.application.snapshots import SNAPSHOT_START, sha256_of, snapshot_lines

TABLE = """CREATE TABLE IF NOT EXISTS download (
    sha256 TEXT NOT NULL, part INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (sha256, part))"""
"""Made where it is missing: a replica of an SDK before it is otherwise as it should be."""

_SIZE = "SELECT coalesce(sum(length(bytes)), 0) FROM download WHERE sha256 = ?"
_ADD = "INSERT INTO download SELECT ?1, count(*), ?2 FROM download WHERE sha256 = ?1"
_PART = "SELECT bytes FROM download WHERE sha256 = ? AND part = ?"
_DECLINING = "declines_snapshots"

Opened = Callable[[], AbstractContextManager[apsw.Connection]]


class SqliteDownloads:
    """The `Downloads` port over the two connections of a store."""

    def __init__(self, reading: Opened, writing: Opened) -> None:
        self._reading = reading
        self._writing = writing

    def size(self, sha256: str) -> int:
        """How many bytes of this file are here."""
        with self._reading() as connection:
            return int(connection.execute(_SIZE, (sha256,)).get)

    def add(self, sha256: str, part: bytes) -> None:
        """Put these bytes behind those that are here."""
        with self._writing() as connection:
            connection.execute(_ADD, (sha256, part))

    def read(self, sha256: str) -> Iterator[bytes]:
        """The bytes that are here, a part at a time."""
        place = 0
        while True:
            with self._reading() as connection:
                part = connection.execute(_PART, (sha256, place)).get
            if part is None:
                return
            yield part
            place += 1

    def drop(self, sha256: str) -> None:
        """Forget this file."""
        with self._writing() as connection:
            connection.execute("DELETE FROM download WHERE sha256 = ?", (sha256,))

    def decline(self) -> None:
        """Ask for no files until a checkpoint is taken."""
        with self._writing() as connection:
            meta.put(connection, _DECLINING, value=True)

    def is_declining(self) -> bool:
        """Whether that was said."""
        with self._reading() as connection:
            return meta.get(connection, _DECLINING) is not None


def forget(connection: apsw.Connection) -> None:
    """The pages that name files are taken or dropped: so are the files."""
    connection.execute("DELETE FROM download")


def accept(connection: apsw.Connection) -> None:
    """A checkpoint is taken: files are asked for again."""
    meta.drop(connection, _DECLINING)


def expanded(connection: apsw.Connection, lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines, and in the place of each one that names a file what is in it."""
    for line in lines:
        if line.startswith(SNAPSHOT_START):
            yield from snapshot_lines(line, _parts(connection, sha256_of(line)))
        else:
            yield line


def _parts(connection: apsw.Connection, sha256: str) -> Iterator[bytes]:
    place = 0
    while (part := connection.execute(_PART, (sha256, place)).get) is not None:
        yield part
        place += 1
