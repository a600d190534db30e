"""What a counter shows at once of money that it has taken by itself, with no more than the rows of its own buckets."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sync.engine.overlay import guess
from sync.kernel.changeset import ChangeSet, Decision, Fields, Operation, RowKey
from sync.modules.billing import CountDrawer, InvoiceLine, Money, OpenDrawer, PayRefund, TakePayment, VoidPayment
from sync.modules.billing.entities import till_id
from sync.modules.identity import held_buckets
from sync.modules.schools import ScheduleFee, UpsertStudent, fee_invoice_id
from tests.support.counters import CounterTown, found_counter_town
from tests.support.town_in_memory import MemoryDevice


class Offline:
    """A device with what it holds, and what it has recorded since."""

    def __init__(self, town: CounterTown, device: MemoryDevice, actor: str) -> None:
        self.town, self.device, self.actor = town, device, actor
        row = town.row("device", device.id)
        self.base: dict[RowKey, Fields] = {
            key: orjson.loads(body) for name in held_buckets(device.id, row) for key, body in town.bucket(name).items()
        }
        self.base["device", device.id] = {"role": row["role"], "user_id": row["user_id"]}
        self.overlay: dict[RowKey, Fields] = {}

    def row(self, entity: str, row_id: str) -> Fields | None:
        return self.overlay.get((entity, row_id)) or self.base.get((entity, row_id))

    def records(self, operation: Operation) -> Decision:
        change_set = self.town.line(self.device, self.actor, operation).change_set
        assert isinstance(change_set, ChangeSet)
        decision = guess(change_set, self.row, {}, self.town.registry)
        self.overlay.update(decision.rows)
        return decision


@pytest.fixture
def town() -> CounterTown:
    return found_counter_town()


def take(town: CounterTown, invoice: str, amount: str) -> TakePayment:
    return town.payment(invoice, amount)


def test_an_invoice_shows_what_was_paid_and_nobody_keeps_books_offline(town: CounterTown) -> None:
    invoice = town.bills("9.00")
    desk = Offline(town, town.desk_a, town.clerk)

    verdicts = [desk.records(take(town, invoice, amount)).verdict.status.value for amount in ("4.00", "5.00")]

    row: Any = desk.row("invoice", invoice)
    assert verdicts == ["accepted", "accepted"]
    assert (row["state"], row["paid_minor"], row["remaining_minor"]) == ("PAID", 900, 0)
    assert {entity for entity, _ in desk.overlay} == {"invoice", "payment", "settlement", "till", "drawer_session"}


def test_a_counter_is_warned_of_what_is_too_much(town: CounterTown) -> None:
    invoice = town.bills("9.00")

    decision = Offline(town, town.desk_a, town.clerk).records(take(town, invoice, "10.00"))

    assert decision.verdict.rule == "payments.invoice_overpaid"


def test_a_counter_takes_money_for_an_invoice_that_it_does_not_hold(town: CounterTown) -> None:
    desk = Offline(town, town.desk_a, town.clerk)
    payment = take(town, town.bills("9.00"), "9.00")

    assert desk.records(payment).verdict.status.value == "accepted"
    assert desk.row("payment", payment.id)


def test_a_card_payment_is_known_not_to_be_voidable_without_the_server(town: CounterTown) -> None:
    payment, _ = town.pays(town.bills("9.00"), "9.00", method="card", reference="slip 1")

    verdict = Offline(town, town.desk_a, town.clerk).records(VoidPayment(payment=payment, reason="r")).verdict

    assert (verdict.status.value, verdict.rule) == ("refused", "payments.not_voidable")


def test_a_void_is_known_to_be_possible_or_not_without_the_server(town: CounterTown) -> None:
    invoice = town.bills("9.00")
    desk = Offline(town, town.desk_a, town.clerk)
    first, second = take(town, invoice, "4.00"), take(town, invoice, "5.00")
    desk.records(first)
    voided = desk.records(VoidPayment(payment=first.id, reason="r"))
    desk.records(second)
    till: Any = desk.row("till", till_id(town.desk_a.id))
    desk.records(CountDrawer(drawer=till["session_id"], counted=[Money(amount="5.00", currency="KES")]))

    refused = desk.records(VoidPayment(payment=second.id, reason="r"))

    assert (voided.verdict.status.value, refused.verdict.rule) == ("accepted", "payments.not_voidable")
    row: Any = desk.row("invoice", invoice)
    assert row["paid_minor"] == 500


def test_a_drawer_that_is_in_use_is_not_opened_again_offline(town: CounterTown) -> None:
    town.opens()
    desk = Offline(town, town.desk_a, town.clerk)

    assert desk.records(OpenDrawer()).verdict.rule == "payments.drawer_in_use"


def test_cash_given_back_for_a_payment_of_another_counter_is_recorded(town: CounterTown) -> None:
    payment, _ = town.pays(town.bills("9.00"), "9.00")
    desk = Offline(town, town.desk_b, town.other_clerk)

    decision = desk.records(PayRefund(payment=payment, amount="1.00", currency="KES"))

    assert decision.verdict.status.value == "accepted"


def test_a_schools_device_charges_its_students_offline(town: CounterTown) -> None:
    student = UpsertStudent(id=town.new_id(), school=town.school, number="1", name="Amina", class_name="3B")
    office = Offline(town, town.school_pc, town.secretary)
    office.records(student)
    fee = ScheduleFee(
        id=town.new_id(),
        school=town.school,
        title="Term 2",
        lines=[InvoiceLine(text="Tuition", amount="45.00")],
        currency="KES",
        due_on="2026-12-15",
        students=[student.id],
    )

    assert office.records(fee).verdict.status.value == "accepted"
    row: Any = office.row("invoice", fee_invoice_id(fee.id, student.id))
    assert (row["title"], row["remaining_minor"]) == ("Term 2: Amina", 4500)
