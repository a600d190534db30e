"""Tables of the replica, the views that apps query, and how an older file is brought up to date.

One table holds the base rows of every entity, so a row of an entity that this version does not know is kept, counted
in its bucket's checksum, and visible as soon as an update of the app brings its view. `PRAGMA user_version` is the
version of the tables; the views follow the registered modules and are made anew when those change.
"""

from __future__ import annotations

import hashlib

import apsw

from client_sdk.adapters.sqlite import downloads
from client_sdk.adapters.sqlite.connection import writing
from client_sdk.errors import NotAReplica, ReplicaTooNew
from sync.kernel.module import Entity, Registry
from sync.protocol.version import SCHEMA

SCHEMA_VERSION = 1
APPLICATION_ID = 0x54414C59  # "TALY"

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # A bucket's checksum is kept as hexadecimal text: it does not fit into SQLite's signed integers.
    """CREATE TABLE bucket (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, cursor INTEGER NOT NULL, rows INTEGER NOT NULL,
        total TEXT NOT NULL)""",
    # `is_covered` says that there is an overlay row, so that a query need not look for one beside every base row.
    """CREATE TABLE base_row (
        entity TEXT NOT NULL, id TEXT NOT NULL, bucket INTEGER NOT NULL, version INTEGER NOT NULL,
        is_covered INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL, PRIMARY KEY (entity, id)) WITHOUT ROWID""",
    """CREATE TABLE overlay_row (
        entity TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (entity, id)) WITHOUT ROWID""",
    """CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY, line BLOB NOT NULL, digest BLOB NOT NULL, signature TEXT NOT NULL, at TEXT NOT NULL,
        status TEXT NOT NULL, guess TEXT NOT NULL, reads TEXT NOT NULL, writes TEXT NOT NULL, verdict TEXT,
        version INTEGER, answered_at TEXT, earlier TEXT NOT NULL DEFAULT '[]')""",
    "CREATE INDEX outbox_pending ON outbox (seq) WHERE status = 'pending'",
    "CREATE TABLE spool (seq INTEGER PRIMARY KEY, line BLOB NOT NULL)",
    "CREATE TABLE dismissed (key TEXT PRIMARY KEY) WITHOUT ROWID",
    downloads.TABLE,
)


def prepare(connection: apsw.Connection, registry: Registry, *, may_create: bool) -> None:
    """Make or update tables and views. Raises `ReplicaTooNew` and `NotAReplica`; then nothing has changed."""
    version = _version(connection, may_create=may_create)
    views = _views(registry)
    told = hashlib.sha256("\n".join(views).encode()).hexdigest()
    if version == SCHEMA_VERSION:
        connection.execute(downloads.TABLE)
        if _views_told(connection) == told:
            return
    with writing(connection):
        if _version(connection, may_create=may_create) == 0:
            for table in _TABLES:
                connection.execute(table)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
            connection.execute(f'DROP VIEW "{name}"')
        for view in views:
            connection.execute(view)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('views', ?)", (told,))


def rules_told(registry: Registry) -> str:
    """What names the rules of this version as far as it is known here: its entities and its wire."""
    return hashlib.sha256("\n".join([*_views(registry), str(SCHEMA)]).encode()).hexdigest()


def _version(connection: apsw.Connection, *, may_create: bool) -> int:
    version = int(connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise ReplicaTooNew
    is_ours = connection.pragma("application_id") == APPLICATION_ID
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").get == 0
    if not is_ours and not (is_empty and may_create):
        raise NotAReplica
    return version


def _views_told(connection: apsw.Connection) -> str | None:
    told: str | None = connection.execute("SELECT value FROM meta WHERE key = 'views'").get
    return told


def _views(registry: Registry) -> list[str]:
    return [_view(entity) for entity in registry.entities.values()]


def _view(entity: Entity) -> str:
    """Pending rows over base rows; a row that only pending work has made has no version yet."""
    fields = "".join(f", body ->> '$.{name}' AS \"{name}\"" for name in entity.fields)
    return f"""CREATE VIEW "{entity.plural}" AS
        SELECT id, version{fields} FROM base_row WHERE entity = '{entity.name}' AND NOT is_covered
        UNION ALL
        SELECT id, (SELECT version FROM base_row
            WHERE base_row.entity = '{entity.name}' AND base_row.id = overlay_row.id){fields}
        FROM overlay_row WHERE entity = '{entity.name}'"""
