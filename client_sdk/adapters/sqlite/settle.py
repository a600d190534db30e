"""Taking a checkpoint: spooled pages, rows, verdicts, the overlay of what is still pending, all in one transaction.

The caller holds the transaction and has checked that the exchange is not stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import apsw
import orjson

from client_sdk.adapters.sqlite import meta, outbox
from client_sdk.adapters.sqlite.pages import PageWriter
from client_sdk.application.answer import RowsLine, check_hash, read_line, read_verdict, verdict_of
from client_sdk.application.leases import renewed
from client_sdk.application.overlay import Touch, decide_pending, rebuild
from client_sdk.application.ports import Contact, Identity, Settled, Standing
from sync.kernel.changeset import ChangeSet, Fields, RowKey, Verdict
from sync.kernel.clock import format_time, parse_time
from sync.kernel.module import Registry
from sync.protocol.codec import parse_line
from sync.protocol.messages import BucketLine, Checkpoint, VerdictLine, Welcome

ANSWERED_KEPT_MS = 30 * 24 * 3600 * 1000
"""How long answered lines are kept, in case the server loses its end and asks for them again."""

# What the server lost with its old epoch is pending again; the verdict that was told then is kept beside.
_REOPEN = """UPDATE outbox SET status = 'pending', earlier = json_insert(earlier, '$[#]', json(verdict)),
    verdict = NULL, version = NULL, answered_at = NULL WHERE status = 'answered' AND seq > ? RETURNING reads, writes"""
_ANSWER = "UPDATE outbox SET status = 'answered', verdict = ?, version = ?, answered_at = ? WHERE seq = ?"
_KEEP_EARLIER = "UPDATE outbox SET earlier = json_insert(earlier, '$[#]', json(verdict)) WHERE seq = ?"
_ASKED = "SELECT digest, verdict, version FROM outbox WHERE seq = ?"
_FIRST_KEPT = "SELECT min(seq) FROM outbox WHERE status = 'pending' OR answered_at >= ? OR seq = ?"
_LET_GO = "DELETE FROM outbox WHERE seq < ?"
_TOUCH = "UPDATE outbox SET reads = ?, writes = ? WHERE seq = ?"


class Settling:
    """One checkpoint in the taking."""

    def __init__(
        self, connection: apsw.Connection, identity: Identity, registry: Registry, welcome: Welcome, contact: Contact
    ) -> None:
        self._connection = connection
        self._identity = identity
        self._registry = registry
        self._welcome = welcome
        self._contact = contact
        self._verdicts: list[tuple[int, Verdict]] = []
        self._answers: list[tuple[str, int, str, int]] = []
        self._dirty: set[RowKey] = set()

    def take(self, lines: Iterable[bytes], checkpoint: Checkpoint) -> Settled:
        """Do all of it, in the order that makes each step see what it needs."""
        standing = meta.read_standing(self._connection)
        if standing.epoch is not None and standing.epoch != checkpoint.epoch:
            self._reopen()
        for line in lines:
            said = read_line(line)
            if isinstance(said, RowsLine):
                self._pages.apply(said)
            elif isinstance(said, VerdictLine):
                self._answer(said)
            elif isinstance(said, BucketLine):
                self._pages.bucket(said)
        self._write_answers()
        mismatched = self._pages.finish(checkpoint)
        self._relay()
        self._let_go()
        witness = (checkpoint.journal.version, checkpoint.journal.hash)
        meta.write_standing(
            self._connection,
            Standing(
                epoch=checkpoint.epoch,
                version=checkpoint.version,
                witness=witness,
                contact=self._contact,
                witness_signature=checkpoint.journal.sig,
                leased=renewed(standing, self._welcome, self._contact),
            ),
        )
        return Settled(rows=self._pages.rows, verdicts=tuple(self._verdicts), mismatched=mismatched)

    @cached_property
    def _pending(self) -> dict[int, tuple[bytes, str, str]]:
        """What waits for its verdict; what it touched stays as it is kept, since most of it is answered now."""
        return outbox.pending_lines(self._connection)

    @cached_property
    def _touches(self) -> dict[int, Touch]:
        """What is pending still when the first row is heard: as a rule, verdicts come before all rows."""
        return {
            seq: Touch(seq=seq, reads=outbox.decode_keys(reads), writes=outbox.decode_keys(writes))
            for seq, (_, reads, writes) in self._pending.items()
        }

    @cached_property
    def _pages(self) -> PageWriter:
        watched = {key for touch in self._touches.values() for key in touch.reads | touch.writes}
        return PageWriter(self._connection, watched)

    def _reopen(self) -> None:
        kept = meta.reached(self._connection, self._welcome.acked)
        reopened: list[tuple[str, str]] = list(self._connection.execute(_REOPEN, (kept,)))
        for reads, writes in reopened:
            # Their effect was base and becomes overlay again, whatever happens to the base rows.
            self._dirty |= outbox.decode_keys(reads) | outbox.decode_keys(writes)

    def _answer(self, line: VerdictLine) -> None:
        verdict = verdict_of(line)
        digest, _, writes = self._pending.pop(line.seq, (None, "", "[]"))
        if digest is not None:
            check_hash(line, digest)
            self._dirty |= outbox.decode_keys(writes)
        elif self._is_repeated(line, verdict):
            return
        said = orjson.dumps(verdict.as_dict()).decode()
        self._answers.append((said, line.version, self._welcome.time, line.seq))
        self._verdicts.append((line.seq, verdict))

    def _is_repeated(self, line: VerdictLine, verdict: Verdict) -> bool:
        """Whether the verdict on an answered line is the one it has; if not, the one it has is kept beside."""
        self._write_answers()
        found: list[tuple[bytes, str, int]] = list(self._connection.execute(_ASKED, (line.seq,)))
        check_hash(line, found[0][0] if found else None)
        _, kept, version = found[0]
        if (read_verdict(orjson.loads(kept)), version) == (verdict, line.version):
            return True  # the same verdict again, after a lost answer
        self._connection.execute(_KEEP_EARLIER, (line.seq,))
        return False

    def _write_answers(self) -> None:
        self._connection.executemany(_ANSWER, self._answers)
        self._answers.clear()

    def _relay(self) -> None:
        """Decide the connected part of the pending work again on the new base."""
        dirty = self._dirty | self._pages.dirty
        if not dirty:
            return
        pending = [touch for seq, touch in self._touches.items() if seq in self._pending]
        rebuilt = rebuild(
            pending,
            dirty,
            read=self._read,
            base=self._base,
            overlay=self._overlay,
            registry=self._registry,
            identity=self._identity,
        )
        outbox.drop_overlay(self._connection, rebuilt.cleared)
        outbox.put_overlay(self._connection, rebuilt.rows)
        changed = [touch for touch in rebuilt.touches if touch != self._touches[touch.seq]]
        self._connection.executemany(_TOUCH, _encoded(changed))

    def _read(self, seq: int) -> ChangeSet | None:
        return _change_set(self._connection, seq, self._identity, self._registry)

    def _base(self, entity: str, row_id: str) -> Fields | None:
        return outbox.base_fields(self._connection, entity, row_id)

    def _overlay(self, entity: str, row_id: str) -> Fields | None:
        return outbox.overlay_fields(self._connection, entity, row_id)

    def _let_go(self) -> None:
        """Forget answered lines that are old enough, from the beginning up to the first that must stay."""
        oldest = format_time(max(0, parse_time(self._welcome.time) - ANSWERED_KEPT_MS))
        head = meta.read_head(self._connection)
        first: int = self._connection.execute(_FIRST_KEPT, (oldest, head.seq)).get or 0
        before = outbox.known_before(self._connection, first)
        if before is not None and before[0] == first - 1 and before != meta.read_before(self._connection):
            self._connection.execute(_LET_GO, (first,))
            meta.write_before(self._connection, *before)
            joints = meta.read_joints(self._connection).items()
            meta.write_joints(self._connection, {seq: digest for seq, digest in joints if seq >= first})


def relay(connection: apsw.Connection, identity: Identity, registry: Registry) -> None:
    """Decide everything that is pending over base rows that nothing covers yet."""

    def visible(entity: str, row_id: str) -> Fields | None:
        overlay = outbox.overlay_fields(connection, entity, row_id)
        return outbox.base_fields(connection, entity, row_id) if overlay is None else overlay

    touches = []
    for seq in outbox.pending_lines(connection):
        change_set = _change_set(connection, seq, identity, registry)
        if change_set is not None:
            decision, touch = decide_pending(change_set, visible, registry, identity)
            outbox.put_overlay(connection, decision.rows)
            touches.append(touch)
    connection.executemany(_TOUCH, _encoded(touches))


def _change_set(connection: apsw.Connection, seq: int, identity: Identity, registry: Registry) -> ChangeSet | None:
    line: bytes = connection.execute("SELECT line FROM outbox WHERE seq = ?", (seq,)).get
    change_set = parse_line(line, town=identity.town_id, device=identity.device_id, registry=registry).change_set
    return change_set if isinstance(change_set, ChangeSet) else None


def _encoded(touches: Iterable[Touch]) -> Iterator[tuple[str, str, int]]:
    return ((outbox.encode_keys(touch.reads), outbox.encode_keys(touch.writes), touch.seq) for touch in touches)
