"""The release before, as a migration meets it: it writes and reads every table as it knew it, and knows nothing newer.

Its statements are made from the schema of its own revision: an INSERT with exactly the columns of then, a SELECT of
them, both as the application's role and inside a town. So a column that is renamed, dropped or needs a value that only
newer code gives, a right that is taken away, a policy that shuts it out: each makes a statement of it fail.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

SECONDS_MAX = 60

_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'tallystick'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attgenerated = '' ORDER BY c.relname, a.attnum
"""

_VALUES: Mapping[str, Callable[[], object]] = {
    "uuid": lambda: str(uuid.uuid4()),
    "text": lambda: uuid.uuid4().hex * 2,  # also what a digest is checked to look like
    "bigint": lambda: 1,
    "boolean": lambda: True,
    "numeric": lambda: 1,
    "bytea": lambda: uuid.uuid4().bytes * 2,
    "bytea[]": list,
    "jsonb": lambda: Jsonb({}),
    "timestamp with time zone": lambda: "2026-11-21T08:00:00.000Z",
}


class OldRelease:
    """Whoever works on a database with the schema that is there when this is made."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._tables: dict[str, dict[str, str]] = {}
        self._news = threading.Condition()
        self._rounds = 0
        self._fault: Exception | None = None
        self.towns: dict[str, list[str]] = {}
        with psycopg.connect(database_url) as connection:
            for table, column, kind in connection.execute(_COLUMNS):
                self._tables.setdefault(table, {})[column] = kind

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Write and read every table again and again while the block runs, once before and once after it at least.

        Raises what a statement raised.
        """
        stopping = threading.Event()
        thread = threading.Thread(target=self._work, args=(stopping,))
        thread.start()
        try:
            self._await_round()
            yield
            self._await_round()
        finally:
            stopping.set()
            thread.join()

    def check_everything_is_there(self) -> None:
        """Every row that was written is read as it was written."""
        with psycopg.connect(self._database_url) as connection:
            for table in self._tables:
                rows = connection.execute(self._select(table)).fetchall()
                assert len(rows) == len(self.towns[table]) > 1, table
                assert {len(row) for row in rows} == {len(self._tables[table])}, table
                where = list(self._tables[table]).index("town_id") if "town_id" in self._tables[table] else None
                if where is not None:
                    assert {str(row[where]) for row in rows} == set(self.towns[table]), table

    def _work(self, stopping: threading.Event) -> None:
        try:
            with psycopg.connect(self._database_url, autocommit=True) as connection:
                connection.execute("SET ROLE tallystick_api")
                while not stopping.is_set():
                    for table in self._tables:
                        self._write_and_read(connection, table)
                    self._tell()
        except Exception as fault:  # noqa: BLE001  handed to whoever waits
            self._tell(fault)

    def _write_and_read(self, connection: psycopg.Connection[Any], table: str) -> None:
        town = str(uuid.uuid4())
        columns = self._tables[table]
        values = [town if name == "town_id" else _VALUES[kind]() for name, kind in columns.items()]
        with connection.transaction():
            connection.execute("SELECT set_config('app.town_ids', %s, true)", ["{" + town + "}"])
            connection.execute(self._insert(table), values)
            self.towns.setdefault(table, []).append(town)
            connection.execute(self._select(table)).fetchone()

    def _insert(self, table: str) -> sql.Composed:
        columns = sql.SQL(", ").join(map(sql.Identifier, self._tables[table]))
        places = sql.SQL(", ").join(sql.Placeholder() for _ in self._tables[table])
        name = sql.Identifier("tallystick", table)
        return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(name, columns, places)

    def _select(self, table: str) -> sql.Composed:
        columns = sql.SQL(", ").join(map(sql.Identifier, self._tables[table]))
        return sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier("tallystick", table))

    def _tell(self, fault: Exception | None = None) -> None:
        with self._news:
            self._rounds += 1
            self._fault = fault
            self._news.notify_all()

    def _await_round(self) -> None:
        """Wait until a whole round has begun and ended from now on."""
        with self._news:
            wanted = self._rounds + 2
            is_told = self._news.wait_for(lambda: self._fault or self._rounds >= wanted, timeout=SECONDS_MAX)
            if self._fault is not None:
                raise self._fault
            assert is_told, "the release before hangs"
