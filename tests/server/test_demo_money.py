"""Every check of the demo's money holds when everything fits, and finds whatever is tampered with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from client_sdk.application.receipts import PrintedReceipt
from server.cli.demo import money_proof, script
from server.cli.demo.evening import Call, Drawer, Evening, Refund, Slips
from server.cli.demo.money_proof import Entry, Invoice, Ledger
from server.cli.demo.proof import Check
from server.cli.demo.world import Cash, Handed, Tally

CALL = Call(
    about=script.PAID_AT_THE_DOOR_AND_BY_PHONE,
    pence=200,
    provider_says="SUCCESSFUL",
    provider_pence=200,
    asks=3,
    callbacks=[0],
    status="CONFIRMED",
    booked_pence=200,
)
SHORT = script.SHORTAGE_PENCE
DRAWER = Drawer(
    device=script.MONA.device,
    opening=5_000,
    hands=500,
    expected=5_500,
    counted=5_500 - SHORT,
    difference=-SHORT,
    reports=1,
    was_told=False,
)
REFUND = Refund(pence=100, asked="REQUESTED", agreed="APPROVED", paid="PAID")
EVENING = Evening(calls=[CALL], refund=REFUND, drawers=[DRAWER])
SLIP = PrintedReceipt(number="K-1", at="", amounts=("5.00 GBP",), code="", url="")
TALLY = Tally(
    cash=[Cash(driver="van", order="N-1", pence=500)],
    handed=[Handed(device="c", bill="b", pence=300), Handed(device="c", bill="b", pence=-100)],
    phoned={CALL.about: 200},
    slips=[SLIP],
)
ENTRIES = [
    Entry(act=("van", 1), kind="bank", account="bank", pence=700),
    Entry(act=("van", 1), kind="receivable", account="receivable:i", pence=-600),
    Entry(act=("van", 1), kind="credit", account="credit:p", pence=-100),
    Entry(act=("server", 2), kind="momo_clearing", account="momo_clearing", pence=200),
    Entry(act=("server", 2), kind="receivable", account="receivable:i", pence=-200),
    Entry(act=("server", 1), kind="receivable", account="receivable:i", pence=1_000),
    Entry(act=("server", 1), kind="sales", account="sales", pence=-1_000),
]
INVOICE = Invoice(id="i", total=1_000, paid=800, remaining=200, allocated=800, is_open=True)
LEDGER = Ledger(entries=ENTRIES, invoices=[INVOICE], credits=Counter({"p": 100}))
GOOD = {"is_good": True, "number": "K-1", "amounts": ["5.00 GBP"]}
ALTERED = {"is_good": False, "code": "receipt_altered"}
SLIPS = Slips(printed=[{"number": "K-1", "amounts": ["5.00 GBP"]}], answers=[GOOD, ALTERED])

FITTING = [
    money_proof.telephones(EVENING),
    money_proof.drawers(EVENING),
    money_proof.every_penny(LEDGER, TALLY),
    money_proof.books_balance(LEDGER),
    money_proof.receipts(SLIPS),
]


def _entries(*changed: Entry) -> Ledger:
    return replace(LEDGER, entries=[*changed, *ENTRIES[len(changed) :]])


def _drawer(changed: Drawer) -> Check:
    return money_proof.drawers(replace(EVENING, drawers=[changed]))


def _slips(*answers: dict[str, object]) -> Check:
    return money_proof.receipts(replace(SLIPS, answers=answers))


TAMPERED: dict[str, Callable[[], Check]] = {
    "what the provider has": lambda: money_proof.telephones(replace(EVENING, calls=[replace(CALL, provider_pence=1)])),
    "what is booked of it": lambda: money_proof.telephones(replace(EVENING, calls=[replace(CALL, booked_pence=1)])),
    "a confirmation": lambda: money_proof.telephones(replace(EVENING, calls=[replace(CALL, status="FAILED")])),
    "a call back that came": lambda: money_proof.telephones(replace(EVENING, calls=[replace(CALL, callbacks=[200])])),
    "all telephones": lambda: money_proof.telephones(replace(EVENING, calls=[])),
    "what a report expects": lambda: _drawer(replace(DRAWER, expected=5_501, counted=5_501 - SHORT)),
    "a shortage": lambda: _drawer(replace(DRAWER, counted=5_500, difference=0)),
    "a difference": lambda: _drawer(replace(DRAWER, difference=SHORT)),
    "a second report": lambda: _drawer(replace(DRAWER, reports=2)),
    "a count that was not blind": lambda: _drawer(replace(DRAWER, was_told=True)),
    "a drawer that is not short": lambda: _drawer(replace(DRAWER, device="Counter 2")),
    "all drawers": lambda: money_proof.drawers(replace(EVENING, drawers=[])),
    "a refund that one person agreed to": lambda: money_proof.drawers(
        replace(EVENING, refund=replace(REFUND, asked="APPROVED"))
    ),
    "money that came": lambda: money_proof.every_penny(LEDGER, replace(TALLY, phoned={})),
    "money that went back": lambda: money_proof.every_penny(LEDGER, replace(TALLY, handed=TALLY.handed[:1])),
    "where it lies": lambda: money_proof.every_penny(_entries(replace(ENTRIES[0], kind="sales")), TALLY),
    "what is left in a drawer": lambda: money_proof.every_penny(_entries(replace(ENTRIES[0], kind="drawer")), TALLY),
    "what it has paid": lambda: money_proof.every_penny(
        replace(LEDGER, invoices=[replace(INVOICE, allocated=799)]), TALLY
    ),
    "what is credit": lambda: money_proof.every_penny(replace(LEDGER, credits=Counter({"p": 99})), TALLY),
    "an entry": lambda: money_proof.books_balance(_entries(replace(ENTRIES[0], pence=701))),
    "an allocation": lambda: money_proof.books_balance(replace(LEDGER, invoices=[replace(INVOICE, allocated=799)])),
    "what remains": lambda: money_proof.books_balance(replace(LEDGER, invoices=[replace(INVOICE, remaining=201)])),
    "a party's credit": lambda: money_proof.books_balance(replace(LEDGER, credits=Counter({"p": 99}))),
    "all entries": lambda: money_proof.books_balance(replace(LEDGER, entries=[], invoices=[], credits=Counter())),
    "a slip's answer": lambda: _slips(ALTERED, ALTERED),
    "a slip's number": lambda: _slips({**GOOD, "number": "K-2"}, ALTERED),
    "a slip's amount": lambda: _slips({**GOOD, "amounts": ["6.00 GBP"]}, ALTERED),
    "a slip": lambda: _slips(ALTERED),
    "an altered slip that is good": lambda: _slips(GOOD, GOOD),
    "what the process said": _slips,
}


@pytest.mark.parametrize("check", FITTING, ids=lambda check: check.name)
def test_a_check_holds_when_everything_fits(check: Check) -> None:
    assert check.is_good, check.said


@pytest.mark.parametrize("what", TAMPERED)
def test_a_check_finds_what_was_tampered_with(what: str) -> None:
    assert not TAMPERED[what]().is_good


def test_every_check_of_money_can_hold_and_fail() -> None:
    assert {check.name for check in FITTING} == {tampered().name for tampered in TAMPERED.values()}
