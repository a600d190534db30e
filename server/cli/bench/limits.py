"""What this machine can do at best: SQLite and PostgreSQL with the same bytes and nothing around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import apsw
import orjson
import psycopg

from client_sdk.adapters.sqlite.connection import connect, writing
from server.cli.bench.instruments import p50_p99

KEY_BYTES = bytes(range(32))
SETS_PER_COMMIT = 500
SAMPLES = 200
TRIES = 3
"""A limit is the best of so many tries: what disturbs the machine in between must not make it look easy to reach."""

_INSERT = """
INSERT INTO bench_limit (id, line) SELECT r.id, r.line FROM jsonb_to_recordset(%s::jsonb) AS r (id bigint, line text)
"""


def median_ms(act: Callable[[], object], samples: int, *, before: Callable[[], object] = lambda: None) -> float:
    """The median of what `act` takes, each time after `before`, which is not timed."""
    taken = []
    for _ in range(samples):
        before()
        started = time.perf_counter()
        act()
        taken.append((time.perf_counter() - started) * 1000)
    return median(taken)


def sqlite_rows_per_second(path: Path, rows: Sequence[tuple[str, int, str]]) -> float:
    """(id, version, body) into one plain table with a primary key, one transaction, with the cipher of a replica."""
    connection = connect(path, KEY_BYTES, may_create=True)
    try:
        return max(_sqlite_rate(connection, rows, attempt) for attempt in range(TRIES))
    finally:
        connection.close()


def sqlite_commit_ms(path: Path) -> float:
    """The median of a commit of one small row, with the cipher and the durability of a replica."""
    connection = connect(path, KEY_BYTES, may_create=True)
    try:
        connection.execute("CREATE TABLE plain (id INTEGER PRIMARY KEY, body TEXT)")
        samples = []
        for number in range(SAMPLES):
            started = time.perf_counter()
            with writing(connection):
                connection.execute("INSERT INTO plain VALUES (?, ?)", (number, "a small row"))
            samples.append((time.perf_counter() - started) * 1000)
        return p50_p99(samples)[0]
    finally:
        connection.close()


def postgres_rows_per_second(database_url: str, lines: Sequence[str]) -> float:
    """Lines into one plain table with a primary key, `SETS_PER_COMMIT` per statement and commit."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        return max(_postgres_rate(connection, lines) for _ in range(TRIES))


def _sqlite_rate(connection: apsw.Connection, rows: Sequence[tuple[str, int, str]], attempt: int) -> float:
    connection.execute(f"CREATE TABLE plain_{attempt} (id TEXT PRIMARY KEY, version INTEGER, body TEXT)")
    started = time.perf_counter()
    with writing(connection):
        connection.executemany(f"INSERT INTO plain_{attempt} VALUES (?, ?, ?)", rows)  # noqa: S608 - a number
    return len(rows) / (time.perf_counter() - started)


def _postgres_rate(connection: psycopg.Connection, lines: Sequence[str]) -> float:
    connection.execute("CREATE TABLE bench_limit (id bigint PRIMARY KEY, line text NOT NULL)")
    started = time.perf_counter()
    for first in range(0, len(lines), SETS_PER_COMMIT):
        part = lines[first : first + SETS_PER_COMMIT]
        rows = [{"id": number, "line": line} for number, line in enumerate(part, first)]
        connection.execute(_INSERT, [orjson.dumps(rows).decode()])
    seconds = time.perf_counter() - started
    connection.execute("DROP TABLE bench_limit")
    return len(lines) / seconds
