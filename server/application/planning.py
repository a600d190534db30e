"""What a batch will decide: the evidence of each waiter is checked, its new lines are put into the book in order.

Everything it looks at was read under the town's lock (`server.application.batch.Book`, the lane's rows).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from server.application.batch import (
    FAILURES_MAX,
    Authored,
    Book,
    DeviceBarred,
    DeviceRevoked,
    Upload,
    Waiting,
    authored_line,
    failing,
)
from server.application.history_ports import EpochRecord
from server.application.lanes import Lane
from server.application.ports import Signer, System
from sync.engine.chain import ChainHead, encode_bytes, genesis_hash, head_message, split_new
from sync.engine.town import Submitted, TownHead
from sync.kernel.cases import LINE_REJECTED
from sync.kernel.changeset import ChangeSet, Fields
from sync.kernel.clock import format_time
from sync.kernel.module import Registry
from sync.modules.histories import BeginEpoch


class Planner:
    """Checks evidence and writes the town's own lines."""

    def __init__(self, registry: Registry, signer: Signer, system: System) -> None:
        self._registry = registry
        self._signer = signer
        self._system = system

    def plan(self, lane: Lane, head: TownHead, book: Book, waiting: Waiting) -> list[tuple[str, int]]:
        """The positions whose verdicts answer this waiter; its new lines are in the book then.

        Raises the faults of a chain, `DeviceBarred`, `DeviceRevoked`, and what the wire would refuse of the town's own.
        """
        if isinstance(waiting.work, Authored):
            return [self._author(lane, head, book, waiting.work)]
        return _upload(lane, book, waiting.work, waiting)

    def begun(self, head: TownHead, batch: Sequence[Waiting]) -> EpochRecord | None:
        """The signed record of the epoch that this batch begins; its operation is made out to where the town stands."""
        for waiting in batch:
            work = waiting.work
            if isinstance(work, Authored) and work.begins:
                digest = encode_bytes(head.journal)
                operation = BeginEpoch(
                    id=work.begins, before=head.epoch, version=head.version, journal=digest, reason=work.reason
                )
                waiting.work = replace(work, operations=[operation])
                record = EpochRecord(
                    town=head.town,
                    epoch=work.begins,
                    before=head.epoch,
                    version=head.version,
                    journal=head.journal,
                    begun_at=format_time(self._system.now_ms()),
                    reason=operation.reason,
                )
                return replace(record, signature=self._signer.sign(record.message()))
        return None

    def _author(self, lane: Lane, head: TownHead, book: Book, work: Authored) -> tuple[str, int]:
        if earlier := book.earlier_answer(work.request):
            return earlier
        device = lane.rows[("device", book.server)]
        line = authored_line(
            head,
            book,
            work,
            device.fields if device else None,
            now_ms=self._system.now_ms(),
            registry=self._registry,
        )
        book.note_answer(work.request, line.seq)
        book.add(_marked(line, book), self._signer.sign(head_message(line.device, line.seq, line.digest)))
        return line.device, line.seq


def replaced_positions(batch: Sequence[Waiting]) -> Iterator[tuple[str, int]]:
    """Where the lines were that lines of this batch stand for."""
    for waiting in batch:
        if isinstance(waiting.work, Authored) and waiting.work.replaces:
            yield waiting.work.replaces.device, waiting.work.replaces.seq
        for submitted in waiting.submitted:
            if isinstance(submitted.change_set, ChangeSet) and submitted.change_set.replaces:
                yield submitted.change_set.replaces.device, submitted.change_set.replaces.seq


def _upload(lane: Lane, book: Book, work: Upload, waiting: Waiting) -> list[tuple[str, int]]:
    device_id = work.device_id
    device = _device(lane, work)
    chain = book.heads.get(device_id) or ChainHead(seq=0, digest=genesis_hash(device["certificate"]))
    known = {s.seq: book.digest_of(device_id, s.seq) for s in waiting.submitted if s.seq <= chain.seq}
    _, fresh = split_new(waiting.links, chain, known)
    for submitted in waiting.submitted[len(waiting.submitted) - len(fresh) :]:
        count = book.failures.get((device_id, submitted.digest), 0)
        is_last = submitted.seq == work.from_seq + len(work.lines) - 1
        line = failing(submitted) if count >= FAILURES_MAX else submitted
        if work.is_rejected:
            text = LINE_REJECTED.explain({"seq": submitted.seq})
            line = replace(submitted, failure=text, failure_rule=LINE_REJECTED.id)
        book.add(_marked(line, book), work.signature if is_last else None)
    return [(device_id, submitted.seq) for submitted in waiting.submitted]


def _device(lane: Lane, work: Upload) -> Fields:
    """The device's row, if it may send this."""
    device = lane.rows[("device", work.device_id)]
    status = device.fields["status"] if device else "revoked"
    is_taken = status == "active" or work.is_rejected or (work.is_rescued and status == "revoked")
    if device is None or not is_taken:
        raise DeviceRevoked if status == "revoked" else DeviceBarred
    return device.fields


def _marked(line: Submitted, book: Book) -> Submitted:
    """With whether the line that it stands for took effect in an earlier version."""
    replaced = line.change_set.replaces if isinstance(line.change_set, ChangeSet) else None
    return replace(line, is_booked=True) if replaced and book.is_booked(replaced) else line
