"""What an admin decides when histories disagree, and lines that stand for others: each takes effect once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync.engine.chain import encode_bytes, line_hash
from sync.engine.town import Answered, Submitted
from sync.kernel.changeset import ChangeSet, Operation, Replaced
from sync.kernel.replacing import replacement_key
from sync.modules.commerce import ReceiveStock
from sync.modules.histories import (
    BeginEpoch,
    LineMark,
    NoteChangedVerdict,
    RejectLines,
    ReleaseDevice,
    VerdictMark,
)
from sync.modules.identity import RevokeDevice, SuspendDevice
from sync.protocol.codec import encode_change_set, parse_line
from tests.support.decisions import ACCEPTED, noted, refused, shelf, told
from tests.support.shelves import MINUTE_MS, count_of, counts
from tests.support.town_in_memory import MarketTown

LOST = Replaced(device="", seq=7, hash=encode_bytes(line_hash(b"a line of another copy")))


def receive(town: MarketTown) -> ReceiveStock:
    return ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=1)


def standing_for(town: MarketTown, replaced: Replaced, *operations: Operation, base: int | None = None) -> Submitted:
    """The tablet's next line, which stands for another one of the tablet's."""
    made = town.line(town.tablet, town.picker, *operations, base=base).change_set
    assert isinstance(made, ChangeSet)
    line = encode_change_set(replace(made, replaces=replace(replaced, device=town.tablet.id)))
    read = parse_line(line, town=town.town_id, device=town.tablet.id, registry=town.registry).change_set
    town.tablet.digest = line_hash(line)
    return Submitted(device=made.device, seq=made.seq, line=line, digest=line_hash(line), change_set=read)


def take(town: MarketTown, *lines: Submitted) -> list[Answered]:
    return list(town.take(lines).answered)


def outcome(town: MarketTown, replaced: Replaced) -> tuple[str, int]:
    row = town.row(*replacement_key(replaced.hash))
    return row["outcome"], row["by_seq"]


@pytest.mark.parametrize("is_one_batch", [False, True])
def test_engine_booked_before_is_said_of_a_second_line_for_the_same_one(
    town: MarketTown, *, is_one_batch: bool
) -> None:
    lines = [standing_for(town, LOST, receive(town)) for _ in range(2)]

    batches = [lines] if is_one_batch else [[line] for line in lines]
    first, second = (answered for batch in batches for answered in take(town, *batch))

    assert told(town, first) == ACCEPTED
    said = f"This was booked before, by change set {lines[0].seq}; it counts once."
    assert told(town, second) == noted("engine.booked_before", said)
    assert (outcome(town, LOST), shelf(town, town.tea)) == (("booked", lines[0].seq), (11, 0))


def test_engine_booked_before_is_said_of_a_line_for_one_that_took_effect_itself(town: MarketTown) -> None:
    itself = town.line(town.tablet, town.picker, receive(town))
    replaced = Replaced(device="", seq=itself.seq, hash=encode_bytes(itself.digest))
    again = standing_for(town, replaced, receive(town))

    first, second = take(town, itself, again)

    assert told(town, first) == ACCEPTED
    said = f"This was booked before, by change set {itself.seq}; it counts once."
    assert told(town, second) == noted("engine.booked_before", said)
    assert shelf(town, town.tea) == (11, 0)


def test_a_line_that_stands_for_one_of_another_device_has_no_effect_and_does_not_use_that_one_up(
    town: MarketTown,
) -> None:
    made = town.line(town.van_a, town.driver_a, receive(town)).change_set
    assert isinstance(made, ChangeSet)
    line = encode_change_set(replace(made, replaces=replace(LOST, device=town.tablet.id)))
    read = parse_line(line, town=town.town_id, device=town.van_a.id, registry=town.registry).change_set
    grab = Submitted(device=town.van_a.id, seq=made.seq, line=line, digest=line_hash(line), change_set=read)

    grabbed, again = take(town, grab, standing_for(town, LOST, receive(town)))

    assert (grabbed.verdict.status, grabbed.verdict.rule) == ("quarantined", "foreign_replaced")
    assert (told(town, again), shelf(town, town.tea)) == (ACCEPTED, (11, 0))


def test_what_is_written_anew_behind_a_count_may_have_been_before_it(town: MarketTown) -> None:
    contact = town.version
    town.now_ms += MINUTE_MS
    count = count_of(town, (town.tea, 11))
    town.does(town.tablet, town.picker, count, base=contact)
    town.now_ms += MINUTE_MS

    [answered] = take(town, standing_for(town, LOST, receive(town), base=contact))

    assert answered.verdict.rule == "stock.count_uncertain"
    assert (counts(town, town.tea), shelf(town, town.tea)) == ([(11, "doubted")], (12, 0))


def test_engine_line_rejected_is_said_of_a_line_for_one_that_the_office_rejected(town: MarketTown) -> None:
    mark = LineMark(seq=LOST.seq, hash=LOST.hash)
    town.office(RejectLines(device=town.tablet.id, lines=[mark], reason="stolen"))

    [answered] = take(town, standing_for(town, LOST, receive(town)))

    assert (answered.verdict.status, answered.verdict.rule) == ("quarantined", "engine.line_rejected")
    assert (outcome(town, LOST)[0], shelf(town, town.tea)) == ("rejected", (10, 0))


def test_devices_lines_rejected_leave_one_task_in_the_office_and_tell_the_device(town: MarketTown) -> None:
    marks = [LineMark(seq=seq, hash=encode_bytes(line_hash(bytes([seq])))) for seq in (7, 8)]
    reject = RejectLines(device=town.tablet.id, lines=marks, reason="stolen")

    answered, again = town.office(reject), town.office(reject)

    sentence = "The office has rejected 2 change sets of this device: stolen. They are kept, without effect."
    assert told_of(town, answered) == ("devices.lines_rejected", sentence, 7)
    assert told(town, again) == ACCEPTED
    [task] = town.rows_of("task").values()
    assert task["text"].startswith("Find out what the rejected change sets")


def test_devices_verdict_changed_keeps_both_verdicts_once(town: MarketTown) -> None:
    before, now = VerdictMark(status="accepted", version=9), VerdictMark(status="refused", version=4, rule="some.rule")
    note = NoteChangedVerdict(device=town.tablet.id, seq=3, before=before, now=now)

    answered = town.office(note, actor=town.server.id)
    again = town.office(note, actor=town.server.id)

    sentence = "The server lost what it had decided: change set 3 was accepted, and is refused since."
    assert told_of(town, answered) == ("devices.verdict_changed", sentence, 3)
    [conflict] = town.rows_of("conflict").values()
    assert (conflict["said"], conflict["had"]) == (before.model_dump(), now.model_dump())
    assert told(town, again) == ACCEPTED


def test_devices_release_revoked_is_refused(town: MarketTown) -> None:
    town.office(RevokeDevice(device=town.tablet.id, reason="stolen"))

    answered = town.office(ReleaseDevice(device=town.tablet.id, reason="found"))

    assert told(town, answered) == refused("devices.release_revoked", "A revoked device stays revoked: enrol it anew.")


def test_a_released_device_is_active_again_and_the_release_is_remembered(town: MarketTown) -> None:
    town.office(SuspendDevice(device=town.tablet.id, reason="left in a taxi"))

    assert told(town, town.office(ReleaseDevice(device=town.tablet.id, reason="found"))) == ACCEPTED

    device = town.row("device", town.tablet.id)
    assert (device["status"], device["reason"], device["ended_at"]) == ("active", None, None)
    assert town.row("device_release", town.tablet.id)["reason"] == "found"


def test_an_epoch_begins_without_changing_a_row(town: MarketTown) -> None:
    rows = dict(town.rows)
    journal = encode_bytes(town.journal_digest)

    answered = town.office(BeginEpoch(before=town.epoch, version=town.version, journal=journal, reason="restored"))

    assert (told(town, answered), town.rows) == (ACCEPTED, rows)


def told_of(town: MarketTown, answered: Answered) -> tuple[str | None, str, int]:
    """Rule, sentence and line of the one conflict, which the tablet holds."""
    assert answered.verdict.status == "adjusted"
    [conflict_id] = answered.verdict.conflicts
    assert ("conflict", conflict_id) in town.bucket(f"device:{town.tablet.id}")
    row = town.row("conflict", conflict_id)
    return answered.verdict.rule, row["sentence"], row["seq"]
