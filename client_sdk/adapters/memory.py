"""A replica in memory: the `Store` port for simulation and for the tests of apps. Shipped, supported, never durable.

It keeps to plain values and computes checksums and the overlay from nothing each time, so that it is also what the
SQLite store is compared with. Only `query` borrows SQLite: the same views over a copy of the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.adapters.memory_downloads import MemoryDownloads
from client_sdk.adapters.memory_state import Spool, State
from client_sdk.application.answer import RowsLine, read_line
from client_sdk.application.lease_ports import Reading
from client_sdk.application.leases import renewed, with_reading
from client_sdk.application.overlay import decide_pending
from client_sdk.application.ports import (
    Contact,
    Entry,
    ExchangeState,
    Identity,
    LineStatus,
    LocalHead,
    OutboxLine,
    Rebasing,
    Row,
    Running,
    Settled,
    Standing,
    System,
)
from client_sdk.application.verify_ports import BaseMark, Contents
from client_sdk.errors import AlreadyEnrolled, NotEnrolled, ReplicaWiped, StaleExchange
from sync.engine.chain import genesis_hash
from sync.kernel.changeset import ChangeSet, Fields, RowKey, Verdict
from sync.kernel.module import Registry
from sync.protocol.codec import parse_line
from sync.protocol.messages import BucketLine, Checkpoint, Told, VerdictLine, Welcome

_SEED_BYTES = 32


class MemoryStore:
    """The replica's values, under one lock."""

    def __init__(self, registry: Registry, system: System) -> None:
        self._registry = registry
        self._system = system
        self._key = Ed25519PrivateKey.from_private_bytes(system.random(_SEED_BYTES))
        self._identity: Identity | None = None
        self._is_wiped = False
        self._state = State()
        self.downloads = MemoryDownloads()
        self._lock = threading.RLock()

    def close(self) -> None:
        """Nothing is held open."""

    def device_key(self) -> Ed25519PrivateKey:
        """The device's key pair."""
        return self._key

    def is_enrolled(self) -> bool:
        """Whether `identity` has something to say."""
        return self._identity is not None

    def enrolled(self, identity: Identity) -> None:
        """Keep who this replica is, and begin its chain at the certificate."""
        if self._identity is not None:
            raise AlreadyEnrolled
        self._identity = identity
        genesis = genesis_hash(identity.certificate)
        self._state.before = (0, genesis)
        self._state.head = LocalHead(seq=0, digest=genesis, signature="", at=None, totals={})

    def identity(self) -> Identity:
        """Who this replica is; raise `NotEnrolled`."""
        if self._identity is None:
            raise ReplicaWiped if self._is_wiped else NotEnrolled
        return self._identity

    def exchange_state(self) -> ExchangeState:
        """Where this replica stands, with what is spooled counted as held."""
        state, head = self._state, self._head()
        pending = [entry.seq for entry in self.entries(LineStatus.PENDING)]
        epoch = state.spool.epoch if state.spool else state.standing.epoch
        witness = state.witness(epoch)
        held = {bucket: cursor for bucket, cursor in state.cursors.items() if cursor > 0}
        return ExchangeState(
            generation=state.generation,
            epoch=epoch,
            version=witness[0] if witness else 0,
            cursors=dict(state.spool.cursors) if state.spool else held,
            acked=state.reached(pending[0] - 1 if pending else head.seq),
            head_seq=head.seq,
            pending=len(pending),
            witness=witness,
            witness_signature=state.witness_signature(epoch),
        )

    def outbox_from(self, seq: int, *, lines_max: int, bytes_max: int) -> Sequence[OutboxLine]:
        """Recorded lines from a place on, within the limits."""
        lines: list[OutboxLine] = []
        for entry in self.entries():
            if entry.seq < seq:
                continue
            if lines and entry.seq != lines[-1].seq + 1:
                break
            bytes_max -= len(entry.line) + 1
            if len(lines) == lines_max or (bytes_max < 0 and lines):
                break
            lines.append(OutboxLine(seq=entry.seq, line=entry.line, digest=entry.digest, signature=entry.signature))
        return lines

    def spool(self, state: ExchangeState, lines: Sequence[bytes], checkpoint: Checkpoint) -> ExchangeState:
        """Keep an intermediate page as it came."""
        with self._changing() as now:
            before = self._fresh(state)
            cursors = dict(before.cursors) if before.epoch == checkpoint.epoch else {}
            for line in lines:
                said = read_line(line)
                if isinstance(said, BucketLine) and said.state != "kept":
                    cursors.pop(said.b, None)
            cursors |= {name: mark.version for name, mark in checkpoint.buckets.items()}
            kept = (*(now.spool.lines if now.spool else ()), *lines)
            now.spool, now.signed = Spool(epoch=checkpoint.epoch, cursors=cursors, lines=kept), checkpoint
            now.generation += 1
        return self.exchange_state()

    def settle(self, state: ExchangeState, welcome: Welcome, lines: Iterable[bytes], checkpoint: Checkpoint) -> Settled:
        """Take a checkpoint, whole."""
        contact = Contact(
            server_time=welcome.time,
            device_ms=self._system.now_ms(),
            monotonic_ms=self._system.monotonic_ms(),
            boot=self._system.boot_id(),
        )
        with self._changing() as now:
            self._fresh(state)
            if now.standing.epoch not in (None, checkpoint.epoch):
                now.reopen(now.reached(welcome.acked))
            rows, verdicts = 0, list[tuple[int, Verdict]]()
            for line in self.downloads.expanded([*(now.spool.lines if now.spool else ()), *lines]):
                said = read_line(line)
                if isinstance(said, RowsLine):
                    now.apply(said)
                    rows += len(said.put) + len(said.gone)
                elif isinstance(said, BucketLine):
                    now.mark(said)
                elif isinstance(said, VerdictLine):
                    verdicts.extend(now.answer(said, welcome.time))
            mismatched = now.finish(checkpoint)
            witness = (checkpoint.journal.version, checkpoint.journal.hash)
            now.standing = Standing(
                epoch=checkpoint.epoch,
                version=checkpoint.version,
                witness=witness,
                contact=contact,
                witness_signature=checkpoint.journal.sig,
                leased=renewed(now.standing, welcome, contact),
            )
            self._relay(now)
            now.spool = now.signed = now.rewound = None
            now.generation += 1
        self.downloads.forget()
        self.downloads.accept()
        return Settled(rows=rows, verdicts=tuple(verdicts), mismatched=mismatched)

    def drop_spool(self) -> None:
        """Forget spooled pages; an exchange that counted on them becomes stale."""
        with self._changing() as now:
            if now.spool is not None:
                now.spool = None
                now.generation += 1
                self.downloads.forget()

    def rewind(self, acked: int) -> None:
        """Keep where the server stands, as far back as it was found since the last checkpoint."""
        with self._changing() as now:
            now.spool, now.rewound = None, now.reached(acked)
            now.generation += 1
        self.downloads.forget()

    def trust(self, server_keys: Mapping[str, str], sealing_key: str | None) -> None:
        """Keep the server's keys."""
        self._identity = replace(self.identity(), server_keys=dict(server_keys), sealing_key=sealing_key)

    def wipe(self, head_seq: int) -> None:
        """Forget everything, and who this was."""
        with self._changing() as now:
            if self._head().seq != head_seq:
                raise StaleExchange
            empty = State()
            for name in State.__slots__:
                setattr(now, name, getattr(empty, name))
        self._identity, self._is_wiped = None, True

    def known_before(self, seq: int) -> tuple[int, bytes] | None:
        """Of lines that are kept, and of those that they follow on from."""
        known = {entry.seq: entry.digest for entry in self.entries()} | self._state.joints
        known.setdefault(*self._state.before)
        return max((one for one in known.items() if one[0] < seq), default=None)

    def first_beyond(self, version: int) -> int | None:
        """Of what is answered."""
        found = (entry.seq for entry in self.entries(LineStatus.ANSWERED) if (entry.version or 0) > version)
        return next(found, None)

    def told_from(self, seq: int, told_max: int) -> Sequence[Told]:
        """The last verdict of each line that was ever told one."""
        told = [
            (entry, entry.verdict or next(reversed(entry.earlier), None))
            for entry in self.entries()
            if seq <= entry.seq < seq + told_max
        ]
        return [
            Told(seq=entry.seq, status=verdict.status.value, version=entry.version or 0, rule=verdict.rule)
            for entry, verdict in told
            if verdict
        ]

    @contextmanager
    def rebasing(self, state: ExchangeState, head: LocalHead, first: int) -> Iterator[Rebasing]:
        """One transaction in which the chain goes on behind another head."""
        with self._changing() as now:
            self._fresh(state)
            kept = now.rebase(head, first)
            self._relay(now)
            now.generation += 1
            yield Rebasing(recording=_MemoryRecording(now, self._head()), kept=kept, registry=self._registry)
        self.downloads.forget()

    @contextmanager
    def recording(self) -> Iterator[_MemoryRecording]:
        """One transaction that appends to the chain."""
        with self._changing() as now:
            yield _MemoryRecording(now, self._head())

    def standing(self) -> Standing:
        """The last checkpoint."""
        return self._state.standing

    def saw(self, reading: Reading) -> None:
        """Keep the latest time."""
        with self._changing() as now:
            now.standing = with_reading(now.standing, reading)

    def pending_count(self) -> int:
        """How many lines the server has not answered."""
        return len(self.entries(LineStatus.PENDING))

    def row(self, entity: str, row_id: str) -> Row | None:
        """One row as the user sees it."""
        with self._lock:
            base, fields = self._state.base.get((entity, row_id)), self._state.overlay.get((entity, row_id))
        if fields is None and base is None:
            return None
        return Row(version=base.version if base else None, fields=fields or (base.fields if base else {}))

    def base_rows(self, entity: str) -> Sequence[tuple[str, Fields]]:
        """All base rows of an entity, by id."""
        with self._lock:
            return sorted((key[1], row.fields) for key, row in self._state.base.items() if key[0] == entity)

    def query(self, sql: str, parameters: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """The rows of one reading statement, asked of a copy of the rows."""
        from client_sdk.adapters.sqlite import scratch  # noqa: PLC0415  simulations never query

        with self._lock:
            base = [(*key, row.version, row.fields) for key, row in self._state.base.items()]
            overlay = dict(self._state.overlay)
        return scratch.query(self._registry, base, overlay, sql, parameters)

    def entries(self, status: LineStatus | None = None) -> Sequence[Entry]:
        """Recorded lines by place."""
        with self._lock:
            return [entry for _, entry in sorted(self._state.entries.items()) if status in (None, entry.status)]

    def dismissed(self) -> frozenset[str]:
        """What the user has seen."""
        return frozenset(self._state.dismissed)

    def dismiss(self, key: str) -> None:
        """Keep that the user has seen this."""
        self._state.dismissed.add(key)

    def contents(self) -> Contents:
        """Everything that `verify` compares."""
        with self._lock:
            state = self._state
            marks = [
                BaseMark(bucket=row.bucket, entity=entity, row_id=row_id, version=row.version)
                for (entity, row_id), row in state.base.items()
            ]
            return Contents(
                head=self._head(),
                before=state.before,
                joints=dict(state.joints),
                entries=self.entries(),
                marks=marks,
                sums=state.sums(),
                overlay=dict(state.overlay),
                base={key: row.fields for key, row in state.base.items()},
            )

    @contextmanager
    def _changing(self) -> Iterator[State]:
        with self._lock:
            before = self._state.copied()
            try:
                yield self._state
            except BaseException:
                self._state = before
                raise

    def _fresh(self, state: ExchangeState) -> ExchangeState:
        now = self.exchange_state()
        if now.generation != state.generation:
            raise StaleExchange
        return now

    def _head(self) -> LocalHead:
        if self._state.head is None:
            raise ReplicaWiped if self._is_wiped else NotEnrolled
        return self._state.head

    def _relay(self, now: State) -> None:
        identity = self.identity()
        now.overlay = {}

        def visible(entity: str, row_id: str) -> Fields | None:
            base = now.base.get((entity, row_id))
            return now.overlay.get((entity, row_id), base.fields if base else None)

        for entry in self.entries(LineStatus.PENDING):
            parsed = parse_line(
                entry.line, town=identity.town_id, device=identity.device_id, registry=self._registry
            ).change_set
            if isinstance(parsed, ChangeSet):
                decision, touch = decide_pending(parsed, visible, self._registry, identity)
                now.overlay.update(decision.rows)
                now.entries[entry.seq] = replace(entry, reads=touch.reads, writes=touch.writes)


class _MemoryRecording:
    """The `Recording` port over the values."""

    def __init__(self, state: State, head: LocalHead) -> None:
        self._state = state
        self._head = head

    @property
    def head(self) -> LocalHead:
        return self._head

    @property
    def standing(self) -> Standing:
        return self._state.standing

    def row(self, entity: str, row_id: str) -> Fields | None:
        base = self._state.base.get((entity, row_id))
        return self._state.overlay.get((entity, row_id), base.fields if base else None)

    def append(self, entry: Entry, running: Running, rows: Mapping[RowKey, Fields]) -> None:
        assert entry.seq == self._head.seq + 1, (entry.seq, self._head.seq)
        self._state.entries[entry.seq] = entry
        self._state.overlay.update(rows)
        self._head = LocalHead(
            seq=entry.seq,
            digest=entry.digest,
            signature=entry.signature,
            at=entry.at,
            totals=running.totals,
            receipts=running.receipts,
        )
        self._state.head = self._head

    def first_pending(self) -> bytes | None:
        pending = [seq for seq, entry in self._state.entries.items() if entry.status is LineStatus.PENDING]
        return self._state.entries[min(pending)].line if pending else None

    def saw(self, reading: Reading) -> None:
        self._state.standing = with_reading(self._state.standing, reading)
