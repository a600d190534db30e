"""Watching a query: its rows now, and again whenever they have become others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from client_sdk.errors import ReplicaClosed

Rows = Sequence[dict[str, Any]]


class Changes:
    """Counts the moments after which rows may be others; who waits is woken at each, and at the end."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._count = 0
        self._is_over = False

    @property
    def count(self) -> int:
        """How many moments there were."""
        return self._count

    def happened(self) -> None:
        """Rows may be others now."""
        with self._moved:
            self._count += 1
            self._moved.notify_all()

    def end(self) -> None:
        """There will be no more."""
        with self._moved:
            self._is_over = True
            self._moved.notify_all()

    def await_more(self, seen: int) -> bool:
        """Wait until there were more than `seen`; False when there will be none."""
        with self._moved:
            self._moved.wait_for(lambda: self._count > seen or self._is_over)
            return not self._is_over


def watch(changes: Changes, query: Callable[[], Rows]) -> Iterator[Rows]:
    """The rows of `query` at once, and again whenever they are others; ends when the replica closes."""
    rows: Rows | None = None
    while True:
        seen = changes.count  # before the rows are read: a change while they are read is looked at afterwards
        try:
            found = query()
        except ReplicaClosed:
            return
        if found != rows:
            rows = found
            yield found
        if not changes.await_more(seen):
            return
