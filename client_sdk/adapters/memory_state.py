"""Everything that a replica in memory holds, and what each line of an answer does to it.

Plain values; `client_sdk.adapters.memory` holds the lock and undoes what fails half way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from client_sdk.application.answer import RowsLine, check_hash, verdict_of
from client_sdk.application.ports import Entry, LineStatus, LocalHead, Standing
from sync.engine.feed import BucketSum
from sync.kernel.changeset import Fields, RowKey, Verdict
from sync.protocol.messages import BucketLine, Checkpoint, VerdictLine

_NEVER = Standing(epoch=None, version=0, witness=None, contact=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A row as the server last said, and the bucket that it came with."""

    bucket: str
    version: int
    fields: Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Spool:
    """Intermediate pages as they came, and how far they lead."""

    epoch: str
    cursors: Mapping[str, int]
    lines: tuple[bytes, ...]


@dataclass(kw_only=True, slots=True)
class State:
    """Everything that one transaction may change; a failed one is undone by putting the old copy back.

    `signed` is the checkpoint of the last intermediate page, also when the page is forgotten; `rewound` is how far back
    the server was found to be. Both stay until a checkpoint is taken. A bucket that did not add up has the cursor 0.
    `joints` are the lines of another copy behind which this chain goes on, place and hash.
    """

    generation: int = 0
    head: LocalHead | None = None
    before: tuple[int, bytes] = (0, b"")
    joints: dict[int, bytes] = field(default_factory=dict)
    standing: Standing = _NEVER
    entries: dict[int, Entry] = field(default_factory=dict)
    base: dict[RowKey, Base] = field(default_factory=dict)
    overlay: dict[RowKey, Fields] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    spool: Spool | None = None
    signed: Checkpoint | None = None
    rewound: int | None = None
    dismissed: set[str] = field(default_factory=set)

    def copied(self) -> State:
        """Rows and values are never changed in place, so a copy of the containers is a copy of everything."""
        return replace(
            self,
            entries=dict(self.entries),
            base=dict(self.base),
            overlay=dict(self.overlay),
            cursors=dict(self.cursors),
            joints=dict(self.joints),
            dismissed=set(self.dismissed),
        )

    def reached(self, acked: int) -> int:
        """`acked`, or the place where the server stood when since the last checkpoint it was found further back."""
        return acked if self.rewound is None else min(acked, self.rewound)

    def witness(self, epoch: str | None) -> tuple[int, str] | None:
        """Version and hash of the last journal head that was heard in `epoch`."""
        if self.signed and self.signed.epoch == epoch:
            return self.signed.journal.version, self.signed.journal.hash
        return self.standing.witness

    def witness_signature(self, epoch: str | None) -> str | None:
        """The server's signature over that head."""
        if self.signed and self.signed.epoch == epoch:
            return self.signed.journal.sig
        return self.standing.witness_signature

    def reopen(self, acked: int) -> None:
        """Make pending again what the server lost with its old epoch; what was told then is kept beside."""
        for seq, entry in self.entries.items():
            if seq > acked and entry.verdict is not None:
                earlier = (*entry.earlier, entry.verdict)
                self.entries[seq] = replace(
                    entry, status=LineStatus.PENDING, verdict=None, version=None, answered_at=None, earlier=earlier
                )

    def rebase(self, head: LocalHead, first: int) -> list[Entry]:
        """Let the chain go on behind `head`; the lines that are let go for it, from position `first` on."""
        first = min(first, head.seq + 1)
        given = self.head.receipts if self.head else 0
        head = replace(head, receipts=max(head.receipts, given))  # a number is given once, whatever is lost
        kept = [entry for seq, entry in sorted(self.entries.items()) if seq >= first]
        self.entries = {seq: entry for seq, entry in self.entries.items() if seq < first}
        last = max(self.entries, default=0)
        self.joints = {seq: digest for seq, digest in self.joints.items() if seq < last} | {head.seq: head.digest}
        if not self.entries:
            self.before, self.joints = (head.seq, head.digest), {}
        is_asked_again = self.rewound is not None and self.rewound < last  # some of what stays has no verdict
        self.head, self.spool, self.rewound = head, None, self.rewound if is_asked_again else None
        return kept

    def answer(self, line: VerdictLine, at: str) -> list[tuple[int, Verdict]]:
        """Take a verdict; what is news in it."""
        entry = self.entries.get(line.seq)
        check_hash(line, entry.digest if entry else None)
        verdict = verdict_of(line)
        if entry is None or (entry.verdict, entry.version) == (verdict, line.version):
            return []
        self.entries[line.seq] = replace(
            entry,
            status=LineStatus.ANSWERED,
            verdict=verdict,
            version=line.version,
            answered_at=at,
            earlier=(*entry.earlier, entry.verdict) if entry.verdict else entry.earlier,
        )
        return [(line.seq, verdict)]

    def apply(self, line: RowsLine) -> None:
        """Put and take out the rows of one line."""
        self.cursors.setdefault(line.bucket, 0)
        for row_id, version, fields in line.put:
            self.base[line.entity, row_id] = Base(bucket=line.bucket, version=version, fields=fields)
        for row_id, _ in line.gone:
            row = self.base.get((line.entity, row_id))
            if row and row.bucket == line.bucket:
                del self.base[line.entity, row_id]

    def mark(self, line: BucketLine) -> None:
        """Empty a bucket that starts anew, forget one that is no longer held."""
        if line.state == "kept":
            return
        self._forget(line.b)
        if line.state != "dropped":
            self.cursors[line.b] = 0

    def finish(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Hold the buckets that the checkpoint names; those that do not fit, and have no cursor now."""
        for name in self.cursors.keys() - checkpoint.buckets.keys():
            self._forget(name)
        sums, mismatched = self.sums(), []
        for name, mark in checkpoint.buckets.items():
            held = sums.get(name, BucketSum())
            fits = mark.sum is None or (mark.rows, int(mark.sum, 16)) == (held.rows, held.total)
            self.cursors[name] = mark.version if fits else 0
            if not fits:
                mismatched.append(name)
        return tuple(mismatched)

    def sums(self) -> dict[str, BucketSum]:
        """Count and checksum of each bucket, from nothing."""
        sums = dict.fromkeys(self.cursors, BucketSum())
        for (entity, row_id), row in self.base.items():
            sums[row.bucket] = sums.get(row.bucket, BucketSum()).with_row(entity, row_id, row.version)
        return sums

    def _forget(self, bucket: str) -> None:
        self.cursors.pop(bucket, None)
        for key in [key for key, row in self.base.items() if row.bucket == bucket]:
            del self.base[key]
