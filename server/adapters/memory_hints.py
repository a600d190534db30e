"""The `Hints` port inside one process, for tests and for a server without Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from server.application.live import FannedEar, Fanout
from server.application.live_ports import Hint
from server.application.ports import Unavailable


class MemoryHints:
    """Who publishes is heard at once; while it `is_away` nobody is."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Hint]] = []
        self._fanout = Fanout()
        self._is_away = False

    def publish(self, town_id: str, hint: Hint) -> None:
        """Tell of a commit."""
        self.published.append((town_id, hint))
        if not self._is_away:
            self._fanout.tell(town_id, hint)

    @contextmanager
    def listening(self, town_id: str, buckets: frozenset[str]) -> Iterator[FannedEar]:
        """Hear of these buckets until the block ends."""
        if self._is_away:
            raise Unavailable("there are no live hints just now; poll")
        with self._fanout.listening(town_id, buckets) as ear:
            yield ear

    def go_away(self) -> None:
        """As if Redis went down: whoever listens is told so."""
        self._is_away = True
        self._fanout.end_all()

    def come_back(self) -> None:
        """As if Redis came up again."""
        self._is_away = False
