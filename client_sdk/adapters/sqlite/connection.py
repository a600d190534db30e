"""Opening the encrypted file, transactions, and the one place where SQLite's faults become ours.

Cipher: ChaCha20-Poly1305 with a raw 32-byte key. The key pragma says ok to a wrong key, so `sqlite_master` is read
after it. WAL with `synchronous=FULL`: a commit is on the disk when it returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from client_sdk.errors import (
    DiskFailed,
    DiskFull,
    NotAReplica,
    ReplicaBusy,
    ReplicaClosed,
    ReplicaCorrupt,
    ReplicaReadOnly,
)
from sync.kernel.errors import TallystickError

BUSY_TIMEOUT_MS = 10_000
CACHE_KIB = 64 * 1024
"""Holds the part of a first sync that is being written, so that pages with random ids are not written many times."""

_FAULTS: tuple[tuple[type[apsw.Error], type[TallystickError]], ...] = (
    (apsw.FullError, DiskFull),
    (apsw.ReadOnlyError, ReplicaReadOnly),
    (apsw.PermissionsError, ReplicaReadOnly),
    (apsw.CantOpenError, ReplicaReadOnly),
    (apsw.NotADBError, ReplicaCorrupt),
    (apsw.CorruptError, ReplicaCorrupt),
    (apsw.BusyError, ReplicaBusy),
    (apsw.LockedError, ReplicaBusy),
    (apsw.IOError, DiskFailed),
    (apsw.ConnectionClosedError, ReplicaClosed),
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's faults into the SDK's; what is a fault of our own code passes through."""
    try:
        yield
    except apsw.Error as fault:
        for theirs, ours in _FAULTS:
            if isinstance(fault, theirs):
                raise ours from fault
        raise


def connect(path: Path, key: bytes, *, may_create: bool) -> apsw.Connection:
    """An open, keyed and checked connection.

    Raises `NotAReplica` when there is no file (unless it may be made), `ReplicaCorrupt` when the key does not fit,
    `ReplicaReadOnly`.
    """
    if not may_create and not path.is_file():
        raise NotAReplica(f"there is no replica at {path.name}; check the path, or enrol first")
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if may_create else 0)
    with translated():
        connection = apsw.Connection(str(path), flags=flags)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.execute("PRAGMA cipher = 'chacha20'")
            connection.execute(f"PRAGMA key = 'raw:{key.hex()}'")
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # macOS keeps writes in the drive's cache without it
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def writing(connection: apsw.Connection) -> Iterator[None]:
    """One transaction that holds the write lock from its first statement; all or nothing."""
    with translated():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk may have rolled back already
                with suppress(apsw.Error):
                    connection.execute("ROLLBACK")
            raise
