"""Record one business action: guess its outcome, write its line once, chain it, sign it, keep it.

Everything it builds on (head, clock, totals, rows) is read inside the transaction that appends the line, so two
processes on one file make one chain. The cost does not depend on how much is pending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client_sdk.application.leases import check, note_time
from client_sdk.application.overlay import decide_pending
from client_sdk.application.ports import (
    Entry,
    Identity,
    LineStatus,
    LocalHead,
    Recording,
    Running,
    Standing,
    Store,
    System,
)
from client_sdk.application.receipts import PrintedReceipt, printed_receipt, takes_money
from client_sdk.errors import NeverSynced, NothingToName, Refused
from sync.engine.chain import encode_bytes, head_message, line_hash, sign
from sync.engine.leases import MONEY
from sync.kernel.changeset import ChangeSet, Operation, Status, Verdict
from sync.kernel.clock import Hlc
from sync.kernel.errors import LimitExceeded, Malformed
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.kernel.module import Registry
from sync.kernel.money import to_amount, to_minor
from sync.protocol import limits
from sync.protocol.codec import encode_change_set, parse_line

Totals = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What was recorded: its place in the chain, its reading of the clock, the local verdict, the ids it made.

    `receipt` is for whoever paid; None when no money was taken.
    """

    seq: int
    at: str
    hash: str
    guess: Verdict
    ids: tuple[str, ...]
    receipt: PrintedReceipt | None = None

    @property
    def id(self) -> str:
        """The id of the first operation, and of what it creates."""
        return self.ids[0]


def record(store: Store, system: System, registry: Registry, actor: str, operations: Sequence[Operation]) -> Recorded:
    """Append one change set by `actor`; durable when this returns.

    Raises `Refused` with the rule's code when the rules or the offline lease do not allow it, `NeverSynced`,
    `NothingToName` when an operation says an id and makes nothing, `UnknownOperation`, `LimitExceeded`, `Malformed`,
    and the store's named errors; in each case nothing was recorded.
    """
    if not 1 <= len(operations) <= limits.OPERATIONS_MAX:
        raise LimitExceeded(f"a change set holds 1 to {limits.OPERATIONS_MAX} operations, not {len(operations)}")
    for operation in operations:
        registry.operation(operation.op)
    identity = store.identity()
    if any(operation.op in MONEY for operation in operations):
        note_time(store, system)  # also when it is refused: who sets the clock back afterwards gains nothing
    system.reached("record.begin")
    with store.recording() as recording:
        change_set = _change_set(recording, system, identity, actor, operations)
        line = encode_change_set(change_set)
        # Read back as the server will: what the wire would refuse must not enter the chain, where it would stay.
        readable = parse_line(line, town=identity.town_id, device=identity.device_id, registry=registry).change_set
        if isinstance(readable, Malformed):
            raise readable
        decision, touch = decide_pending(readable, recording.row, registry, identity)
        verdict = decision.verdict
        if verdict.status is Status.REFUSED:
            raise Refused(verdict.rule or Refused.code, verdict.notes)
        check(recording, system, operations)
        digest = line_hash(line)
        entry = Entry(
            seq=change_set.seq,
            line=line,
            digest=digest,
            signature=sign(identity.key, head_message(identity.device_id, change_set.seq, digest)),
            at=change_set.at,
            status=LineStatus.PENDING,
            guess=verdict,
            reads=touch.reads,
            writes=touch.writes,
        )
        system.reached("record.before_insert")
        totals = totals_after(recording.head, operations)
        recording.append(entry, Running(totals=totals, receipts=change_set.receipts), decision.rows)
        system.reached("record.before_commit")
    system.reached("record.after_commit")
    ids = tuple(operation.id for operation in change_set.ops)
    receipt = printed_receipt(identity, change_set, entry)
    return Recorded(seq=entry.seq, at=entry.at, hash=encode_bytes(digest), guess=verdict, ids=ids, receipt=receipt)


def _change_set(
    recording: Recording, system: System, identity: Identity, actor: str, operations: Sequence[Operation]
) -> ChangeSet:
    head, standing = recording.head, recording.standing
    if standing.epoch is None:
        raise NeverSynced
    now_ms = system.now_ms()
    before = Hlc.parse(head.at) if head.at else Hlc(unix_ms=0, counter=0)
    receipt = head.receipts + 1 if takes_money(operations) else None
    return ChangeSet(
        town=identity.town_id,
        device=identity.device_id,
        seq=head.seq + 1,
        prev=encode_bytes(head.digest),
        actor=actor,
        base=standing.version,
        epoch=standing.epoch,
        at=str(before.tick(now_ms)),
        ops=tuple(_with_id(operation, now_ms, system).as_shown(recording.row) for operation in operations),
        totals=said_totals(totals_after(head, operations)),
        anchor=_anchor(standing, system),
        seen={"version": standing.witness[0], "journal": standing.witness[1]} if standing.witness else None,
        receipt=receipt,
        receipts=receipt or head.receipts,
    )


def _with_id(operation: Operation, now_ms: int, system: System) -> Operation:
    if not operation.id:
        return operation.model_copy(update={"id": make_id(now_ms, system.random(RANDOM_BYTES))})
    if operation.made() is None:  # whoever says an id counts on the second one being refused, and nothing would
        raise NothingToName
    return operation


def _anchor(standing: Standing, system: System) -> dict[str, Any] | None:
    """How long after a time that the server said this is, by a clock that nobody can set; None after a restart."""
    contact, boot = standing.contact, system.boot_id()
    if contact is None or contact.boot != boot:
        return None
    elapsed_ms = system.monotonic_ms() - contact.monotonic_ms
    return {"server": contact.server_time, "mono_ms": elapsed_ms, "boot": boot}


def totals_after(head: LocalHead, operations: Sequence[Operation]) -> Totals:
    """The running totals of the device, in minor units, once these operations are done."""
    totals = {currency: dict(sums) for currency, sums in head.totals.items()}
    for operation in operations:
        way = MONEY.get(operation.op)
        if way:
            said = operation.model_dump(include={"amount", "currency"})
            sums = totals.setdefault(said["currency"], {"in": 0, "out": 0})
            sums[way] += to_minor(said["amount"], said["currency"])
    return totals


def said_totals(totals: Totals) -> dict[str, dict[str, str]]:
    """Running totals as a line says them."""
    return {
        currency: {way: to_amount(minor, currency) for way, minor in sums.items()} for currency, sums in totals.items()
    }
