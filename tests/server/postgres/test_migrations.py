"""Expand, then contract: every migration runs beside the release before, on its data, under its traffic.

What counts as breaking it is seen to be found, with planted revisions after the newest one.
"""

from __future__ import annotations

import importlib.util
import shutil
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from server.adapters.postgres import migrate as migrations
from server.adapters.postgres.migrate import migrate
from server.adapters.postgres.revision import newest_revision
from tests.support.old_release import OldRelease

PLANT = "9999"
REVISION = """
from alembic import op
revision = "{plant}"
down_revision = "{newest}"
def upgrade():
    op.get_bind().connection.cursor().execute({statement!r})
"""

EXPANDING = [
    "ALTER TABLE tallystick.orders ADD COLUMN channel TEXT",
    "ALTER TABLE tallystick.orders ADD COLUMN channel TEXT NOT NULL DEFAULT 'shop'",
    "CREATE TABLE tallystick.parking (town_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (town_id, id))",
    "CREATE INDEX parking ON tallystick.orders (town_id, number)",
]

CONTRACTING = [
    "ALTER TABLE tallystick.orders DROP COLUMN phone",
    "ALTER TABLE tallystick.orders RENAME COLUMN phone TO telephone",
    "ALTER TABLE tallystick.orders ADD COLUMN channel TEXT NOT NULL",
    "ALTER TABLE tallystick.orders ALTER COLUMN lines TYPE bigint USING 1",
    "ALTER TABLE tallystick.orders ADD CHECK (paid_minor > 1) NOT VALID",
    "ALTER TABLE tallystick.messages RENAME TO notes",
    "REVOKE INSERT ON tallystick.orders FROM tallystick_api",
    "DROP POLICY grant_town ON tallystick.orders",
]


def revisions() -> list[str]:
    """Every revision of the schema, oldest first."""
    return [
        script.revision for script in reversed(list(ScriptDirectory.from_config(migrations._config()).walk_revisions()))
    ]


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path, statement: str) -> str:
    """Have the migrations end in a revision with this statement; the revision before it."""
    found = importlib.util.find_spec("migrations")
    assert found is not None
    assert found.origin is not None
    newest = newest_revision()
    shutil.copytree(Path(found.origin).parent, folder / "migrations")
    text = REVISION.format(plant=PLANT, newest=newest, statement=statement.encode())
    (folder / "migrations/versions/9999_planted.py").write_text(text)
    config = Config()
    config.set_main_option("script_location", str(folder / "migrations"))
    monkeypatch.setattr(migrations, "_config", lambda: config)
    return newest


def test_the_newest_revision_is_where_the_migrations_end() -> None:
    assert newest_revision() == revisions()[-1]


@pytest.mark.parametrize(("before", "after"), list(pairwise(revisions())))
def test_the_release_before_works_on_while_and_after_the_schema_moves(
    fresh_database: str, before: str, after: str
) -> None:
    migrate(fresh_database, before)
    release = OldRelease(fresh_database)
    with release.at_work():
        assert migrate(fresh_database, after) == after
    release.check_everything_is_there()


@pytest.mark.parametrize("statement", EXPANDING)
def test_what_only_adds_is_let_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, migrated_database: str, statement: str
) -> None:
    plant(monkeypatch, tmp_path, statement)
    release = OldRelease(migrated_database)
    with release.at_work():
        assert migrate(migrated_database) == PLANT
    release.check_everything_is_there()


@pytest.mark.parametrize("statement", CONTRACTING)
def test_what_the_release_before_cannot_live_with_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, migrated_database: str, statement: str
) -> None:
    plant(monkeypatch, tmp_path, statement)
    with pytest.raises(psycopg.Error), OldRelease(migrated_database).at_work():
        migrate(migrated_database)


def test_a_migration_that_loses_a_row_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, migrated_database: str
) -> None:
    plant(monkeypatch, tmp_path, "DELETE FROM tallystick.orders")
    release = OldRelease(migrated_database)
    with release.at_work():
        migrate(migrated_database)

    with pytest.raises(AssertionError, match="orders"):
        release.check_everything_is_there()
