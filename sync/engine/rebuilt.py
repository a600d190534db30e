"""Where a replay keeps the rows that it has rebuilt: by key while it folds, in order of their ids when it compares.

In memory for small towns and tests. A server that verifies large ones brings its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Protocol

from sync.engine.feed import Stored
from sync.kernel.changeset import Fields, RowKey


class RebuiltRows(Protocol):
    """Everything is known here: a row that was never written is not there."""

    def __getitem__(self, key: RowKey, /) -> Stored | None:
        """The row, None when there is none."""
        ...

    def get(self, key: RowKey, /) -> Stored | None:
        """The same."""
        ...

    def put(self, key: RowKey, stored: Stored, /) -> None:
        """The row as it stands now."""
        ...

    def ordered(self, entity: str, /) -> Iterator[tuple[str, Stored]]:
        """All rows of an entity with their ids, by id; no row may be written meanwhile."""
        ...


class InMemory(dict[RowKey, Stored | None]):
    """The `RebuiltRows` of a town that has room in memory."""

    def __missing__(self, key: RowKey) -> Stored | None:
        """No such row."""
        return None

    def put(self, key: RowKey, stored: Stored, /) -> None:
        """The row as it stands now."""
        self[key] = stored

    def ordered(self, entity: str, /) -> Iterator[tuple[str, Stored]]:
        """All rows of an entity, by id."""
        of_entity = [(row_id, stored) for (name, row_id), stored in self.items() if stored and name == entity]
        return iter(sorted(of_entity, key=itemgetter(0)))


class RowsOf(Mapping[str, Fields]):
    """The fields of an entity's rows by id, in order, read as they are asked for."""

    def __init__(self, rows: RebuiltRows, entity: str) -> None:
        self._rows = rows
        self._entity = entity

    def __getitem__(self, row_id: str) -> Fields:
        """One row's."""
        stored = self._rows[self._entity, row_id]
        if stored is None:
            raise KeyError(row_id)
        return stored.fields

    def __iter__(self) -> Iterator[str]:
        """The ids."""
        return (row_id for row_id, _ in self._rows.ordered(self._entity))

    def __len__(self) -> int:
        """How many there are."""
        return sum(1 for _ in self)

    def items(self) -> Iterator[tuple[str, Fields]]:  # type: ignore[override]  # read once, in order
        """Ids and fields."""
        return ((row_id, stored.fields) for row_id, stored in self._rows.ordered(self._entity))

    def values(self) -> Iterator[Fields]:  # type: ignore[override]  # as above
        """Fields."""
        return (stored.fields for _, stored in self._rows.ordered(self._entity))
