"""The schema can be distributed by town: the rules of Citus, read from PostgreSQL's own catalogue.

The rules are those of https://docs.citusdata.com/en/stable/develop/reference_ddl.html: on a distributed table every
primary key, unique constraint and unique index holds the distribution column, a foreign key joins it with itself, and
what has no such column is a reference table, copied to every node. Each rule is seen to fire on a planted fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import Connection

from server.adapters.postgres.tables.evidence import APPEND_ONLY_TABLES, GLOBAL_TABLES
from server.embedded import EmbeddedPostgres
from tests.support.stack import database_from

TOWN_COLUMN = """
SELECT c.relname FROM pg_class AS c
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'town_id' AND NOT a.attisdropped
WHERE c.relnamespace = 'tallystick'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> ALL (%(global)s)
  AND (a.attnum IS NULL OR a.atttypid <> 'uuid'::regtype OR NOT a.attnotnull)
"""

UNIQUE = """
SELECT x.relname FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_class AS c ON c.oid = i.indrelid
WHERE c.relnamespace = 'tallystick'::regnamespace AND c.relname <> ALL (%(global)s)
  AND (i.indisunique OR i.indisexclusion) AND NOT EXISTS (SELECT FROM pg_attribute AS a
      WHERE a.attrelid = c.oid AND a.attname = 'town_id' AND a.attnum = ANY (i.indkey[0 : i.indnkeyatts - 1]))
"""

NO_PRIMARY_KEY = """
SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'tallystick'::regnamespace AND c.relkind IN ('r', 'p')
  AND c.relname <> ALL (%(global)s)
  AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
"""

# A town's row may point to a reference table. Between towns' tables the town must point to the town, in its place.
FOREIGN_KEY = """
SELECT k.conname FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_class AS f ON f.oid = k.confrelid
WHERE k.contype = 'f' AND c.relnamespace = 'tallystick'::regnamespace AND f.relname <> ALL (%(global)s) AND NOT EXISTS (
    SELECT FROM unnest(k.conkey, k.confkey) AS pair (here, there)
    JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = pair.here
    JOIN pg_attribute AS b ON b.attrelid = k.confrelid AND b.attnum = pair.there
    WHERE a.attname = 'town_id' AND b.attname = 'town_id')
"""

# A number from one place for all towns would make every shard ask it.
SEQUENCE = "SELECT relname FROM pg_class WHERE relnamespace = 'tallystick'::regnamespace AND relkind = 'S'"

RULES: dict[str, LiteralString] = {
    "a town in every table": TOWN_COLUMN,
    "a town in every unique index": UNIQUE,
    "a primary key in every table": NO_PRIMARY_KEY,
    "a town in every foreign key": FOREIGN_KEY,
    "no sequence": SEQUENCE,
}

PLANTED: list[tuple[str, LiteralString, str]] = [
    ("a town in every table", "CREATE TABLE tallystick.loose (id uuid PRIMARY KEY)", "loose"),
    ("a town in every table", "CREATE TABLE tallystick.typed (town_id text, id uuid)", "typed"),
    ("a primary key in every table", "CREATE TABLE tallystick.keyless (town_id uuid NOT NULL)", "keyless"),
    ("a town in every unique index", "CREATE UNIQUE INDEX numbers ON tallystick.orders (number)", "numbers"),
    (
        "a town in every unique index",
        "CREATE UNIQUE INDEX included ON tallystick.orders (number) INCLUDE (town_id)",
        "included",
    ),
    (
        "a town in every foreign key",
        (
            "ALTER TABLE tallystick.orders ADD CONSTRAINT crossed FOREIGN KEY (id, town_id)"
            " REFERENCES tallystick.warehouses (town_id, id)"
        ),
        "crossed",
    ),
    (
        "a town in every foreign key",
        (
            "ALTER TABLE tallystick.device_keys ADD CONSTRAINT upwards FOREIGN KEY (device_id, device_id)"
            " REFERENCES tallystick.devices (town_id, id)"
        ),
        "upwards",
    ),
    ("no sequence", "CREATE SEQUENCE tallystick.numbers", "numbers"),
]


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[Connection[Any]]:
    with database_from(postgres, migrated_template) as url, psycopg.connect(url) as opened:
        yield opened


def broken(connection: Connection[Any], rule: str) -> list[str]:
    """What breaks the rule."""
    found = connection.execute(RULES[rule], {"global": sorted(GLOBAL_TABLES)}).fetchall()
    return sorted(name for (name,) in found)


@pytest.mark.parametrize("rule", RULES)
def test_the_schema_keeps_the_rule(connection: Connection[Any], rule: str) -> None:
    assert broken(connection, rule) == []


@pytest.mark.parametrize(("rule", "statement", "name"), PLANTED)
def test_a_breach_of_the_rule_is_found(
    connection: Connection[Any], rule: str, statement: LiteralString, name: str
) -> None:
    connection.execute(statement)
    try:
        assert broken(connection, rule) == [name]
    finally:
        connection.rollback()


def test_the_tables_without_a_town_are_the_few_that_are_named(connection: Connection[Any]) -> None:
    keyed = connection.execute(
        "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid "
        "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] "
        "WHERE i.indisprimary AND c.relnamespace = 'tallystick'::regnamespace AND a.attname <> 'town_id'"
    ).fetchall()

    assert {name for (name,) in keyed} <= GLOBAL_TABLES


def test_triggers_are_only_those_that_forbid(connection: Connection[Any]) -> None:
    """Citus takes triggers on distributed tables with `citus.enable_unsafe_triggers` only: none may reach further."""
    found = connection.execute(
        "SELECT c.relname, t.tgname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid "
        "WHERE c.relnamespace = 'tallystick'::regnamespace AND NOT t.tgisinternal"
    ).fetchall()

    assert {table for table, name in found if name == "append_only"} == APPEND_ONLY_TABLES
    others = {table for table, name in found if name != "append_only"} - GLOBAL_TABLES
    assert others == {"journal_entries"}  # its trigger looks at rows of the same town in the same table, and no further
