"""Stores of every kind for the conformance suite, and all that they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client_sdk.adapters.memory import MemoryStore
from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.application.ports import Store
from client_sdk.application.record import Recorded, record
from sync.kernel.changeset import Operation
from tests.support.fake_system import FakeSystem
from tests.support.toy import CLERK_ID, REGISTRY

KEY = bytes(range(32))


def new_store(kind: str, folder: Path) -> Store:
    if kind == "memory":
        return MemoryStore(REGISTRY, FakeSystem())
    return SqliteStore(folder / "toy.db", KEY, REGISTRY, FakeSystem(), may_create=True)


def note(store: Store, *operations: Operation) -> Recorded:
    return record(store, FakeSystem(seed=store.exchange_state().head_seq), REGISTRY, CLERK_ID, operations)


def jobs(store: Store) -> list[dict[str, Any]]:
    return list(store.query("SELECT id, version, name, zone, is_done, paid_minor FROM jobs ORDER BY name, id", ()))


def everything(store: Store) -> Any:
    """All that a store shows, to be compared with another time or another store."""
    contents = store.contents()
    marks = sorted((mark.bucket, mark.entity, mark.row_id, mark.version) for mark in contents.marks)
    rows = {mark[1:3]: store.row(*mark[1:3]) for mark in marks}
    return contents.head, contents.entries, marks, rows, contents.sums, contents.overlay, store.standing(), jobs(store)
