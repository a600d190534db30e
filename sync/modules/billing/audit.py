"""The laws of money over everything that is stored: what `verify` and the property tests ask of a town's books.

Pure, and written apart from the rules: it adds up what they have left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from sync.kernel.changeset import Fields, RowKey
from sync.modules.billing.entities import credit_id, invoice_id, party_id
from sync.modules.billing.ledger import (
    BANK,
    CARD,
    FEES,
    MOMO,
    SUSPENSE,
    credit_account,
    drawer_account,
    receivable_account,
    signed,
)

Rows = Mapping[str, Mapping[str, Fields]]
"""Rows by entity and id."""

Fault = tuple[str, str]
"""Where, and what."""

Sum = tuple[str, str]
"""(account, currency)."""

PAID_OUT = frozenset({BANK, FEES, MOMO, CARD})
"""Accounts that a pay-out goes through."""

BILLING = frozenset(
    {"journal_entry", "allocation", "invoice", "payment", "settlement", "credit", "drawer_session", "order", "pay_out"}
)


def audit(rows: Iterable[tuple[RowKey, Fields]]) -> list[Fault]:
    """Every place where the books do not add up; none means that every cent is placed."""
    kept: dict[str, dict[str, Fields]] = {entity: {} for entity in BILLING}
    for (entity, row_id), fields in rows:
        if entity in kept:
            kept[entity][row_id] = fields
    return audit_rows(kept)


def audit_rows(rows: Rows) -> list[Fault]:
    """The same of rows that are read as they are asked for, those of `BILLING`; each entity's in order of their ids."""
    balances, suspense, unnamed = _balances(rows)
    return [
        *_unbalanced(rows),
        *_invoices(rows, balances),
        *_payments(rows, suspense),
        *_credits(rows, balances),
        *_drawers(rows, balances),
        *_pay_outs(rows, unnamed),
        *_orders(rows),
    ]


def _balances(rows: Rows) -> tuple[Mapping[Sum, int], Mapping[str, int], Mapping[Sum, int]]:
    """By account and currency, what is in suspense by payment, and what of an account is about no payment or drawer."""
    balances: dict[Sum, int] = defaultdict(int)
    suspense: dict[str, int] = defaultdict(int)
    unnamed: dict[Sum, int] = defaultdict(int)
    for entry in rows["journal_entry"].values():
        balances[entry["account"], entry["currency"]] += signed(entry)
        if entry["account"] in PAID_OUT and entry["payment_id"] is None and entry["drawer_id"] is None:
            unnamed[entry["account"], entry["currency"]] += signed(entry)
        if entry["account"] == SUSPENSE:
            suspense[entry["payment_id"]] -= signed(entry)
    return balances, suspense, unnamed


def _unbalanced(rows: Rows) -> Iterator[Fault]:
    sums: dict[tuple[str, int, str], int] = defaultdict(int)
    for entry in rows["journal_entry"].values():
        sums[entry["device_id"], entry["seq"], entry["currency"]] += signed(entry)
    for (device, seq, currency), minor in sorted(sums.items()):
        if minor:
            yield f"books of change set {seq} of device {device}", f"off by {minor} minor units of {currency}"


def _invoices(rows: Rows, balances: Mapping[Sum, int]) -> Iterator[Fault]:
    allocated: dict[str, int] = defaultdict(int)
    for allocation in rows["allocation"].values():
        allocated[allocation["invoice_id"]] += allocation["amount_minor"]
    for key, invoice in rows["invoice"].items():
        paid, owed = invoice["paid_minor"], 0 if invoice["state"] == "CANCELLED" else invoice["total_minor"]
        where = f"invoice {key}"
        if paid != allocated[key]:
            yield where, f"{paid} is paid on it, its allocations give {allocated[key]}"
        if not 0 <= paid <= owed or invoice["remaining_minor"] != owed - paid:
            yield where, f"{owed} is owed for it, {paid} is paid, and it says that {invoice['remaining_minor']} remains"
        balance = balances.get((receivable_account(key), invoice["currency"]), 0)
        if balance != invoice["remaining_minor"]:
            yield where, f"{invoice['remaining_minor']} remains to be paid, the ledger says {balance}"


def _payments(rows: Rows, suspense: Mapping[str, int]) -> Iterator[Fault]:
    allocated: dict[str, int] = defaultdict(int)
    for allocation in rows["allocation"].values():
        if allocation["payment_id"]:
            allocated[allocation["payment_id"]] += allocation["amount_minor"]
    for key, settlement in rows["settlement"].items():
        payment = rows["payment"].get(key)
        if payment is None:
            yield f"payment {key}", "missing: its settlement is there"
            continue
        if not 0 <= allocated[key] <= settlement["amount_minor"]:
            yield f"payment {key}", f"{allocated[key]} is allocated of {settlement['amount_minor']}"
        if suspense.get(key, 0) != settlement["suspense_minor"]:
            what = f"{settlement['suspense_minor']} is in suspense, the ledger says {suspense.get(key, 0)}"
            yield f"payment {key}", what


def _credits(rows: Rows, balances: Mapping[Sum, int]) -> Iterator[Fault]:
    left: dict[Sum, int] = defaultdict(int)
    for credit in rows["credit"].values():
        left[credit_account(credit["party_id"]), credit["currency"]] += credit["left_minor"]
    accounts = {key for key in balances if key[0].startswith(credit_account(""))}
    for account, currency in sorted(accounts | left.keys()):
        balance = -balances.get((account, currency), 0)
        if left[account, currency] != balance:
            yield f"{account} in {currency}", f"{left[account, currency]} is left, the ledger says {balance}"


def _drawers(rows: Rows, balances: Mapping[Sum, int]) -> Iterator[Fault]:
    for key, drawer in rows["drawer_session"].items():
        expected = {} if drawer["state"] == "CLOSED" else drawer["expected"]
        for currency in sorted({*drawer["expected"], *drawer["opening"]}):
            balance = balances.get((drawer_account(key), currency), 0)
            if balance != expected.get(currency, 0):
                what = f"{expected.get(currency, 0)} {currency} should be in it, the ledger says {balance}"
                yield f"drawer session {key}", what


def _pay_outs(rows: Rows, unnamed: Mapping[Sum, int]) -> Iterator[Fault]:
    """What is in these accounts about no payment and no drawer is there by a pay-out."""
    wanted: dict[Sum, int] = defaultdict(int)
    for pay_out in rows["pay_out"].values():
        arrived, fee, currency = pay_out["amount_minor"], pay_out["fee_minor"], pay_out["currency"]
        wanted[BANK, currency] += arrived
        wanted[FEES, currency] += fee
        wanted[MOMO if pay_out["method"] == "momo" else CARD, currency] -= arrived + fee
    for account, currency in sorted(wanted.keys() | unnamed.keys()):
        said, booked = wanted[account, currency], unnamed.get((account, currency), 0)
        if said != booked:
            yield f"{account} in {currency}", f"pay-outs come to {said}, the ledger says {booked}"


def _orders(rows: Rows) -> Iterator[Fault]:
    """What an order shows is what its invoice and its party's credit say, once there are books of it."""
    for key, order in rows["order"].items():
        invoice = rows["invoice"].get(invoice_id(key))
        if invoice is None:
            continue
        credit = rows["credit"].get(credit_id(party_id(key), order["currency"]))
        kept = (invoice["paid_minor"], credit["left_minor"] if credit else 0)
        shown = (order["paid_minor"], order["credit_minor"])
        if shown != kept:
            yield f"order {key}", f"it shows {shown} as paid and credit, the books say {kept}"
