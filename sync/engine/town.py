"""A town as a serial state machine: one step folds a batch of change sets and takes one town version.

The server runs a step under the town's lock over rows it has loaded; `tallystick verify` runs the same steps over
memory, from the first line of the journal; both must come to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from sync.engine.chain import encode_bytes, journal_hash, verdict_hash
from sync.engine.decide import decide, quarantine
from sync.engine.feed import BucketSum, FeedRow, Stored, feed_rows, sum_changes
from sync.kernel.changeset import ChangeSet, Decision, Effect, Fields, RowKey, Verdict
from sync.kernel.draft import Context
from sync.kernel.errors import Malformed
from sync.kernel.module import Registry
from sync.kernel.view import NeedRows

ROWS_WITHOUT_REST = 100
"""Changed rows that are written out before `folding` rests."""

LoadedRows = Mapping[RowKey, Stored | None]
"""Rows by key; None says that there is no such row, a missing key that it was not looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TownHead:
    """Where a town stands: its epoch, its version, and the hash of the journal entry of that version."""

    town: str
    epoch: str
    version: int
    journal: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """One authentic line to be decided: its place, its bytes and hash, and what it says or why it cannot be read."""

    device: str
    seq: int
    line: bytes
    digest: bytes
    change_set: ChangeSet | Malformed
    is_server: bool = False
    failure: str | None = None
    """Set when earlier attempts made a rule raise: the line is quarantined without another try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A decided line: its verdict and the bytes and hash under which the journal keeps it."""

    submitted: Submitted
    verdict: Verdict
    verdict_line: bytes
    verdict_digest: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedRow:
    """A row before and after a step."""

    entity: str
    row_id: str
    before: Stored | None
    after: Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Everything one version changes; a store writes it in one transaction."""

    head: TownHead
    at: str
    body: bytes
    answered: tuple[Answered, ...]
    rows: tuple[ChangedRow, ...]
    feed: tuple[FeedRow, ...]
    sums: Mapping[str, BucketSum]
    effects: tuple[Effect, ...]


class _BatchView:
    """The loaded rows with what the batch has changed so far on top."""

    def __init__(self, loaded: LoadedRows) -> None:
        self._loaded = loaded
        self.changed: dict[RowKey, Fields] = {}
        self.missing: set[RowKey] = set()

    def get(self, entity: str, row_id: str) -> Fields | None:
        key = (entity, row_id)
        if key in self.changed:
            return self.changed[key]
        try:
            stored = self._loaded[key]
        except KeyError:
            self.missing.add(key)
            raise NeedRows(frozenset([key])) from None
        return stored.fields if stored else None


def first_keys(batch: Sequence[Submitted], registry: Registry) -> frozenset[RowKey]:
    """The rows to load before the first fold: the town, who acts and where, what the operations point to or read."""
    keys: set[RowKey] = set()
    for submitted in batch:
        if isinstance(submitted.change_set, Malformed):
            continue
        keys.add(("town", submitted.change_set.town))
        if submitted.change_set.actor != submitted.device:
            keys.add(("user", submitted.change_set.actor))
        if not submitted.is_server:
            keys.add(("device", submitted.device))
        for operation in submitted.change_set.ops:
            if operation.creates:
                keys.add((operation.creates, operation.id))
            for field, entity in registry.references[operation.op]:
                value = getattr(operation, field)
                if value is not None:
                    keys.add((entity, value))
            keys.update(operation.reads())
    return frozenset(keys)


def step(head: TownHead, batch: Sequence[Submitted], loaded: LoadedRows, registry: Registry, at: str) -> Step:
    """Decide `batch` in order at server time `at` and give the next version of the town.

    Raises `NeedRows` with everything the batch is known to read beyond `loaded`. An exception that a rule raises
    comes out as `RuleFailed`, naming the line. The town's `version` grows by exactly one.
    """
    work = folding(head, batch, loaded, registry, at)
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: Step = end.value
            return made


def folding(
    head: TownHead, batch: Sequence[Submitted], loaded: LoadedRows, registry: Registry, at: str
) -> Generator[None, None, Step]:
    """As `step`, resting after each line and now and then among the rows, so that others may work meanwhile.

    `loaded` must not change while it rests. Thrown away half way, it has done nothing.
    """
    view = _BatchView(loaded)
    answered: list[Answered] = []
    effects: list[Effect] = []
    version = head.version + 1
    for submitted in batch:
        decision = _decide_one(submitted, view, registry, at)
        if decision is not None:
            view.changed.update(decision.rows)
            effects.extend(decision.effects)
            answered.append(_answer(submitted, decision.verdict, version))
        yield
    if view.missing:
        raise NeedRows(frozenset(view.missing))
    rows = _changed_rows(view.changed, loaded)
    body = _journal_body(head, version, at, answered)
    sums: dict[str, BucketSum] = {}
    feed: list[FeedRow] = []
    for place, row in enumerate(rows):
        entity = registry.entities[row.entity]
        feed.extend(feed_rows(entity, row.row_id, row.before, row.after, version))
        for bucket, difference in sum_changes(entity, row.row_id, row.before, row.after, version):
            sums[bucket] = sums.get(bucket, BucketSum()) + difference
        if place % ROWS_WITHOUT_REST == 0:
            yield
    return Step(
        head=TownHead(town=head.town, epoch=head.epoch, version=version, journal=journal_hash(body)),
        at=at,
        body=body,
        answered=tuple(answered),
        rows=rows,
        feed=tuple(feed),
        sums=sums,
        effects=tuple(effects),
    )


def step_loading(
    head: TownHead,
    batch: Sequence[Submitted],
    load: Callable[[frozenset[RowKey]], Mapping[RowKey, Stored | None]],
    registry: Registry,
    at: str,
) -> Step:
    """Run `step`, loading what it asks for until it has everything; for stores that answer at once."""
    loaded = dict(load(first_keys(batch, registry)))
    while True:
        try:
            return step(head, batch, loaded, registry, at)
        except NeedRows as need:
            loaded.update(load(need.keys))


class RuleFailed(Exception):
    """A rule raised something that is no verdict; the line is tried again alone and then quarantined."""

    def __init__(self, submitted: Submitted) -> None:
        super().__init__(f"deciding change set {submitted.seq} of device {submitted.device} failed")
        self.submitted = submitted


def _decide_one(submitted: Submitted, view: _BatchView, registry: Registry, at: str) -> Decision | None:
    """The decision about one line, or None when rows are missing and the whole batch will be folded again."""
    context = Context(decided_at=at, is_truth=True, is_server=submitted.is_server)
    change_set, place = submitted.change_set, (submitted.device, submitted.seq)
    if isinstance(change_set, Malformed):
        return quarantine(place, None, change_set.code, change_set.message, context)
    if submitted.failure:
        return quarantine(place, change_set, "engine.rule_failed", submitted.failure, context)
    try:
        return decide(change_set, view, context, registry)
    except NeedRows:
        return None
    except Exception as error:
        if view.missing:  # decided on rows that will change once the missing ones are here: not a finding yet
            return None
        raise RuleFailed(submitted) from error


def _answer(submitted: Submitted, verdict: Verdict, version: int) -> Answered:
    said = {
        "t": "verdict",
        "seq": submitted.seq,
        "hash": encode_bytes(submitted.digest),
        **verdict.as_dict(),
        "version": version,
    }
    line = orjson.dumps(said)
    return Answered(submitted=submitted, verdict=verdict, verdict_line=line, verdict_digest=verdict_hash(line))


def _changed_rows(changed: Mapping[RowKey, Fields], loaded: LoadedRows) -> tuple[ChangedRow, ...]:
    """Rows that differ from what stood before, in a fixed order."""
    rows = []
    for (entity, row_id), after in sorted(changed.items(), key=_by_key):
        before = loaded.get((entity, row_id))
        if before is None or before.fields != after:
            rows.append(ChangedRow(entity=entity, row_id=row_id, before=before, after=after))
    return tuple(rows)


def _by_key(item: tuple[RowKey, Fields]) -> RowKey:
    return item[0]


def _journal_body(head: TownHead, version: int, at: str, answered: Sequence[Answered]) -> bytes:
    return orjson.dumps(
        {
            "v": 1,
            "town": head.town,
            "epoch": head.epoch,
            "version": version,
            "prev": encode_bytes(head.journal),
            "at": at,
            "sets": [
                [
                    answer.submitted.device,
                    answer.submitted.seq,
                    encode_bytes(answer.submitted.digest),
                    encode_bytes(answer.verdict_digest),
                ]
                for answer in answered
            ],
        }
    )
