"""Replaying a town: fold its journal from the first line, check every link, and know what every table must hold.

Pure: the caller brings journal entries and lines in order and afterwards compares its tables with `rows`, `feed` and
`sums`. What does not fit becomes a finding that names the place; nothing raises because of what the journal says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sync.engine.chain import (
    ChainHead,
    encode_bytes,
    genesis_hash,
    head_message,
    is_signed,
    journal_hash,
    journal_message,
    line_hash,
    parse_public_key,
    verdict_hash,
)
from sync.engine.feed import BucketSum, Stored, encode_body
from sync.engine.town import Answered, RuleFailed, Step, Submitted, TownHead, step
from sync.kernel.changeset import ChangeSet, Effect, Fields, RowKey
from sync.kernel.errors import Malformed
from sync.kernel.module import Registry

FeedKey = tuple[str, str, str]
"""(bucket, entity, id)."""


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


class _Rows(dict[RowKey, Stored | None]):
    """Everything is known here: a row that was never written is not there."""

    def __missing__(self, key: RowKey) -> None:
        return None


@dataclass(kw_only=True)
class Replay:
    """A town rebuilt from its journal, one entry at a time."""

    registry: Registry
    town: str
    server_device: str
    server_key: str
    findings: list[Finding] = field(default_factory=list)
    rows: _Rows = field(default_factory=_Rows)
    feed: dict[FeedKey, tuple[int, bytes | None]] = field(default_factory=dict)
    sums: dict[str, BucketSum] = field(default_factory=dict)
    chains: dict[str, ChainHead] = field(default_factory=dict)
    version: int = 0
    journal: bytes = bytes(32)
    epoch: str | None = None
    change_sets: int = 0
    effects: dict[str, tuple[int, Effect]] = field(default_factory=dict)
    """What was asked for outside the town, and the version that asked, by the id of the effect."""
    unsigned: dict[str, int] = field(default_factory=dict)
    """By device, the first of its last lines that no signed head stands at or above."""
    failed: set[tuple[str, int]] = field(default_factory=set)
    """The places of lines that were quarantined because deciding them had failed."""

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
        self.version, self.journal, self.epoch = entry.version, entry.digest, body["epoch"]
        self.change_sets += len(present)

    def _read_body(self, entry: KeptEntry, place: str) -> dict[str, Any] | None:
        if journal_hash(entry.body) != entry.digest:
            self._find(place, "its bytes do not give its hash")
        message = journal_message(self.town, entry.version, journal_hash(entry.body))
        if not _is_by(self.server_key, entry.signature, message):
            self._find(place, "its signature is not the server's")
        try:
            body: dict[str, Any] = orjson.loads(entry.body)
            names = (body["town"], body["version"], body["prev"])
            _check_shape(body)
        except (ValueError, KeyError, TypeError):
            self._find(place, "its bytes cannot be read")
            return None
        if names != (self.town, entry.version, encode_bytes(self.journal)):
            self._find(place, "it does not follow on from the entry before it")
        return body

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
                if not _is_by(device.fields["public_key"], line.signature, message):
                    self._find(where, "the signed head is not its device's")

    def _genesis(self, device_id: str) -> ChainHead | None:
        device = self.rows["device", device_id]
        return ChainHead(seq=0, digest=genesis_hash(device.fields["certificate"])) if device else None

    def _fold(self, entry: KeptEntry, body: Mapping[str, Any], lines: Sequence[KeptLine], place: str) -> None:
        head = TownHead(town=self.town, epoch=body["epoch"], version=entry.version - 1, journal=self.journal)
        batch = [self._submitted(line) for line in lines]
        try:
            made = step(head, batch, self.rows, self.registry, body["at"])
        except RuleFailed as failed:
            submitted = failed.submitted
            self._find(f"change set {submitted.seq} of device {submitted.device}", "deciding it again fails")
            return
        for answer, line in zip(made.answered, lines, strict=True):
            self._compare_verdict(answer, line)
        if made.body != entry.body:
            self._find(place, "deciding its change sets again gives another entry")
        self._keep(made)

    def _submitted(self, line: KeptLine) -> Submitted:
        failure = None
        verdict = _read(line.verdict)
        if verdict.get("rule") == "engine.rule_failed":
            failure = _first_note(verdict)
            self.failed.add((line.device, line.seq))
        return Submitted(
            device=line.device,
            seq=line.seq,
            line=line.line,
            digest=line.digest,
            change_set=line.change_set,
            is_server=line.device == self.server_device,
            failure=failure,
        )

    def _compare_verdict(self, answer: Answered, line: KeptLine) -> None:
        if answer.verdict_line != line.verdict:
            now, kept = answer.verdict.status.value, _read(line.verdict).get("status", "unreadable")
            where = f"change set {line.seq} of device {line.device}"
            self._find(where, f"deciding it again gives {now}, the stored verdict says {kept}")

    def _keep(self, made: Step) -> None:
        for row in made.rows:
            self.rows[row.entity, row.row_id] = Stored(version=made.head.version, fields=row.after)
        for line in made.feed:
            self.feed[line.bucket, line.entity, line.row_id] = (line.version, line.body)
        for bucket, difference in made.sums.items():
            self.sums[bucket] = self.sums.get(bucket, BucketSum()) + difference
        self.effects.update((effect.id, (made.head.version, effect)) for effect in made.effects)

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


def _check_shape(body: Mapping[str, Any]) -> None:
    """Raise `ValueError`, `KeyError` or `TypeError` when an entry's body is not built as the server builds it."""
    texts = [body["at"], body["epoch"]]
    for device, seq, digest, verdict in body["sets"]:
        texts += [device, digest, verdict]
        if not isinstance(seq, int):
            raise TypeError
    if not all(isinstance(text, str) for text in texts):
        raise TypeError


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
