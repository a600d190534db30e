"""The towns that this process decides for: what waits for each, and the rows it keeps of each until the next batch.

Kept rows save reading them again and nothing else. They have one bound for all towns together: the town that was
written to longest ago gives way first, and one that is being decided is left alone, since its step reads them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.application.batch import Waiting
from sync.engine.feed import Stored
from sync.engine.town import TownHead
from sync.kernel.changeset import RowKey

KEPT_ROWS_MAX = 20_000
"""Rows of all towns that are kept between batches, about 1 KB each; two items of a list in a row count as a row."""


@dataclass(kw_only=True, slots=True)
class Lane:
    """One town's queue and its rows as of `head`; `size` is what `KEPT_ROWS_MAX` counts."""

    town_id: str
    queue: deque[Waiting] = field(default_factory=deque)
    is_running: bool = False
    head: TownHead | None = None
    rows: dict[RowKey, Stored | None] = field(default_factory=dict)
    size: int = 0
    counted: int = 0
    """What of `size` is in the sum over all lanes."""

    def keep(self, rows: Mapping[RowKey, Stored | None]) -> None:
        """Remember these rows as they stand; None says that there is none."""
        for key, stored in rows.items():
            self.drop(key)
            self.rows[key] = stored
            self.size += _size(stored)

    def drop(self, key: RowKey) -> None:
        """Remember nothing of this row."""
        if key in self.rows:
            self.size -= _size(self.rows.pop(key))

    def forget(self) -> None:
        """Remember no row."""
        self.rows.clear()
        self.size = 0


class Lanes:
    """The lanes of all towns that were written to of late."""

    def __init__(self, *, kept_rows_max: int = KEPT_ROWS_MAX) -> None:
        self._kept_rows_max = kept_rows_max
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self._size = 0

    def of(self, town_id: str) -> Lane:
        """The town's lane, which is now the last to give way."""
        lane = self._lanes.setdefault(town_id, Lane(town_id=town_id))
        self._lanes.move_to_end(town_id)
        return lane

    def make_room(self, lane: Lane) -> None:
        """Keep the bound after a batch of `lane`: at the cost of towns that stand still, else at its own."""
        self._count(lane)
        while self._size > self._kept_rows_max and (idle := self._idle()):
            del self._lanes[idle.town_id]
            self._size -= idle.counted
        if self._size > self._kept_rows_max:
            lane.forget()
            self._count(lane)

    def _count(self, lane: Lane) -> None:
        self._size += lane.size - lane.counted
        lane.counted = lane.size

    def _idle(self) -> Lane | None:
        return next((lane for lane in self._lanes.values() if not lane.is_running), None)


def _size(stored: Stored | None) -> int:
    if stored is None:
        return 1
    return 1 + sum(len(value) for value in stored.fields.values() if type(value) is list) // 2
