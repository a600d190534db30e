"""What a rule may read: `get` by entity and id.

A rule never searches: relations are walked by id, and natural keys are derived ids. On the server a read that is not
loaded raises `NeedRows`, which is answered in bulk before the fold is run again; on a device a row outside its
buckets is `UNSEEN`, and a rule cannot object to what it cannot see.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, Protocol

from sync.kernel.changeset import Fields, RowKey


class _Unseen(Enum):
    UNSEEN = "unseen"


UNSEEN: Final = _Unseen.UNSEEN
Unseen = Literal[_Unseen.UNSEEN]


class View(Protocol):
    """Rows as they stand before a change set."""

    def get(self, entity: str, row_id: str) -> Fields | Unseen | None:
        """The row, None when there is none, or `UNSEEN`; raise `NeedRows` when it must be loaded first."""
        ...


class NeedRows(Exception):
    """The fold asks for rows that are not loaded yet; load them and fold again."""

    def __init__(self, keys: frozenset[RowKey]) -> None:
        super().__init__(f"{len(keys)} rows to load")
        self.keys = keys
