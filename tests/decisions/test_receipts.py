"""Numbers of receipts: each is kept with what it was given for, and one that was given twice is seen."""

from __future__ import annotations

from dataclasses import replace

from sync.engine.chain import encode_bytes, line_hash
from sync.engine.town import Submitted
from sync.kernel.changeset import ChangeSet, Replaced
from sync.kernel.receipts import receipt_label
from sync.modules.billing import TakePayment
from sync.modules.billing.marks import DOUBLE_TAP_MS
from sync.modules.histories import ReleaseDevice
from sync.modules.receipts import receipt_id
from sync.protocol.codec import encode_change_set, parse_line
from tests.support.decisions import ACCEPTED, Left, adjusted, told
from tests.support.town_in_memory import MarketTown


def pay(town: MarketTown, order: str, *, receipt: int | None) -> tuple[str, object]:
    """3.00 for the order with this number on the receipt: the payment's id, and what was decided."""
    town.now_ms += DOUBLE_TAP_MS
    payment = TakePayment(id=town.new_id(), order=order, amount="3.00", currency="KES")
    line = town.line(town.van_a, town.driver_a, payment, receipt=receipt)
    return payment.id, told(town, town.take([line]).answered[0])


def test_a_receipt_is_kept_with_its_number_its_place_and_its_payments(town: MarketTown) -> None:
    order = town.places()

    payment, answered = pay(town, order, receipt=1)

    row = town.row("receipt", receipt_id(town.van_a.id, 1))
    assert answered == ACCEPTED
    assert {name: row[name] for name in ("device_id", "number", "seq", "line_seq", "payment_ids")} == {
        "device_id": town.van_a.id,
        "number": 1,
        "seq": town.van_a.seq,
        "line_seq": town.van_a.seq,
        "payment_ids": [payment],
    }


def test_a_receipt_of_two_payments_names_both(town: MarketTown) -> None:
    order = town.places()
    payments = [TakePayment(id=town.new_id(), order=order, amount=amount, currency="KES") for amount in ("3", "6")]

    town.take([town.line(town.van_a, town.driver_a, *payments, receipt=1)])

    assert [row["payment_ids"] for row in town.rows_of("receipt").values()] == [[payment.id for payment in payments]]


def test_an_act_without_a_number_has_no_receipt(town: MarketTown) -> None:
    pay(town, town.places(), receipt=None)

    assert town.rows_of("receipt") == {}


def test_receipts_number_reused_keeps_both_and_suspends_the_device(town: MarketTown) -> None:
    order = town.places()
    first, _ = pay(town, order, receipt=1)
    place = town.van_a.seq

    second, answered = pay(town, order, receipt=1)

    kept = town.rows_of("receipt")
    assert [row["payment_ids"] for row in kept.values()] == [[first], [second]]
    assert town.row("payment", second)["amount_minor"] == 300
    assert town.row("device", town.van_a.id)["status"] == "suspended"
    label = receipt_label(town.van_a.id, 1)
    assert answered == adjusted(
        "receipts.number_reused",
        Left(
            kind="receipt_number_reused",
            sentence=f"The number of receipt {label} was given before, at place {place} of the device's chain: there "
            "are two of this device, or it was tampered with. The payment is kept, the device was suspended.",
            about=("receipt", list(kept)[1]),
            by="payment.take",
            said={"number": 1, "seq": place + 1},
            had={"seq": place},
            outcome="both kept",
            task=f"Find out which device gave receipt {label} twice",
        ),
    )


def pay_anew(town: MarketTown, order: str, number: int) -> None:
    """What another copy of the van took under this number, written anew."""
    town.now_ms += DOUBLE_TAP_MS
    payment = TakePayment(id=town.new_id(), order=order, amount="3.00", currency="KES")
    made = town.line(town.van_a, town.driver_a, payment, receipt=number).change_set
    assert isinstance(made, ChangeSet)
    hash_of = encode_bytes(line_hash(payment.id.encode()))
    line = encode_change_set(replace(made, replaces=Replaced(device=town.van_a.id, seq=number + 40, hash=hash_of)))
    digest = line_hash(line)
    read = parse_line(line, town=town.town_id, device=town.van_a.id, registry=town.registry).change_set
    town.take([Submitted(device=made.device, seq=made.seq, line=line, digest=digest, change_set=read)])
    town.van_a.digest = digest


def test_what_a_released_device_writes_anew_does_not_suspend_it_again(town: MarketTown) -> None:
    order = town.places()
    for number in (1, 2):
        pay(town, order, receipt=number)
    pay_anew(town, order, 1)
    assert town.row("device", town.van_a.id)["status"] == "suspended"
    town.office(ReleaseDevice(device=town.van_a.id, reason="there are two"))

    pay_anew(town, order, 2)

    assert town.row("device", town.van_a.id)["status"] == "active"
    kinds = [row["kind"] for row in town.rows_of("conflict").values()]
    assert kinds.count("receipt_number_reused") == 2
    pay(town, order, receipt=1)
    assert town.row("device", town.van_a.id)["status"] == "suspended"


def test_a_number_that_is_given_a_third_time_is_told_again(town: MarketTown) -> None:
    order = town.places()
    for _ in range(3):
        pay(town, order, receipt=1)

    assert len(town.rows_of("receipt")) == 3
    assert [row["kind"] for row in town.rows_of("conflict").values()] == ["receipt_number_reused"] * 2
