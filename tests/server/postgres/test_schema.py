"""The schema keeps towns apart, keeps what is written once, and is what the tables and entities say it is.

The check query is seen to fire on each fault that it looks for; the roles are tried out as real logins.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg import Connection, errors, sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine, pool

from server.adapters import postgres
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.migrate import migrate
from server.adapters.postgres.statements import COLUMN_TYPES
from server.adapters.postgres.tables import SCHEMA, metadata
from server.adapters.postgres.tables.evidence import APPEND_ONLY_TABLES, GLOBAL_TABLES
from server.embedded import EmbeddedPostgres
from sync.kernel.module import Entity
from sync.modules import registry
from tests.support.stack import database_from

CHECK = (Path(postgres.__file__).parent / "check.sql").read_bytes()
TOWN, OTHER_TOWN = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
API_PASSWORD = "a password for the tests of one cluster"
EVERYTHING = "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA tallystick TO tallystick_api"

PLANTED: list[tuple[LiteralString, str, str]] = [
    ("CREATE TABLE loose (town_id uuid PRIMARY KEY)", "not forced", "loose"),
    ("ALTER TABLE orders NO FORCE ROW LEVEL SECURITY", "not forced", "orders"),
    ("ALTER TABLE feed DISABLE ROW LEVEL SECURITY", "not forced", "feed"),
    ("DROP POLICY fence_town ON journal", "policies", "journal"),
    ("CREATE POLICY wide ON users AS PERMISSIVE FOR SELECT USING (true)", "policies", "users"),
    ("ALTER POLICY grant_town ON pins USING (true)", "policies", "pins"),
    ("ALTER ROLE tallystick_api BYPASSRLS", "bypass", "tallystick_api"),
    ("ALTER ROLE tallystick_owner SUPERUSER", "bypass", "tallystick_owner"),
    ("GRANT tallystick_owner TO tallystick_api", "may become", "tallystick_owner"),
    ("ALTER ROLE tallystick_owner LOGIN", "owner may log in", "tallystick_owner"),
    ("ALTER TABLE orders OWNER TO tallystick_api", "owned by the api", "orders"),
    ("ALTER TABLE orders OWNER TO postgres", "owned by another", "orders"),
    ("CREATE VIEW seen AS SELECT * FROM orders", "view runs as owner", "seen"),
    ("CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one", "view runs as owner", "kept"),
    ("CREATE FUNCTION lift() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'", "security definer", "lift"),
    (
        "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$",
        "may make temporary tables",
        "tallystick_api",
    ),
    ("ALTER TABLE enrolments DISABLE TRIGGER one_key", "key of a code may change", "enrolments"),
    ("DROP TRIGGER one_key ON enrolments", "key of a code may change", "enrolments"),
    (
        "ALTER TABLE orders ADD CONSTRAINT stray FOREIGN KEY (id) REFERENCES device_keys (device_id)",
        "foreign key without town_id",
        "stray",
    ),
    ("CREATE UNIQUE INDEX numbers ON orders (number)", "unique without town_id", "numbers"),
]


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """One for all tests of this module: two towns, to which no test adds anything that stays."""
    with database_from(postgres, migrated_template) as url:
        add_two_towns(url)
        yield url


@pytest.fixture
def owner(database: str) -> Iterator[Connection[Any]]:
    """A superuser's connection that never commits."""
    with psycopg.connect(database) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def api(database: str) -> Iterator[Connection[Any]]:
    """A login of the application's own role, as in a production database."""
    with psycopg.connect(database, autocommit=True) as connection:
        password = sql.Literal(API_PASSWORD)
        connection.execute(sql.SQL("ALTER ROLE tallystick_api PASSWORD {}").format(password))
    url = make_conninfo(database, user="tallystick_api", password=API_PASSWORD)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def faults(connection: Connection[Any]) -> list[tuple[str, str]]:
    """What the check finds."""
    return list(connection.execute(CHECK, {"global_tables": sorted(GLOBAL_TABLES)}).fetchall())


def add_two_towns(url: str) -> None:
    """The heads of two towns, one statement each, as the application would make them."""
    with psycopg.connect(url) as connection:
        for town in (TOWN, OTHER_TOWN):
            connection.execute("SELECT set_config('app.town_ids', %s, true)", ["{" + town + "}"])
            values = [town, str(uuid.UUID(int=9)), bytes(32)]
            connection.execute("INSERT INTO tallystick.town_heads VALUES (%s, %s, 0, %s)", values)


def towns_seen(connection: Connection[Any]) -> list[str]:
    """The towns whose heads this connection sees now."""
    found = connection.execute("SELECT town_id::text FROM town_heads ORDER BY town_id").fetchall()
    return [row[0] for row in found]


def test_nothing_breaks_the_pattern_that_keeps_towns_apart(owner: Connection[Any]) -> None:
    assert faults(owner) == []


@pytest.mark.parametrize(("fault", "kind", "place"), PLANTED)
def test_the_check_finds_a_planted_fault(owner: Connection[Any], fault: LiteralString, kind: str, place: str) -> None:
    owner.execute("SET search_path = tallystick")
    if "stray" in fault:
        owner.execute("CREATE UNIQUE INDEX device_keys_device ON device_keys (device_id)")
    owner.execute(fault)
    found = faults(owner)
    assert (kind, place) in found
    assert {where for _, where in found} == {place}


def test_every_table_is_a_towns_or_one_of_the_few_that_are_not(owner: Connection[Any]) -> None:
    with_town = "SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary "
    with_town += "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] AND a.attname = 'town_id' "
    with_town += "WHERE c.relnamespace = 'tallystick'::regnamespace"
    led_by_town = {row[0] for row in owner.execute(with_town.encode())}
    names = {table.name for table in metadata.tables.values()}
    assert names - led_by_town == GLOBAL_TABLES - {"town_names"}


def test_the_tables_are_the_schema_that_the_migrations_make(database: str) -> None:
    engine = create_engine("postgresql+psycopg://" + database.split("://")[1], poolclass=pool.NullPool)
    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
        "compare_type": True,
        "compare_server_default": True,
    }
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


@pytest.mark.parametrize("entity", registry().entities.values(), ids=lambda entity: entity.name)
def test_an_entity_has_a_table_of_its_plural_with_its_fields_and_kinds(owner: Connection[Any], entity: Entity) -> None:
    found = owner.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        [f'{SCHEMA}."{entity.plural}"'],
    ).fetchall()
    aliases = {"timestamp with time zone": "timestamptz"}
    columns = {name: aliases.get(kind, kind) for name, kind in found}
    expected = {name: COLUMN_TYPES[kind] for name, kind in entity.fields.items()}
    assert columns == {"town_id": "uuid", "id": "uuid", "version": "bigint", **expected}


def test_what_an_entity_declares_append_only_the_tables_do_too() -> None:
    declared = {entity.plural for entity in registry().entities.values() if entity.is_append_only}
    machinery = {"change_sets", "journal", "messages", "fork_lines", "epochs", "halts", "resumptions"}
    assert declared | machinery == APPEND_ONLY_TABLES


@pytest.mark.parametrize("table", sorted(APPEND_ONLY_TABLES))
@pytest.mark.parametrize(
    "statement",
    ["UPDATE {} SET town_id = town_id", "DELETE FROM {}", "TRUNCATE {}"],
    ids=["update", "delete", "truncate"],
)
@pytest.mark.parametrize("role", ["postgres", "tallystick_owner", "tallystick_api"])
def test_what_is_written_once_is_not_changed_by_anybody(
    owner: Connection[Any], table: str, statement: LiteralString, role: str
) -> None:
    owner.execute(EVERYTHING)
    owner.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    with pytest.raises(errors.RaiseException, match="append-only"):
        owner.execute(sql.SQL(statement).format(sql.Identifier(SCHEMA, table)))


@pytest.mark.parametrize("table", sorted(APPEND_ONLY_TABLES))
def test_the_api_is_not_even_granted_to_change_what_is_written_once(api: Connection[Any], table: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        api.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(SCHEMA, table)))


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY fence_town ON orders",
        "ALTER TABLE journal DISABLE TRIGGER append_only",
        "SET ROLE tallystick_owner",
        "SET SESSION AUTHORIZATION postgres",
        "SET session_replication_role = replica",
        "CREATE TABLE tallystick.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE orders ()",
        "CREATE TABLE pg_temp.orders ()",
        "CREATE OR REPLACE FUNCTION tallystick.current_towns() RETURNS uuid[] LANGUAGE sql AS 'SELECT NULL::uuid[]'",
        "SELECT pg_read_file('PG_VERSION')",
    ],
)
def test_the_api_cannot_lift_what_binds_it(api: Connection[Any], statement: LiteralString) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        api.execute(statement)


def test_turning_row_security_off_gives_the_api_an_error_and_no_rows(api: Connection[Any]) -> None:
    api.execute("SET row_security = off")
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        towns_seen(api)


def test_a_transaction_sees_the_towns_it_names_and_afterwards_none(api: Connection[Any]) -> None:
    assert towns_seen(api) == []
    for town in (TOWN, OTHER_TOWN):
        with api.transaction():
            api.execute("SELECT set_config('app.town_ids', %s, true)", ["{" + town + "}"])
            assert towns_seen(api) == [town]
        assert api.execute("SELECT current_setting('app.town_ids', true)").fetchone() == ("",)
        assert towns_seen(api) == []


def test_the_owner_of_the_tables_sees_no_more_than_the_api(owner: Connection[Any]) -> None:
    owner.execute("SET ROLE tallystick_owner")
    owner.execute("SET search_path = pg_catalog, tallystick")
    assert towns_seen(owner) == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO warehouses (town_id, id, version, name) VALUES (%s, gen_random_uuid(), 1, 'w')",
        "UPDATE town_heads SET town_id = %s",
    ],
)
def test_a_row_cannot_be_put_into_another_town(api: Connection[Any], statement: LiteralString) -> None:
    api.execute("SELECT set_config('app.town_ids', %s, false)", ["{" + TOWN + "}"])
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        api.execute(statement, [OTHER_TOWN])


def test_migrating_takes_temporary_tables_from_everybody(fresh_database: str) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(name))
        migrate(fresh_database)
        connection.execute("SET ROLE tallystick_api")
        with pytest.raises(errors.InsufficientPrivilege, match="temporary"):
            connection.execute("CREATE TEMPORARY TABLE orders ()")


async def test_a_temporary_table_never_comes_before_a_real_one(
    migrated_database: str, api: Connection[Any], owner: Connection[Any]
) -> None:
    async with make_pool(migrated_database) as pool, pool.connection() as connection:
        cursor = await connection.execute("SHOW search_path")
        assert await cursor.fetchone() == ("pg_catalog, tallystick, pg_temp",)
    assert api.execute("SHOW search_path").fetchone() == ("pg_catalog, tallystick, pg_temp",)
    settings = (
        "SELECT s.setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole AND s.setdatabase = 0 "
    )
    settings += "WHERE r.rolname = 'tallystick_owner'"
    assert owner.execute(settings.encode()).fetchone() == (["search_path=pg_catalog, tallystick, pg_temp"],)


CODE = {"code": bytes(32), "town": TOWN, "first": "A" * 43, "second": "B" * 43}


@pytest.mark.parametrize("role", ["postgres", "tallystick_owner", "tallystick_api"])
@pytest.mark.parametrize("change", ["%(second)s", "NULL"])
def test_a_code_is_used_up_by_one_key_for_ever(owner: Connection[Any], role: str, change: LiteralString) -> None:
    owner.execute("SET search_path = pg_catalog, tallystick, pg_temp")
    owner.execute(
        "INSERT INTO enrolments (code_hash, town_id, role, expires_at) VALUES (%(code)s, %(town)s, 'driver', now())",
        CODE,
    )
    owner.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    for _ in range(2):  # the same key may come again
        owner.execute("UPDATE enrolments SET public_key = %(first)s WHERE code_hash = %(code)s", CODE)

    with pytest.raises(errors.RaiseException, match="used by another key"):
        owner.execute("UPDATE enrolments SET public_key = " + change + " WHERE code_hash = %(code)s", CODE)


def test_nothing_else_of_a_code_can_be_changed_by_the_api(api: Connection[Any]) -> None:
    for column in ("town_id", "role", "user_id", "warehouse_id", "expires_at", "code_hash"):
        with pytest.raises(errors.InsufficientPrivilege):
            api.execute(sql.SQL("UPDATE enrolments SET {0} = {0}").format(sql.Identifier(column)))
