"""Pending work on top of base rows, kept without deciding everything anew at every checkpoint.

Each pending line remembers which rows its decision has read and written. When base rows change or lines are answered,
only the pending lines connected with that are decided again: a line is connected when it touches a changed row, or a
row that a connected line has written, and so on. Law: the overlay kept this way equals the one computed from nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from client_sdk.application.ports import Identity
from sync.engine.decide import quarantine
from sync.engine.overlay import BaseRow, guess
from sync.kernel.changeset import ChangeSet, Decision, Fields, RowKey
from sync.kernel.draft import Context
from sync.kernel.module import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Touch:
    """Which rows the decision of the line at `seq` has read (from outside itself) and written."""

    seq: int
    reads: frozenset[RowKey]
    writes: frozenset[RowKey]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What is to be changed in the kept overlay: `cleared` leave it, then `rows` are put into it."""

    cleared: frozenset[RowKey]
    rows: Mapping[RowKey, Fields]
    touches: Sequence[Touch]


def decide_pending(
    change_set: ChangeSet, row: BaseRow, registry: Registry, identity: Identity
) -> tuple[Decision, Touch]:
    """The local guess on what `row` shows, and what it touched.

    No feed brings a device its own row: what it may do is judged by the role and the user that it was enrolled for, of
    which its certificate speaks. Neither ever changes, so this is no row that a decision depends on.

    A rule that raises makes a quarantined guess without effect, as on the server: a fault in a rule may neither lose a
    fact nor stop a checkpoint.
    """
    reads: set[RowKey] = set()

    def noted(entity: str, row_id: str) -> Fields | None:
        if (entity, row_id) == ("device", identity.device_id):
            return identity.device
        reads.add((entity, row_id))
        return row(entity, row_id)

    try:
        decision = guess(change_set, noted, {}, registry)
    except Exception as problem:  # noqa: BLE001  a rule may raise anything
        context = Context(decided_at=change_set.at[:24], is_truth=False, is_server=False)
        text = f"This could not be judged here ({type(problem).__name__}); the server will decide."
        decision = quarantine((change_set.device, change_set.seq), change_set, "engine.rule_failed", text, context)
    return decision, Touch(seq=change_set.seq, reads=frozenset(reads), writes=frozenset(decision.rows))


def rebuild(
    pending: Sequence[Touch],
    dirty: Iterable[RowKey],
    *,
    read: Callable[[int], ChangeSet | None],
    base: BaseRow,
    overlay: BaseRow,
    registry: Registry,
    identity: Identity,
) -> Rebuilt:
    """Decide again what is connected with the `dirty` rows: changed base rows, and what answered lines had written.

    `read` gives the pending change set at a place, None for one that this version cannot read. `overlay` shows the kept
    overlay alone.
    """
    changed = set(dirty)
    while True:
        cleared, connected = _connected(pending, changed)
        rows: dict[RowKey, Fields] = {}

        visible = _visible(rows, cleared, base, overlay)
        touches = []
        for touch in connected:
            change_set = read(touch.seq)
            if change_set is not None:
                decision, now = decide_pending(change_set, visible, registry, identity)
                rows.update(decision.rows)
                touches.append(now)
        # A new decision may reach rows that the old one did not: what is connected through those comes in as well.
        reached = _reached(pending, connected, touches)
        if reached <= changed:
            return Rebuilt(cleared=frozenset(cleared), rows=rows, touches=touches)
        changed |= reached


def _visible(rows: Mapping[RowKey, Fields], cleared: set[RowKey], base: BaseRow, overlay: BaseRow) -> BaseRow:
    """The kept overlay without what is cleared, under the new rows."""

    def visible(entity: str, row_id: str) -> Fields | None:
        key = (entity, row_id)
        if key in rows:
            return rows[key]
        kept = None if key in cleared else overlay(entity, row_id)
        return base(entity, row_id) if kept is None else kept

    return visible


def _connected(pending: Sequence[Touch], changed: set[RowKey]) -> tuple[set[RowKey], list[Touch]]:
    """The rows to clear and the lines to decide again, in order."""
    written = {key for touch in pending for key in touch.writes} | changed
    by_key: dict[RowKey, list[Touch]] = defaultdict(list)
    for touch in pending:
        for key in touch.reads | touch.writes:
            if key in written:
                by_key[key].append(touch)
    cleared, queue, connected = set(changed), list(changed), dict[int, Touch]()
    while queue:
        for touch in by_key.get(queue.pop(), ()):
            if touch.seq in connected:
                continue
            connected[touch.seq] = touch
            more = ((touch.reads | touch.writes) & written) - cleared
            cleared |= more
            queue.extend(more)
    return cleared, [connected[seq] for seq in sorted(connected)]


def _reached(pending: Sequence[Touch], connected: Sequence[Touch], touches: Sequence[Touch]) -> set[RowKey]:
    """Rows that connected lines newly share with the others, where one of both writes."""
    seqs = {touch.seq for touch in connected}
    others = [touch for touch in pending if touch.seq not in seqs]
    read_elsewhere = {key for touch in others for key in touch.reads}
    written_elsewhere = {key for touch in others for key in touch.writes}
    reached: set[RowKey] = set()
    for touch in touches:
        reached |= touch.writes & (read_elsewhere | written_elsewhere)
        reached |= touch.reads & written_elsewhere
    return reached
