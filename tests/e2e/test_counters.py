"""Two counters, a school and mobile money on a real stack: one invoice paid three times, and books that add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from client_sdk import Refused, Replica
from server.stack import Stack
from sync.modules.billing import (
    CloseDrawer,
    ConfirmPayment,
    CountDrawer,
    InvoiceLine,
    Money,
    OpenDrawer,
    RequestPayment,
    TakePayment,
    VoidPayment,
)
from sync.modules.schools import OpenSchool, ScheduleFee, UpsertStudent
from tests.support.site import TOWN, Site, site_on

FEE = "45.00"


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


def invoices(device: Replica) -> Sequence[dict[str, Any]]:
    """What a device shows of the invoices that it holds."""
    return device.query("SELECT id, title, state, paid_minor, remaining_minor FROM invoices ORDER BY title")


def pay(device: Replica, clerk: str, invoice: str, amount: str) -> str:
    """Cash, with no network."""
    with device.acting_as(clerk):
        return device.record(TakePayment(invoice=invoice, amount=amount, currency="GBP")).id


def charge(school_pc: Replica, secretary: str, school: str) -> None:
    """A student is enrolled and owes the fee, with no network."""
    with school_pc.acting_as(secretary):
        student = school_pc.record(UpsertStudent(school=school, number="7", name="Amina", class_name="3B"))
        fee = ScheduleFee(
            school=school,
            title="Term 2",
            lines=[InvoiceLine(text="Tuition", amount=FEE)],
            currency="GBP",
            due_on="2027-01-15",
            students=[student.id],
        )
        school_pc.record(fee)


def test_two_counters_and_mobile_money_pay_one_invoice_and_every_cent_is_placed(site: Site, tmp_path: Path) -> None:
    books, office, school = site.office.books, site.office, site.office.books.new_id()
    books.must(TOWN, OpenSchool(id=school, name="Hill School"))
    clara, otto = (books.add_user(TOWN, name, "counter_clerk") for name in ("Clara", "Otto"))
    secretary = books.add_user(TOWN, "Sina", "school_office")
    desks = [office.enrol(TOWN, tmp_path / f"desk {number}.db", "counter_clerk") for number in (1, 2)]
    with office.enrol(TOWN, tmp_path / "school.db", "school_office", school=school) as school_pc:
        school_pc.sync()
        charge(school_pc, secretary, school)
        assert school_pc.sync().pushed == 2
        for desk in desks:
            desk.sync()
        [invoice] = invoices(desks[0])
        asked = RequestPayment(
            id=books.new_id(), invoice=invoice["id"], amount=FEE, currency="GBP", payer="447700900123"
        )
        books.must(TOWN, asked)

        with desks[0].acting_as(clara):
            opening = OpenDrawer(opening=[Money(amount="20.00", currency="GBP")])
            drawer = desks[0].record(opening).id
        pay(desks[0], clara, invoice["id"], FEE)
        slip = pay(desks[1], otto, invoice["id"], "5.00")
        with desks[1].acting_as(otto):
            desks[1].record(VoidPayment(payment=slip, reason="wrong customer"))
        pay(desks[1], otto, invoice["id"], FEE)
        assert [row["state"] for desk in desks for row in invoices(desk)] == ["PAID", "PAID"]

        desks[0].sync()
        desks[1].sync()
        late = ConfirmPayment(payment=asked.id, amount=FEE, currency="GBP", reference="MP1")
        assert books.author(TOWN, late) == ["adjusted"]
        with desks[0].acting_as(clara):
            desks[0].record(CountDrawer(drawer=drawer, counted=[Money(amount="64.00", currency="GBP")]))
            desks[0].record(CloseDrawer(drawer=drawer))
        for device in (*desks, school_pc):
            device.sync()

        [shown] = invoices(school_pc)
        assert (shown["state"], shown["paid_minor"], shown["remaining_minor"]) == ("PAID", 4500, 0)
        assert not invoices(desks[0])
        [credit] = desks[1].query("SELECT left_minor FROM credits")
        assert credit["left_minor"] == 9000
        [report] = desks[0].query("SELECT differences FROM drawer_reports")
        assert "-100" in str(report["differences"])
        assert [list(device.verify()) for device in (*desks, school_pc)] == [[], [], []]
    for desk in desks:
        desk.close()
    assert books.verify(TOWN).findings == ()


def test_a_counter_cannot_do_what_is_for_the_office(site: Site, tmp_path: Path) -> None:
    books = site.office.books
    clerk = books.add_user(TOWN, "Cora", "counter_clerk")
    with site.office.enrol(TOWN, tmp_path / "desk.db", "counter_clerk") as desk:
        desk.sync()
        with desk.acting_as(clerk), pytest.raises(Refused) as refused:
            desk.record(OpenSchool(name="Mine"))

    assert refused.value.code == "people.actor_refused"
