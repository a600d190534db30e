"""A town as a serial state machine: one step folds a batch of change sets and takes one town version.

The server runs a step under the town's lock over rows it has loaded; `tallystick verify` runs the same steps over
memory, from the first line of the journal; both must come to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import orjson

from sync.engine.chain import encode_bytes, journal_hash, verdict_hash
from sync.engine.decide import decide, quarantine
from sync.engine.evidence import bounds_of, named_versions, own_bounds
from sync.engine.feed import BucketSum, FeedRow, Stored, feed_rows, sum_changes
from sync.engine.replacing import ForeignReplaced, stands_for_foreign
from sync.engine.stubs import stub_keys
from sync.kernel.changeset import ChangeSet, Decision, Effect, Fields, RowKey, Verdict
from sync.kernel.draft import RULES, Context
from sync.kernel.errors import Malformed
from sync.kernel.module import Registry
from sync.kernel.replacing import replacement_keys
from sync.kernel.view import NeedRows

RULE_FAILED = "engine.rule_failed"
"""The code of a line that is quarantined because deciding it has failed."""

ROWS_WITHOUT_REST = 100
"""Changed rows that are written out before `folding` rests."""


class LoadedRows(Protocol):
    """Rows by key; None says that there is no such row, a missing key that it was not looked for."""

    def __getitem__(self, key: RowKey, /) -> Stored | None:
        """The row; raises `KeyError` when it was not looked for."""
        ...

    def get(self, key: RowKey, /) -> Stored | None:
        """The row, None also when it was not looked for."""
        ...


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
    failure_rule: str = RULE_FAILED
    is_booked: bool = False
    """The line that this one stands for took effect in an earlier version."""


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
class Decided:
    """What a batch comes to: the next version with its journal entry, the verdicts, the rows and the effects."""

    head: TownHead
    at: str
    body: bytes
    answered: tuple[Answered, ...]
    rows: tuple[ChangedRow, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step(Decided):
    """Everything one version changes; a store writes it in one transaction. The feed follows from the rows."""

    feed: tuple[FeedRow, ...]
    sums: Mapping[str, BucketSum]


Made = TypeVar("Made", bound=Decided)


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
            keys |= named_versions(submitted.change_set)
        keys.update(stub_keys(submitted.change_set.ops, registry))
        keys.update(replacement_keys(submitted.change_set))
        for operation in submitted.change_set.ops:
            if own := operation.made():
                keys.add(own)
            for field, entity in registry.references[operation.op]:
                value = getattr(operation, field)
                if value is not None:
                    keys.add((entity, value))
            keys.update(operation.reads())
            if not submitted.is_server:
                keys.update(operation.reads_on(submitted.device))
    return frozenset(keys)


def step(
    head: TownHead,
    batch: Sequence[Submitted],
    loaded: LoadedRows,
    registry: Registry,
    at: str,
    *,
    rules: int = RULES,
) -> Step:
    """Decide `batch` in order at server time `at` by these `rules` and give the next version of the town.

    Raises `NeedRows` with everything the batch is known to read beyond `loaded`. An exception that a rule raises
    comes out as `RuleFailed`, naming the line. The town's `version` grows by exactly one.
    """
    return _finished(folding(head, batch, loaded, registry, at, rules=rules))


def decided(
    head: TownHead,
    batch: Sequence[Submitted],
    loaded: LoadedRows,
    registry: Registry,
    at: str,
    *,
    rules: int = RULES,
) -> Decided:
    """As `step`, without the feed: for who rebuilds rows and sees what follows from them in the end."""
    return _finished(_deciding(head, batch, loaded, registry, at, rules=rules))


def _finished(work: Generator[None, None, Made]) -> Made:
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: Made = end.value
            return made


def folding(
    head: TownHead,
    batch: Sequence[Submitted],
    loaded: LoadedRows,
    registry: Registry,
    at: str,
    *,
    rules: int = RULES,
) -> Generator[None, None, Step]:
    """As `step`, resting after each line and now and then among the rows, so that others may work meanwhile.

    `loaded` must not change while it rests. Thrown away half way, it has done nothing.
    """
    made = yield from _deciding(head, batch, loaded, registry, at, rules=rules)
    version = made.head.version
    sums: dict[str, BucketSum] = {}
    feed: list[FeedRow] = []
    for place, row in enumerate(made.rows):
        entity = registry.entities[row.entity]
        feed.extend(feed_rows(entity, row.row_id, row.before, row.after, version))
        for bucket, difference in sum_changes(entity, row.row_id, row.before, row.after, version):
            sums[bucket] = sums.get(bucket, BucketSum()) + difference
        if place % ROWS_WITHOUT_REST == 0:
            yield
    return Step(
        head=made.head,
        at=made.at,
        body=made.body,
        answered=made.answered,
        rows=made.rows,
        effects=made.effects,
        feed=tuple(feed),
        sums=sums,
    )


def _deciding(
    head: TownHead,
    batch: Sequence[Submitted],
    loaded: LoadedRows,
    registry: Registry,
    at: str,
    *,
    rules: int,
) -> Generator[None, None, Decided]:
    """Every line in order, resting after each; then what all of them have changed."""
    view = _BatchView(loaded)
    answered: list[Answered] = []
    effects: list[Effect] = []
    version = head.version + 1
    context = Context(decided_at=at, is_truth=True, is_server=False, version=version, rules=rules)
    booked: set[str] = set()
    for submitted in batch:
        is_booked = submitted.is_booked or _stands_for(submitted) in booked
        decision = _decide_one(submitted, view, registry, head, replace(context, is_booked=is_booked))
        if decision is not None:
            if decision.verdict.status.has_effect:
                booked.add(encode_bytes(submitted.digest))
            view.changed.update(decision.rows)
            effects.extend(decision.effects)
            answered.append(_answer(submitted, decision.verdict, version))
        yield
    if view.missing:
        raise NeedRows(frozenset(view.missing))
    body = _journal_body(head, version, at, rules, answered)
    return Decided(
        head=TownHead(town=head.town, epoch=head.epoch, version=version, journal=journal_hash(body)),
        at=at,
        body=body,
        answered=tuple(answered),
        rows=_changed_rows(view.changed, loaded),
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


def _decide_one(
    submitted: Submitted, view: _BatchView, registry: Registry, head: TownHead, context: Context
) -> Decision | None:
    """The decision about one line, or None when rows are missing and the whole batch will be folded again."""
    at = context.decided_at
    context = replace(context, is_server=submitted.is_server)
    change_set, place = submitted.change_set, (submitted.device, submitted.seq)
    if isinstance(change_set, Malformed):
        return quarantine(place, None, change_set.code, change_set.message, context)
    if submitted.failure:
        return quarantine(place, change_set, submitted.failure_rule, submitted.failure, context)
    if not submitted.is_server and stands_for_foreign(change_set):
        fault = ForeignReplaced()
        return quarantine(place, change_set, fault.code, fault.message, context)
    try:
        bounds = own_bounds(change_set, head.version, at)
        if not submitted.is_server:
            bounds = bounds_of(change_set, epoch=head.epoch, version=head.version, decided_at=at, read=view.get)
        return decide(change_set, view, replace(context, bounds=bounds), registry)
    except NeedRows:
        return None
    except Exception as error:
        if view.missing:  # decided on rows that will change once the missing ones are here: not a finding yet
            return None
        raise RuleFailed(submitted) from error


def _stands_for(submitted: Submitted) -> str | None:
    """The hash of the line that this one stands for."""
    change_set = submitted.change_set
    return change_set.replaces.hash if isinstance(change_set, ChangeSet) and change_set.replaces else None


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


def _journal_body(head: TownHead, version: int, at: str, rules: int, answered: Sequence[Answered]) -> bytes:
    later = {"rules": rules} if rules > 1 else {}  # entries of the first rules do not say so
    return orjson.dumps(
        {
            "v": 1,
            "town": head.town,
            "epoch": head.epoch,
            "version": version,
            "prev": encode_bytes(head.journal),
            "at": at,
            **later,
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
