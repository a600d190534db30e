"""The overlay: base rows as the server last said, plus the pending change sets, is what the user sees.

Server rows replace base rows and never pending work: the pending change sets are decided again on top, by the same
rules. Law: the overlay kept step by step equals the overlay computed from nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sync.engine.decide import decide
from sync.kernel.changeset import ChangeSet, Decision, Fields, RowKey
from sync.kernel.draft import Context
from sync.kernel.module import Registry
from sync.kernel.view import UNSEEN, Unseen

BaseRow = Callable[[str, str], Fields | None]
"""Reads one base row of the replica; None when the replica does not hold it."""


class OverlayView:
    """Base rows with the overlay on top; what neither holds is unseen."""

    def __init__(self, base: BaseRow, overlay: Mapping[RowKey, Fields]) -> None:
        self._base = base
        self._overlay = overlay

    def get(self, entity: str, row_id: str) -> Fields | Unseen:
        """The row as the user sees it, or `UNSEEN`."""
        row = self._overlay.get((entity, row_id))
        if row is None:
            row = self._base(entity, row_id)
        return UNSEEN if row is None else row


def guess(change_set: ChangeSet, base: BaseRow, overlay: Mapping[RowKey, Fields], registry: Registry) -> Decision:
    """What the server will probably decide, as far as this replica can tell."""
    context = Context(decided_at=change_set.at[:24], is_truth=False, is_server=False)
    return decide(change_set, OverlayView(base, overlay), context, registry)


def rebuild(pending: Iterable[ChangeSet], base: BaseRow, registry: Registry) -> dict[RowKey, Fields]:
    """The whole overlay from nothing: every pending change set decided in order on the base."""
    overlay: dict[RowKey, Fields] = {}
    for change_set in pending:
        overlay.update(guess(change_set, base, overlay, registry).rows)
    return overlay
