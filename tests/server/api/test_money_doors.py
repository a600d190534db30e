"""Money over HTTP: invoices, payments, refunds and drawers as the office and the counters see and settle them."""

from __future__ import annotations

from typing import Any, cast

import httpx2
import pytest

from server.application.people_ports import ListingReader, Row
from server.application.queries.overdue import today_in
from sync.kernel.clock import parse_time
from tests.support.staff_world import Browser, StaffWorld

TODAY = "2026-11-21"


def done(answer: httpx2.Response) -> str:
    """The id of what was made or changed."""
    assert answer.status_code in {200, 201}, answer.text
    return str(answer.json()["id"])


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def shown(browser: Browser, path: str) -> dict[str, Any]:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(browser: Browser, path: str) -> list[str]:
    return [row["id"] for row in (await shown(browser, path))["items"]]


async def issued(browser: Browser, amount: str, due_on: str | None = None) -> str:
    """A new invoice of a new party."""
    party = done(await browser.post("parties", {"name": "Rowing Club"}))
    lines = [{"text": "Hall", "amount": amount}]
    said = {"party": party, "title": "Hall hire", "lines": lines, "currency": "GBP", "due_on": due_on}
    return done(await browser.post("invoices", said))


async def takes(browser: Browser, invoice: str, amount: str) -> str:
    return done(await browser.post("payments", {"invoice": invoice, "amount": amount, "currency": "GBP"}))


async def test_an_invoice_is_issued_listed_paid_and_shows_what_was_paid_on_it(staff: StaffWorld) -> None:
    clerk = await staff.browser("counter_clerk")
    early, late = await issued(clerk, "9.00", "2026-12-01"), await issued(clerk, "4.00", "2026-12-31")

    payment = await takes(clerk, early, "5.00")

    assert await listed(clerk, "invoices?state=PARTIALLY_PAID") == [early]
    assert await listed(clerk, "invoices?due_before=2026-12-15") == [early]
    assert await listed(clerk, "invoices?due_from=2026-12-15") == [late]
    invoice = await shown(clerk, f"invoices/{early}")
    assert (invoice["state"], invoice["remaining_minor"]) == ("PARTIALLY_PAID", 400)
    assert [(one["payment_id"], one["amount_minor"]) for one in invoice["allocations"]] == [(payment, 500)]


async def test_what_is_overdue_is_told_of_each_invoice_and_can_be_asked_for(staff: StaffWorld) -> None:
    clerk = await staff.browser("counter_clerk")
    late, paid, today = [await issued(clerk, "9.00", due_on) for due_on in ("2026-11-01", "2026-11-01", TODAY)]
    await takes(clerk, late, "5.00")
    await takes(clerk, paid, "9.00")

    page = await shown(clerk, "invoices")

    told = {one["id"]: one["is_overdue"] for one in page["items"]}
    assert [told[invoice] for invoice in (late, paid, today)] == [True, False, False]
    assert (await shown(clerk, f"invoices/{late}"))["is_overdue"] is True
    assert await listed(clerk, "invoices?is_overdue=true") == [late]
    assert refused(await clerk.get("invoices?is_overdue=false")) == (400, "invalid_query")


@pytest.mark.parametrize(("zone", "today"), [("Pacific/Auckland", "2026-11-22"), ("America/New_York", "2026-11-21")])
async def test_a_day_is_over_where_the_town_is(zone: str, today: str) -> None:
    class Town:
        async def row(self, entity: str, row_id: str) -> Row:
            return Row(id=row_id, version=1, fields={"time_zone": zone, "entity": entity})

    now_ms = parse_time("2026-11-21T12:00:00.000Z")

    assert await today_in(cast("ListingReader", Town()), "town", now_ms) == today


async def test_what_was_paid_on_a_cancelled_invoice_pays_another_as_credit(staff: StaffWorld) -> None:
    office = await staff.browser("dispatcher")
    first, second = await issued(office, "9.00"), await issued(office, "4.00")
    await takes(office, first, "9.00")

    cancelled = await office.post(f"invoices/{first}/cancel", {"reason": "closed"})
    (credit,) = (await shown(office, "credits?kind=free"))["items"]
    too_much = await office.post(f"invoices/{second}/credit", {"credit": credit["id"], "amount": "4.50"})
    put = await office.post(f"invoices/{second}/credit", {"credit": credit["id"], "amount": "4.00"})

    assert (cancelled.json()["status"], len(cancelled.json()["conflicts"])) == ("adjusted", 1)
    assert refused(too_much) == (409, "payments.credit_unfit")
    assert done(put)
    assert (await shown(office, f"invoices/{second}"))["state"] == "PAID"
    assert (await shown(office, f"credits/{credit['id']}"))["left_minor"] == 500


async def test_a_payment_shows_what_became_of_it_step_by_step(staff: StaffWorld) -> None:
    office = await staff.browser()
    invoice = await issued(office, "9.00")
    payment = await takes(office, invoice, "9.00")

    voided = await office.post(f"payments/{payment}/void", {"reason": "the wrong one"})

    assert done(voided)
    (row,) = (await shown(office, f"payments?invoice={invoice}"))["items"]
    assert (row["id"], row["method"], row["settlement"]["status"], "status" in row) == (
        payment,
        "cash",
        "VOIDED",
        False,
    )
    whole = await shown(office, f"payments/{payment}")
    assert [(one["from_status"], one["to_status"]) for one in whole["events"]] == [("CONFIRMED", "VOIDED")]
    assert sorted(one["amount_minor"] for one in whole["allocations"]) == [-900, 900]
    assert await listed(office, "settlements?status=VOIDED") == [payment]


async def test_a_refund_above_the_limit_takes_a_second_person_and_is_paid_once_agreed(staff: StaffWorld) -> None:
    money = await staff.charge(staff.here)
    asks, agrees = await staff.browser("counter_clerk"), await staff.browser("dispatcher")
    said = {"payment": money.payment, "amount": "4.00", "currency": "GBP", "reason": "broken"}
    refund = done(await asks.post("refunds", said))

    by_a_clerk = await asks.post(f"refunds/{refund}/approve")
    agreed = await agrees.post(f"refunds/{refund}/approve")
    paid = await asks.post(f"refunds/{refund}/pay", {"payment": money.payment, "amount": "4.00", "currency": "GBP"})

    assert refused(by_a_clerk) == (403, "not_permitted")
    assert (done(agreed), done(paid)) != ("", "")
    row = await shown(agrees, f"refunds/{refund}")
    assert (row["state"], row["paid_minor"]) == ("PAID", 400)
    assert refused(await agrees.post(f"refunds/{refund}/reject", {"reason": "late"})) == (
        409,
        "payments.refund_decided",
    )


async def test_who_asked_for_a_refund_cannot_agree_to_it_and_another_can_refuse(staff: StaffWorld) -> None:
    money = await staff.charge(staff.here)
    office, other = await staff.browser(), await staff.browser("dispatcher")
    said = {"payment": money.payment, "amount": "4.00", "currency": "GBP", "reason": "broken"}
    refund = done(await office.post("refunds", said))

    assert refused(await office.post(f"refunds/{refund}/approve")) == (409, "payments.second_person")
    assert done(await other.post(f"refunds/{refund}/reject", {"reason": "it is not"}))
    assert await listed(office, "refunds?state=REJECTED") == [refund]
    assert await listed(office, f"refunds?payment={money.payment}&state=REQUESTED") == [money.refund]


async def test_a_drawer_is_counted_blind_and_closed_with_its_z_report(staff: StaffWorld) -> None:
    clerk, office = await staff.browser("counter_clerk"), await staff.browser()
    drawer = done(await clerk.post("drawer-sessions", {"opening": [{"amount": "20.00", "currency": "GBP"}]}))
    await takes(clerk, await issued(clerk, "9.00"), "9.00")

    too_early = await clerk.post(f"drawer-sessions/{drawer}/close")
    blind = await shown(clerk, f"drawer-sessions/{drawer}")
    of_office = await shown(office, f"drawer-sessions/{drawer}")
    counted = await clerk.post(f"drawer-sessions/{drawer}/count", {"counted": [{"amount": "28.50", "currency": "GBP"}]})
    closed = await clerk.post(f"drawer-sessions/{drawer}/close")

    assert refused(too_early) == (409, "payments.drawer_not_counted")
    assert (blind["expected"], of_office["expected"]) == (None, {"GBP": 2900})
    assert done(counted)
    assert (closed.json()["status"], len(closed.json()["conflicts"])) == ("adjusted", 1)
    (report,) = (await shown(clerk, f"drawer-sessions/{drawer}"))["z_reports"]
    assert {name: report[name] for name in ("opening", "expected", "counted", "differences")} == {
        "opening": {"GBP": 2000},
        "expected": {"GBP": 2900},
        "counted": {"GBP": 2850},
        "differences": {"GBP": -50},
    }
    assert await listed(office, "drawer-sessions?state=CLOSED") == [drawer]


async def test_a_transfer_is_taken_in_the_office_and_what_a_provider_paid_out_is_booked_once(staff: StaffWorld) -> None:
    office, clerk = await staff.browser(), await staff.browser("counter_clerk")
    invoice = await issued(office, "9.00")
    transfer = {"invoice": invoice, "amount": "9.00", "currency": "GBP", "method": "bank", "reference": "TRF 1"}
    paid_out = {"method": "momo", "amount": "8.80", "fee": "0.20", "currency": "GBP", "reference": "FT 1"}

    payment, booked = done(await office.post("payments", transfer)), done(await office.post("pay-outs", paid_out))
    again, by_clerk = await office.post("pay-outs", paid_out), await clerk.post("pay-outs", paid_out)

    assert await listed(office, "payments?method=bank") == [payment]
    assert (await shown(office, f"invoices/{invoice}"))["state"] == "PAID"
    assert (refused(again), refused(by_clerk)) == ((409, "payments.paid_out_already"), (403, "not_permitted"))
    assert await listed(office, "pay-outs?reference=FT%201") == [booked]
    row = await shown(office, f"pay-outs/{booked}")
    assert (row["amount_minor"], row["fee_minor"]) == (880, 20)


async def test_money_that_is_sent_again_under_its_key_is_taken_once(staff: StaffWorld) -> None:
    office = await staff.browser()
    invoice = await issued(office, "9.00")
    said = {"invoice": invoice, "amount": "5.00", "currency": "GBP"}

    answers = [await office.post("payments", said, Idempotency_Key="once") for _ in range(2)]
    other = await office.post("payments", said | {"amount": "4.00"}, Idempotency_Key="once")

    assert answers[0].json() == answers[1].json()
    assert refused(other) == (422, "idempotency_mismatch")
    assert (await shown(office, f"invoices/{invoice}"))["paid_minor"] == 500


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("invoices", {"party": "x"}),
        ("payments", {"invoice": "x", "amount": "1.00", "currency": "GBP"}),
        (
            "payments",
            {"invoice": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11", "amount": "1.00", "currency": "GBP", "method": "bank"},
        ),
        ("pay-outs", {"method": "cash", "amount": "1.00", "currency": "GBP", "reference": "FT 1"}),
        ("refunds", {"amount": 5}),
        ("drawer-sessions", {"opening": {"GBP": 5}}),
        ("students", {"student": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"}),
    ],
)
async def test_a_document_that_says_something_else_is_malformed(
    staff: StaffWorld, path: str, said: dict[str, Any]
) -> None:
    assert refused(await (await staff.browser()).post(path, said)) == (400, "malformed")
