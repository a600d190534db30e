"""Everything that is stored of one town in memory, and what each statement of a store does to it.

Plain containers; `server.adapters.memory_towns` holds the lock and decides when they are copied. Values in them are
never changed in place, so a copy of the containers is a copy of everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import groupby
from operator import itemgetter

import orjson

from server.application.evidence import StoredSet
from server.application.history_ports import KEPT_LINES_MAX, EpochRecord, Halt, KeptAside, ReleasedHead
from server.application.ports import BucketState, DeviceRecord, FeedPage, JournalEntry, WriteRejected
from server.application.snapshot_ports import Snapshot
from server.domain.requests import AnsweredRequest, RequestKey
from sync.engine.chain import ChainHead, encode_bytes, genesis_hash, line_hash
from sync.engine.evidence import TOWN_VERSION, version_row
from sync.engine.feed import BucketSum, Stored
from sync.engine.replay import FeedKey
from sync.engine.town import ChangedRow, Step, TownHead
from sync.kernel.changeset import RowKey
from sync.kernel.module import Entity, FieldKind, Registry
from sync.kernel.replacing import replacement_key
from sync.modules.identity import held_buckets
from sync.protocol import limits

INTEGER_BITS = 64
"""What a column of a database holds; a store in memory refuses the same."""

FeedRows = dict[tuple[str, str], tuple[int, bytes | None]]
"""(entity, id) -> (version, body or None for a tombstone)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeSnapshot:
    """A snapshot that is offered, and since when."""

    snapshot: Snapshot
    at: str


@dataclass(kw_only=True, slots=True)
class TownState:
    """The tables of one town. `is_shared`: somebody looks at it, so whoever changes it takes a copy first."""

    head: TownHead
    name: str
    is_halted: bool = False
    is_shared: bool = False
    rows: dict[RowKey, Stored] = field(default_factory=dict)
    feed: dict[str, FeedRows] = field(default_factory=dict)
    buckets: dict[str, BucketState] = field(default_factory=dict)
    journal: list[JournalEntry] = field(default_factory=list)
    sets: dict[tuple[str, int], StoredSet] = field(default_factory=dict)
    heads: dict[str, ChainHead] = field(default_factory=dict)
    failures: dict[tuple[str, bytes], int] = field(default_factory=dict)
    answered: dict[RequestKey, AnsweredRequest] = field(default_factory=dict)
    epochs: list[EpochRecord] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    kept: dict[tuple[str, bytes], KeptAside] = field(default_factory=dict)
    snapshots: dict[tuple[str, str], MadeSnapshot] = field(default_factory=dict)
    """By bucket and hash."""

    def copy(self) -> TownState:
        """The same tables once more, shared with nobody."""
        return replace(
            self,
            is_shared=False,
            rows=dict(self.rows),
            feed={bucket: dict(rows) for bucket, rows in self.feed.items()},
            buckets=dict(self.buckets),
            journal=list(self.journal),
            sets=dict(self.sets),
            heads=dict(self.heads),
            failures=dict(self.failures),
            answered=dict(self.answered),
            epochs=list(self.epochs),
            halts=list(self.halts),
            kept=dict(self.kept),
            snapshots=dict(self.snapshots),
        )

    def load(self, keys: Iterable[RowKey]) -> dict[RowKey, Stored | None]:
        """Rows by key, None where there is none; journal entries as rows too."""
        return {key: self._version(key) if key[0] == TOWN_VERSION else self.rows.get(key) for key in keys}

    def write(
        self,
        step: Step,
        entry: JournalEntry,
        signatures: Mapping[tuple[str, int], str],
        answered: Mapping[RequestKey, AnsweredRequest],
    ) -> None:
        """Everything a step changes; `check_writable` has been asked."""
        version = step.head.version
        for row in step.rows:
            self.rows[row.entity, row.row_id] = Stored(version=version, fields=row.after)
        for line in step.feed:
            self.feed.setdefault(line.bucket, {})[line.entity, line.row_id] = (line.version, line.body)
        for bucket, difference in step.sums.items():
            before = self.buckets.get(bucket, BucketState(version=0, total=BucketSum()))
            self.buckets[bucket] = replace(before, version=version, total=before.total + difference)
        for one in step.answered:
            place = (one.submitted.device, one.submitted.seq)
            self.sets[place] = StoredSet(
                device=one.submitted.device,
                seq=one.submitted.seq,
                version=version,
                digest=one.submitted.digest,
                line=one.submitted.line,
                signature=signatures.get(place),
                status=one.verdict.status.value,
                verdict=one.verdict_line,
            )
            self.heads[one.submitted.device] = ChainHead(seq=one.submitted.seq, digest=one.submitted.digest)
        self.answered.update(answered)
        self.journal.append(entry)
        self.head = replace(self.head, version=version, journal=step.head.journal)

    def device(self, device_id: str) -> DeviceRecord | None:
        """The device's row, the head of its chain and the buckets it may hold."""
        stored = self.rows.get(("device", device_id))
        if stored is None:
            return None
        row = stored.fields
        user, town = self.rows.get(("user", row["user_id"])), self.rows.get(("town", self.head.town))
        is_user_active = user is None or (user.fields["is_active"] and row["role"] in user.fields["roles"])
        return DeviceRecord(
            device_id=device_id,
            town_id=self.head.town,
            status=row["status"],
            role=row["role"],
            public_key=row["public_key"],
            certificate=row["certificate"],
            buckets=held_buckets(device_id, row, is_user_active=is_user_active),
            head=self.heads.get(device_id) or ChainHead(seq=0, digest=genesis_hash(row["certificate"])),
            town_settings=town.fields["settings"] if town else {},
        )

    def feed_page(self, bucket: str, after: int, rows_max: int, bytes_max: int, *, is_live: bool = False) -> FeedPage:
        """Whole versions beyond `after`, up to the one in which either limit is reached; lines by entity.

        Without tombstones when it `is_live`.
        """
        rows = self.feed.get(bucket, {}).items()
        newer = [(key, row) for key, row in rows if row[0] > after and not (is_live and row[1] is None)]
        newer.sort(key=lambda one: (one[1][0], one[0]))
        taken: list[tuple[tuple[str, str], tuple[int, bytes | None]]] = []
        size, last = 0, None
        for key, row in newer:
            if row[0] != last and (len(taken) >= rows_max or size >= bytes_max):
                break
            taken.append((key, row))
            size, last = size + len(row[1] or b""), row[0]
        taken.sort(key=lambda one: (one[0][0], one[1][0], one[0][1]))
        lines = [
            line
            for entity, found in groupby(taken, key=lambda one: one[0][0])
            for line in _rows_lines(bucket, entity, [(key[1], *row) for key, row in found])
        ]
        return FeedPage(rows=len(taken), last_version=last, lines=lines)

    def feed_rows(self) -> Iterable[tuple[FeedKey, int, bytes | None]]:
        """Every feed row, tombstones too."""
        for bucket, rows in self.feed.items():
            for (entity, row_id), (version, body) in rows.items():
                yield (bucket, entity, row_id), version, body

    def begin_epoch(self, record: EpochRecord) -> None:
        """Go over into the epoch; whatever halt there was is over."""
        self.epochs.append(record)
        self.head = replace(self.head, epoch=record.epoch)
        self.end_halts(record.epoch)

    def end_halts(self, ended: str) -> int:
        """End what lasts; how many there were."""
        lasting = sum(halt.ended is None for halt in self.halts)
        self.halts = [halt if halt.ended else replace(halt, ended=ended) for halt in self.halts]
        self.is_halted = False
        return lasting

    def keep_lines(self, device_id: str, seq: int, lines: Sequence[bytes], *, signature: str, at: str) -> None:
        """Keep lines as evidence, each once, no more than `KEPT_LINES_MAX`."""
        last = seq + len(lines) - 1
        for place, line in enumerate(lines, seq):
            is_full = sum(device == device_id for device, _ in self.kept) >= KEPT_LINES_MAX
            if not is_full:
                signed = signature if place == last else None
                one = KeptAside(seq=place, line=line, received_at=at, signature=signed)
                self.kept.setdefault((device_id, sha256(line).digest()), one)

    def kept_lines(self, device_id: str) -> list[KeptAside]:
        """What is kept of a device, has not entered its chain and was not replaced or rejected."""
        found = [
            (one.seq, one.received_at, digest, one)
            for (device, digest), one in self.kept.items()
            if device == device_id and not self._became_something(device, one)
        ]
        return [one for *_, one in sorted(found, key=itemgetter(0, 1, 2))]

    def released_head(self, device_id: str, fork: bytes | None) -> ReleasedHead | None:
        """The end of a released device's chain; with `fork`, only when that was kept before the last release."""
        release, head = self.rows.get(("device_release", device_id)), self.heads.get(device_id)
        last = self.sets.get((device_id, head.seq)) if head else None
        if release is None:
            return None
        if fork is not None:
            kept = self.kept.get((device_id, sha256(fork).digest()))
            if kept is None or kept.received_at > release.fields["released_at"]:
                return None
        line, signature = (last.line, last.signature) if last else (None, None)
        return ReleasedHead(line=line, signature=signature, epoch=self.head.epoch)

    def _version(self, key: RowKey) -> Stored | None:
        version = int(key[1])
        if not 1 <= version <= len(self.journal):
            return None
        entry = self.journal[version - 1]
        return version_row(version, orjson.loads(entry.body)["at"], entry.digest)[1]

    def _became_something(self, device_id: str, one: KeptAside) -> bool:
        known = self.sets.get((device_id, one.seq))
        is_replaced = replacement_key(encode_bytes(line_hash(one.line))) in self.rows
        return is_replaced or (known is not None and known.line == one.line)


def check_writable(state: TownState, step: Step, registry: Registry) -> None:
    """Raise `WriteRejected` for what a database would not take: an id twice, a number too large."""
    for row in step.rows:
        entity = registry.entities[row.entity]
        if entity.is_append_only and (row.entity, row.row_id) in state.rows:
            raise WriteRejected(f"{row.entity} {row.row_id} is there already")
        _check_fields(entity, row)


def _check_fields(entity: Entity, row: ChangedRow) -> None:
    for name, kind in entity.fields.items():
        value = row.after.get(name)
        if kind is FieldKind.INTEGER and isinstance(value, int) and value.bit_length() >= INTEGER_BITS:
            raise WriteRejected(f"{name} of {row.entity} {row.row_id} is out of range")


def _rows_lines(bucket: str, entity: str, rows: Sequence[tuple[str, int, bytes | None]]) -> Iterable[bytes]:
    """Finished lines of one entity, cut by rows and by bytes."""
    size = 0
    parts: dict[tuple[int, int], list[tuple[str, int, bytes | None]]] = {}
    for place, row in enumerate(rows):
        parts.setdefault((place // limits.ROWS_LINE_ROWS, size // limits.ROWS_LINE_BYTES), []).append(row)
        size += len(row[2] or b"")
    start = b'{"t":"rows","b":' + orjson.dumps(bucket) + b',"e":' + orjson.dumps(entity) + b',"put":['
    for part in parts.values():
        put = (b'["%b",%d,%b]' % (row_id.encode(), version, body) for row_id, version, body in part if body)
        gone = (b'["%b",%d]' % (row_id.encode(), version) for row_id, version, body in part if not body)
        yield start + b",".join(put) + b'],"gone":[' + b",".join(gone) + b"]}"
