"""Invoices and credit: what a party owes, what was paid on it, and the one way in which money gets from one to another.

Law: what is paid on an invoice is the sum of its allocations, between zero and its total; the balance of its receivable
account is what remains; the balance of a party's credit account is what it has left. Money comes out of suspense, where
a payment is first, or out of credit, and goes back the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sync.kernel.changeset import Fields
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import MINOR_MAX, to_amount, to_minor
from sync.modules.billing import cases
from sync.modules.billing.entities import FREE, PARKED, credit_id
from sync.modules.billing.ledger import SALES, SUSPENSE, credit_account, has_books, post, receivable_account
from sync.modules.billing.marks import refuse_derived
from sync.modules.billing.operations import (
    ApplyCredit,
    CancelInvoice,
    IssueInvoice,
    RegisterParty,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Incoming:
    """Money on its way to an invoice: so much of a payment, out of an account; below zero it goes back there."""

    minor: int = 0
    payment_id: str | None = None
    account: str = SUSPENSE
    party_id: str | None = None


NOTHING = Incoming()


def register_party(operation: RegisterParty, draft: Draft) -> None:
    """The party's row."""
    row = {"kind": "customer", "name": operation.name, "phone": operation.phone}
    draft.create("party", operation.id, {**row, "source_entity": None, "source_id": None})


def issue(operation: IssueInvoice, draft: Draft) -> None:
    """The party owes the sum of the lines; an order's or a student's party owes what follows from those alone."""
    refuse_derived(operation, draft, "invoice")
    party = draft.need("party", operation.party)
    if party["source_entity"]:
        raise draft.refuse(cases.PARTY_BOUND, name=party["name"], source=party["source_entity"])
    lines = [{"text": line.text, "amount_minor": to_minor(line.amount, operation.currency)} for line in operation.lines]
    draft.create("invoice", operation.id, {})
    write(
        draft,
        operation.id,
        party_id=operation.party,
        title=operation.title,
        lines=lines,
        total_minor=total_of(lines),
        currency=operation.currency,
        due_on=operation.due_on,
    )


def cancel(operation: CancelInvoice, draft: Draft) -> None:
    """What was paid is credit; an order's invoice is cancelled with its order."""
    invoice = draft.need("invoice", operation.invoice)
    if invoice["state"] == "CANCELLED" or invoice["source_entity"] == "order":
        raise draft.refuse(cases.INVOICE_NOT_CANCELLABLE, title=invoice["title"])
    paid_minor = invoice["paid_minor"]
    rebook(draft, operation.invoice, total_minor=invoice["total_minor"], paid_minor=0, is_void=True)
    if paid_minor:
        change_credit(draft, invoice["party_id"], invoice["currency"], paid_minor, name=invoice["title"])
        amount = to_amount(paid_minor, invoice["currency"])
        draft.adjust(
            cases.INVOICE_PAID_BEFORE_CANCEL,
            operation,
            subject=("invoice", operation.invoice),
            said={"operation": operation.op},
            had={"paid_minor": paid_minor},
            outcome=f"credit {amount} {invoice['currency']}",
            title=invoice["title"],
            amount=amount,
            currency=invoice["currency"],
        )


def total_of(lines: list[dict[str, Any]]) -> int:
    """What the lines come to; raises `InvalidMoney` when that is more than can be added up, or nothing."""
    total_minor: int = sum(line["amount_minor"] for line in lines)
    if not 0 < total_minor <= MINOR_MAX:
        raise InvalidMoney("an invoice is for something, and for no more than can be added up")
    return total_minor


def write(
    draft: Draft,
    invoice: str,
    *,
    party_id: str,
    title: str,
    lines: list[dict[str, Any]],
    total_minor: int,
    currency: str,
    due_on: str | None = None,
    source: tuple[str, str] | None = None,
    school_id: str | None = None,
) -> None:
    """Make the invoice's row, and book that it is owed."""
    row = {
        "party_id": party_id,
        "source_entity": source and source[0],
        "source_id": source and source[1],
        "school_id": school_id,
        "title": title,
        "lines": lines,
        "currency": currency,
        "total_minor": 0,
        "paid_minor": 0,
        "remaining_minor": 0,
        "due_on": due_on,
        "state": "PENDING",
        "issued_at": draft.context.decided_at,
    }
    draft.put("invoice", invoice, row)
    rebook(draft, invoice, total_minor=total_minor, paid_minor=0)


def rebook(
    draft: Draft,
    invoice: str,
    *,
    total_minor: int,
    paid_minor: int,
    is_void: bool = False,
    incoming: Incoming = NOTHING,
    allocated_minor: int = 0,
) -> Fields:
    """Let the invoice be for `total_minor` of which `paid_minor` is paid, and book how it came to that.

    What `incoming` brings and the invoice does not take goes into the party's credit, and what it lacks comes out of
    it; the caller changes the row of the credit by as much. `allocated_minor` is what the payment has on the invoice
    so far.
    """
    before = draft.need("invoice", invoice)
    owed = 0 if is_void else total_minor
    assert 0 <= paid_minor <= owed, (invoice, paid_minor, owed)
    owed_before = before["paid_minor"] + before["remaining_minor"]
    grown = paid_minor - before["paid_minor"]
    currency, party = before["currency"], before["party_id"]
    about = {"party_id": party, "invoice_id": invoice}
    post(draft, receivable_account(invoice), owed - owed_before, currency, **about)
    post(draft, SALES, owed_before - owed, currency, **about)
    paying = {**about, "payment_id": incoming.payment_id}
    post(draft, receivable_account(invoice), -grown, currency, **paying)
    post(draft, credit_account(party), grown - incoming.minor, currency, party_id=party, payment_id=incoming.payment_id)
    source = {"party_id": incoming.party_id, "payment_id": incoming.payment_id}
    post(draft, incoming.account, incoming.minor, currency, **source)
    of_payment = min(max(grown, 0), max(incoming.minor, 0)) or min(0, max(grown, incoming.minor, -allocated_minor))
    _allocate(draft, invoice, before, incoming.payment_id, of_payment)
    _allocate(draft, invoice, before, None, grown - of_payment)
    state = "CANCELLED" if is_void else _state(owed, paid_minor)
    now = {"total_minor": total_minor, "paid_minor": paid_minor, "remaining_minor": owed - paid_minor, "state": state}
    return draft.update("invoice", invoice, **now)


def change_credit(draft: Draft, party: str, currency: str, minor: int, *, name: str, kind: str = FREE) -> Fields | None:
    """The row of a party's credit after a change; the entries are the caller's. Devices do not keep it."""
    if not has_books(draft):
        return None
    key = credit_id(party, currency, kind)
    before = draft.get("credit", key)
    left = (before["left_minor"] if before else 0) + minor
    row = {"party_id": party, "kind": kind, "name": name, "currency": currency, "left_minor": left}
    if before or minor:
        draft.put("credit", key, row)
    return row


def apply_credit(operation: ApplyCredit, draft: Draft) -> None:
    """Credit, whosever it is, pays on an invoice; of an order's invoice and credit its own module knows the rest."""
    credit, invoice = draft.need("credit", operation.credit), draft.need("invoice", operation.invoice)
    currency = invoice["currency"]
    minor = to_minor(operation.amount, currency)
    fits = credit["currency"] == currency and 0 < minor <= min(credit["left_minor"], invoice["remaining_minor"])
    if not fits:
        raise draft.refuse(
            cases.CREDIT_UNFIT,
            amount=f"{operation.amount} {currency}",
            left=f"{to_amount(credit['left_minor'], credit['currency'])} {credit['currency']}",
            remaining=f"{to_amount(invoice['remaining_minor'], currency)} {currency}",
            title=invoice["title"],
        )
    change_credit(draft, credit["party_id"], currency, -minor, name=credit["name"], kind=credit["kind"])
    rebook(
        draft,
        operation.invoice,
        total_minor=invoice["total_minor"],
        paid_minor=invoice["paid_minor"] + minor,
        incoming=Incoming(minor=minor, account=credit_account(credit["party_id"]), party_id=credit["party_id"]),
    )


def set_aside(draft: Draft, payment: str, settlement: Fields, party: str, *, name: str, kind: str) -> Fields:
    """All of a payment that is in suspense becomes credit of one kind, or comes out of it again."""
    minor, currency = settlement["suspense_minor"], settlement["currency"]
    change_credit(draft, party, currency, minor, name=name, kind=kind)
    post(draft, SUSPENSE, minor, currency, payment_id=payment)
    post(draft, credit_account(party), -minor, currency, party_id=party, payment_id=payment)
    into = "parked_minor" if kind == PARKED else "credited_minor"
    return draft.update("settlement", payment, suspense_minor=0, **{into: settlement[into] + minor})


def _allocate(draft: Draft, invoice: str, row: Fields, payment: str | None, minor: int) -> None:
    """Append what came to the invoice, or went from it; once for a change set and a payment."""
    if not minor or not has_books(draft):
        return
    key = draft.derived("allocation", invoice, str(payment))
    before = draft.rows.get(("allocation", key))
    after = minor + (before["amount_minor"] if before else 0)
    if not after:
        del draft.rows["allocation", key]
        return
    allocation = {
        "invoice_id": invoice,
        "payment_id": payment,
        "party_id": row["party_id"],
        "amount_minor": after,
        "currency": row["currency"],
        "booked_at": draft.context.decided_at,
    }
    draft.put("allocation", key, allocation)


def _state(owed: int, paid: int) -> str:
    if paid >= owed:
        return "PAID"
    return "PARTIALLY_PAID" if paid else "PENDING"
