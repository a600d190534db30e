"""Replaying a town: fold its journal from the first line, check every link, and know what every table must hold.

Pure: the caller brings journal entries and lines in order and afterwards compares its tables with `rows` and the feed
that follows from them. What does not fit becomes a finding that names the place; nothing raises because of what the
journal says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sync.engine.chain import (
    HASH_BYTES,
    ChainHead,
    encode_bytes,
    genesis_hash,
    head_message,
    is_signed,
    journal_hash,
    journal_message,
    line_hash,
    older_journal_message,
    parse_public_key,
    verdict_hash,
)
from sync.engine.evidence import version_row
from sync.engine.feed import Stored, encode_body, feed_rows
from sync.engine.rebuilt import InMemory, RebuiltRows
from sync.engine.replacing import ForeignReplaced
from sync.engine.town import RULE_FAILED, Answered, ChangedRow, Decided, RuleFailed, Submitted, TownHead, decided
from sync.kernel.cases import LINE_REJECTED
from sync.kernel.changeset import ChangeSet, Fields, Replaced, Status
from sync.kernel.errors import Malformed
from sync.kernel.module import Registry
from sync.kernel.replacing import replacement_key

FeedKey = tuple[str, str, str]
"""(entity, id, bucket)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that does not fit: where, and what was expected there."""

    where: str
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptEntry:
    """A journal entry as a store holds it."""

    version: int
    body: bytes
    digest: bytes
    signature: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptLine:
    """A line and its verdict as a store holds them, and the line read."""

    device: str
    seq: int
    digest: bytes
    line: bytes
    signature: str | None
    status: str
    verdict: bytes
    claimed_seq: int | None
    claimed_prev: bytes | None
    change_set: ChangeSet | Malformed


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """Where an epoch began: after `version` of the one before it, whose journal had the hash `journal` there."""

    epoch: str
    before: str
    version: int
    journal: str


GAP_LINES_MAX = 100_000
"""Lines that may be missing before the next one of a device; a place that is further off is a fault by itself."""


class BookedLines:
    """Which lines have taken effect, by device and place; their hashes in little room."""

    def __init__(self) -> None:
        self._hashes: dict[str, bytearray] = {}

    def note(self, line: Submitted, *, has_effect: bool) -> None:
        """The next line of a device was decided."""
        kept = self._hashes.setdefault(line.device, bytearray())
        lacking = line.seq - len(kept) // HASH_BYTES
        if not 0 < lacking <= GAP_LINES_MAX:  # a finding of its own
            return
        kept.extend(bytes(lacking * HASH_BYTES))
        if has_effect:
            kept[-HASH_BYTES:] = line.digest

    def has(self, line: Replaced) -> bool:
        """Whether it is one of them."""
        kept, end = self._hashes.get(line.device, bytearray()), line.seq * HASH_BYTES
        return encode_bytes(bytes(kept[end - HASH_BYTES : end])) == line.hash


LEFT, ASKED = "left", "asked"
"""What a replay keeps beside the rows: in which version a row has left a bucket, and what was asked for outside."""


@dataclass(kw_only=True)
class Replay:
    """A town rebuilt from its journal, one entry at a time."""

    registry: Registry
    town: str
    server_device: str
    server_key: str
    older_keys: Collection[str] = ()
    """Keys that have signed before `server_key` did, for the server too."""
    findings: list[Finding] = field(default_factory=list)
    rows: RebuiltRows = field(default_factory=InMemory)
    """Of every entity, and when each version was, `LEFT` and `ASKED`, which no table holds as rows."""
    rows_made: int = 0
    chains: dict[str, ChainHead] = field(default_factory=dict)
    version: int = 0
    journal: bytes = bytes(32)
    epoch: str | None = None
    begun: list[Begun] = field(default_factory=list)
    """Where the journal goes over into another epoch, in order."""
    booked: BookedLines = field(default_factory=BookedLines)
    change_sets: int = 0
    unsigned: dict[str, int] = field(default_factory=dict)
    """By device, the first of its last lines that no signed head stands at or above."""
    failed: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """The lines that were quarantined because deciding them had failed: place and hash."""

    def take(self, entry: KeptEntry, lines: Sequence[KeptLine]) -> None:
        """Check one entry and its lines, and fold them."""
        place = f"journal version {entry.version}"
        if entry.version != self.version + 1:
            missing = self.version + 1
            self._find(f"journal version {missing}", f"missing: version {entry.version} follows version {self.version}")
        body = self._read_body(entry, place)
        if body is None:
            self.version, self.journal = entry.version, entry.digest
            return
        kept = {(line.device, line.seq): line for line in lines}
        ordered = [self._line(kept, said, place) for said in body["sets"]]
        if len(kept) != len(ordered):
            self._find(place, f"{len(kept)} change sets are stored for it, it names {len(ordered)}")
        present = [line for line in ordered if line is not None]
        self._check_founding(present)
        for line in present:
            self._check_chain(line)
        self._fold(entry, body, present, place)
        self._check_signatures(present)
        if self.epoch not in {None, body["epoch"]}:
            before, last = str(self.epoch), encode_bytes(self.journal)
            self.begun.append(Begun(epoch=body["epoch"], before=before, version=self.version, journal=last))
        self.rows.put(*version_row(entry.version, body["at"], entry.digest))
        self.version, self.journal, self.epoch = entry.version, entry.digest, body["epoch"]
        self.change_sets += len(present)

    def _read_body(self, entry: KeptEntry, place: str) -> dict[str, Any] | None:
        if journal_hash(entry.body) != entry.digest:
            self._find(place, "its bytes do not give its hash")
        body = _read_entry(entry.body)
        if not self._is_entry_signed(entry, body["epoch"] if body else ""):
            self._find(place, "its signature is not the server's")
        if body is None:
            self._find(place, "its bytes cannot be read")
            return None
        names = (body["town"], body["version"], body["prev"])
        if names != (self.town, entry.version, encode_bytes(self.journal)):
            self._find(place, "it does not follow on from the entry before it")
        return body

    def _is_entry_signed(self, entry: KeptEntry, epoch: str) -> bool:
        digest = journal_hash(entry.body)
        message = journal_message(self.town, epoch, entry.version, digest)
        older = older_journal_message(self.town, entry.version, digest)
        return self._is_by_server(entry.signature, message) or self._is_by_server(entry.signature, older)

    def _line(self, kept: Mapping[tuple[str, int], KeptLine], said: Sequence[Any], place: str) -> KeptLine | None:
        device, seq, digest, verdict = said
        where = f"change set {seq} of device {device}"
        line = kept.get((device, seq))
        if line is None:
            self._find(where, f"missing: {place} names it")
            return None
        if encode_bytes(line_hash(line.line)) != digest or line.digest != line_hash(line.line):
            self._find(where, f"its bytes are not those that {place} names")
        if encode_bytes(verdict_hash(line.verdict)) != verdict:
            self._find(where, f"its verdict is not the one that {place} names")
        if _read(line.verdict).get("status") != line.status:
            self._find(where, f"its status is {line.status}, which is not what its verdict says")
        return line

    def _check_founding(self, lines: Sequence[KeptLine]) -> None:
        """The town's first line brings the certificate from which its server device's chain begins."""
        if self.version or not lines or not isinstance(lines[0].change_set, ChangeSet):
            return
        for operation in lines[0].change_set.ops:
            certificate = getattr(operation, "certificate", None)
            if certificate:
                self.chains[self.server_device] = ChainHead(seq=0, digest=genesis_hash(certificate))

    def _check_chain(self, line: KeptLine) -> None:
        where = f"change set {line.seq} of device {line.device}"
        before = self.chains.get(line.device) or self._genesis(line.device)
        if before is None:
            self._find(where, "its device was never enrolled")
        elif line.seq != before.seq + 1:
            self._find(where, f"it follows position {before.seq}")
        elif line.claimed_seq is not None and (line.claimed_seq, line.claimed_prev) != (line.seq, before.digest):
            self._find(where, "it does not follow on from the line before it")
        self.chains[line.device] = ChainHead(seq=line.seq, digest=line_hash(line.line))

    def _check_signatures(self, lines: Sequence[KeptLine]) -> None:
        for line in lines:
            device = self.rows["device", line.device]
            where = f"change set {line.seq} of device {line.device}"
            if line.signature is None:  # a device signs the last line it sends, the server each one
                self.unsigned.setdefault(line.device, line.seq)
                if line.device == self.server_device:
                    self._find(where, "its signature is missing")
            elif device is not None:
                self.unsigned.pop(line.device, None)
                message = head_message(line.device, line.seq, line_hash(line.line))
                is_server = line.device == self.server_device and self._is_by_server(line.signature, message)
                if not is_server and not _is_by(device.fields["public_key"], line.signature, message):
                    self._find(where, "the signed head is not its device's")

    def _is_by_server(self, signature: str, message: bytes) -> bool:
        return any(_is_by(key, signature, message) for key in (self.server_key, *self.older_keys))

    def _genesis(self, device_id: str) -> ChainHead | None:
        device = self.rows["device", device_id]
        return ChainHead(seq=0, digest=genesis_hash(device.fields["certificate"])) if device else None

    def _fold(self, entry: KeptEntry, body: Mapping[str, Any], lines: Sequence[KeptLine], place: str) -> None:
        head = TownHead(town=self.town, epoch=body["epoch"], version=entry.version - 1, journal=self.journal)
        batch = [self._submitted(line) for line in lines]
        try:
            made = decided(head, batch, self.rows, self.registry, body["at"], rules=body.get("rules", 1))
        except RuleFailed as failed:
            submitted = failed.submitted
            self._find(f"change set {submitted.seq} of device {submitted.device}", "deciding it again fails")
            return
        for answer, line in zip(made.answered, lines, strict=True):
            self._compare_verdict(answer, line)
            self.booked.note(answer.submitted, has_effect=answer.verdict.status.has_effect)
        if made.body != entry.body:
            self._find(place, "deciding its change sets again gives another entry")
        self._keep(made)

    def _submitted(self, line: KeptLine) -> Submitted:
        failure, verdict = None, _read(line.verdict)
        rule, change_set = verdict.get("rule"), _as_it_was_read(line, verdict)
        if rule == RULE_FAILED:
            failure = _first_note(verdict)
            self.failed[line.device, line.seq] = line.digest
        elif rule == LINE_REJECTED.id and self.rows[replacement_key(encode_bytes(line.digest))] is not None:
            failure = _first_note(verdict)
        replaced = change_set.replaces if isinstance(change_set, ChangeSet) else None
        return Submitted(
            device=line.device,
            seq=line.seq,
            line=line.line,
            digest=line.digest,
            change_set=change_set,
            is_server=line.device == self.server_device,
            failure=failure,
            failure_rule=rule if failure and rule else RULE_FAILED,
            is_booked=replaced is not None and self.booked.has(replaced),
        )

    def _compare_verdict(self, answer: Answered, line: KeptLine) -> None:
        if answer.verdict_line != line.verdict:
            now, kept = answer.verdict.status.value, _read(line.verdict).get("status", "unreadable")
            where = f"change set {line.seq} of device {line.device}"
            self._find(where, f"deciding it again gives {now}, the stored verdict says {kept}")

    def _keep(self, made: Decided) -> None:
        version = made.head.version
        for row in made.rows:
            self.rows_made += row.before is None
            if row.before is not None:
                self._note_buckets(row, row.before, version)
            self.rows.put((row.entity, row.row_id), Stored(version=version, fields=row.after))
        for effect in made.effects:
            asked = {"kind": effect.kind, "data": dict(effect.data)}
            self.rows.put((ASKED, effect.id), Stored(version=version, fields=asked))

    def _note_buckets(self, row: ChangedRow, before: Stored, version: int) -> None:
        """A tombstone for each bucket that the row has left, until it is back there."""
        entity = self.registry.entities[row.entity]
        were, are = entity.buckets(before.fields), entity.buckets(row.after)
        if were == are:
            return
        key = (f"{LEFT} {row.entity}", row.row_id)
        known = self.rows[key]
        left = {bucket: at for bucket, at in (known.fields if known else {}).items() if bucket not in are}
        left.update((bucket, version) for bucket in were if bucket not in are)
        self.rows.put(key, Stored(version=version, fields=left))

    def feed_of(self, entity: str) -> Iterator[tuple[FeedKey, tuple[int, bytes | None]]]:
        """What the feed must hold of an entity, by id and bucket; None for a row that has left the bucket."""
        kind, left = self.registry.entities[entity], self.rows.ordered(f"{LEFT} {entity}")
        gone_id, gone = next(left, ("", None))
        for row_id, stored in self.rows.ordered(entity):
            lines: dict[str, tuple[int, bytes | None]] = {
                line.bucket: (line.version, line.body)
                for line in feed_rows(kind, row_id, None, stored.fields, stored.version)
            }
            if gone and gone_id == row_id:
                lines.update((bucket, (version, None)) for bucket, version in gone.fields.items())
                gone_id, gone = next(left, ("", None))
            for bucket in sorted(lines):
                yield (entity, row_id, bucket), lines[bucket]

    def _find(self, where: str, what: str) -> None:
        self.findings.append(Finding(where=where, what=what))


def differing_fields(expected: Fields, actual: Fields) -> str:
    """Which fields differ, with both values, for a report."""
    return "; ".join(
        f"{name} is {actual.get(name)!r}, the journal gives {expected.get(name)!r}"
        for name in sorted(expected.keys() | actual.keys())
        if encode_body({name: expected.get(name)}) != encode_body({name: actual.get(name)})
    )


def _is_by(public_key: str, signature: str, message: bytes) -> bool:
    try:
        key = parse_public_key(public_key)
    except Malformed:
        return False
    return is_signed(key, signature, message)


def _read_entry(body: bytes) -> dict[str, Any] | None:
    """What an entry says, or None when it is not built as the server builds it."""
    try:
        said: dict[str, Any] = orjson.loads(body)
        _ = said["town"], said["version"], said["prev"]
        _check_shape(said)
    except (ValueError, KeyError, TypeError):
        return None
    return said


def _check_shape(body: Mapping[str, Any]) -> None:
    """Raise `ValueError`, `KeyError` or `TypeError` when an entry's body is not built as the server builds it."""
    texts = [body["at"], body["epoch"]]
    if not isinstance(body.get("rules", 1), int):
        raise TypeError
    for device, seq, digest, verdict in body["sets"]:
        texts += [device, digest, verdict]
        if not isinstance(seq, int):
            raise TypeError
    if not all(isinstance(text, str) for text in texts):
        raise TypeError


def _as_it_was_read(line: KeptLine, verdict: Mapping[str, Any]) -> ChangeSet | Malformed:
    """What the line said to the release that decided it: what only a later one can read was unreadable then."""
    rule, now = verdict.get("rule"), line.change_set
    is_fault_of_reading = isinstance(rule, str) and "." not in rule and rule != ForeignReplaced.code
    if isinstance(now, Malformed) or verdict.get("status") != Status.QUARANTINED or not is_fault_of_reading:
        return now
    unread: Malformed = type("Unread", (Malformed,), {"code": rule})(_first_note(verdict))
    return unread


def _first_note(verdict: Mapping[str, Any]) -> str:
    try:
        return str(verdict["notes"][0]["text"])
    except (KeyError, IndexError, TypeError):
        return "unreadable"


def _read(verdict: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(verdict)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
