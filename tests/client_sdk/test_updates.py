"""A replica that an app has left is opened by the next version of the app."""

from __future__ import annotations

from pathlib import Path

import pytest

from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.errors import NotAQuery
from client_sdk.replica import Replica
from sync.kernel.module import Entity, FieldKind
from tests.support.desk import PASSPHRASE, enrolled, opened, town_with_jobs
from tests.support.toy import FinishJob, ToyTown, job_id, toy_registry


@pytest.fixture
def town() -> ToyTown:
    return town_with_jobs()


def test_an_update_of_the_app_shows_rows_that_were_kept_unseen(tmp_path: Path, town: ToyTown) -> None:
    path = tmp_path / "toy.db"
    enrolled(path, town).close()
    with opened(path) as replica, pytest.raises(NotAQuery):
        replica.query("SELECT * FROM novelties")
    novelty = Entity(name="novelty", plural="novelties", fields={"colour": FieldKind.TEXT})
    with opened(path) as replica:
        store = replica._store
        assert isinstance(store, SqliteStore)
        store._writer.execute("INSERT INTO base_row VALUES ('novelty', 'x', 1, 5, 0, '{\"colour\":\"red\"}')")
    updated = Replica.open(path, passphrase=PASSPHRASE, registry=toy_registry(novelty))
    with updated as replica:
        assert replica.query("SELECT * FROM novelties") == [{"id": "x", "version": 5, "colour": "red"}]
        assert len(replica.query("SELECT * FROM jobs")) == 3


def test_an_update_of_the_app_judges_pending_work_anew(tmp_path: Path, town: ToyTown) -> None:
    path = tmp_path / "toy.db"
    with enrolled(path, town) as replica:
        replica.record(FinishJob(job=job_id(0)))
        store = replica._store
        assert isinstance(store, SqliteStore)
        judged_otherwise = "UPDATE overlay_row SET body = json_set(body, '$.is_done', json('false'))"
        store._writer.execute(judged_otherwise)
    with opened(path) as replica:
        assert len(replica.verify()) == 1

    novelty = Entity(name="novelty", plural="novelties", fields={"colour": FieldKind.TEXT})
    with Replica.open(path, passphrase=PASSPHRASE, registry=toy_registry(novelty)) as replica:
        assert replica.query("SELECT is_done FROM jobs WHERE id = ?", [job_id(0)]) == [{"is_done": 1}]
        assert replica.verify() == ()
