"""The invariants of money, one function for each: sums made anew from what is stored, apart from the product's own.

`money`: debits and credits, what everybody owes, and that all that came in is somewhere. `allocated`: nothing is paid
with more than there is. `statement`: what was shown to somebody is what the books said then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import orjson

from server.adapters.memory_town import TownState
from server.domain.payments import provider_reference
from sync.engine.chain import encode_bytes
from sync.kernel.changeset import Fields, Status
from tests.simulation.expected import STATEMENT_SECONDS
from tests.simulation.facts import Facts

ASSETS = ("drawer:", "momo_clearing", "card_clearing", "bank", "fees", "over_short")
CLEARING = ("momo_clearing", "card_clearing")
OPEN_REFUNDS = ("REQUESTED", "APPROVED")
Sum = tuple[str, str]
"""(party or account, currency)."""


def money(facts: Facts) -> Iterator[str]:
    """Each change set balances, each party owes what its papers say, and every cent that came in is somewhere."""
    for town in facts.towns.values():
        yield from _balance(town)
        yield from _owing(town)
        yield from _received(town)
        yield from _by_provider(facts, town)
        yield from _on_the_way(town)
        yield from _drawers(town)
        yield from _paid_out(town)


def allocated(facts: Facts) -> Iterator[str]:
    """No invoice is paid with more than it is over, and no payment pays more than came by it."""
    for town in facts.towns.values():
        yield from _agreed(town)
        yield from _claimed(town)
        on_invoice: Counter[str] = Counter()
        of_payment: Counter[str] = Counter()
        for allocation in _rows(town, "allocation"):
            on_invoice[allocation["invoice_id"]] += allocation["amount_minor"]
            of_payment[allocation["payment_id"]] += allocation["amount_minor"]
        for key, invoice in _keyed(town, "invoice"):
            paid = on_invoice[key]
            owed = 0 if invoice["state"] == "CANCELLED" else invoice["total_minor"]
            if not 0 <= paid <= owed or paid != invoice["paid_minor"] or owed - paid != invoice["remaining_minor"]:
                yield f"{paid} is allocated to invoice {key} over {owed}, which says {invoice['paid_minor']}"
            if invoice["state"] != _state(paid, owed, invoice["state"]):
                yield f"invoice {key} is {invoice['state']} with {paid} of {owed}"
        for key, settlement in _keyed(town, "settlement"):
            if not 0 <= of_payment[key] <= settlement["amount_minor"]:
                yield f"{of_payment[key]} of payment {key} is allocated, there is {settlement['amount_minor']}"


def statement(facts: Facts) -> Iterator[str]:
    """What a statement said is what the ledger of its account had come to at the version that it names."""
    for shown in facts.statements:
        town = facts.towns[shown.town_id]
        place = shown.seen[0] - 1
        if not shown.seen[1] and shown.lost_seconds > STATEMENT_SECONDS:
            yield f"a statement of {shown.party_id} was shown {shown.lost_seconds} s after what it says was lost"
        if shown.seen[0] < shown.since:
            yield f"a statement of {shown.party_id} was shown as of {shown.seen[0]}, and should be of {shown.since}"
        if place >= len(town.journal) or encode_bytes(town.journal[place].digest) != shown.seen[1]:
            continue  # of a part that is lost
        closing: Counter[str] = Counter()
        for (entity, _), stored in town.rows.items():
            entry = stored.fields
            if entity == "journal_entry" and stored.version <= shown.seen[0] and entry["party_id"] == shown.party_id:
                closing[entry["currency"]] += _signed(entry) if _is_of_party(entry["account"]) else 0
        said = {currency: minor for currency, minor in shown.closing if minor}
        kept = {currency: minor for currency, minor in closing.items() if minor}
        if said != kept:
            yield f"the statement of {shown.party_id} at {shown.seen[0]} says {said}, the books had {kept}"


def _balance(town: TownState) -> Iterator[str]:
    sums: Counter[tuple[str, int, str]] = Counter()
    for entry in _rows(town, "journal_entry"):
        sums[entry["device_id"], entry["seq"], entry["currency"]] += _signed(entry)
    for (device, seq, currency), minor in sums.items():
        if minor:
            yield f"change set {seq} of {device} is off by {minor} {currency}"


def _owing(town: TownState) -> Iterator[str]:
    """Invoices less allocations less credit, and what the ledger has for the same party."""
    papers: Counter[Sum] = Counter()
    books: Counter[Sum] = Counter()
    for invoice in _rows(town, "invoice"):
        papers[invoice["party_id"], invoice["currency"]] += (
            0 if invoice["state"] == "CANCELLED" else invoice["total_minor"]
        )
    for allocation in _rows(town, "allocation"):
        papers[allocation["party_id"], allocation["currency"]] -= allocation["amount_minor"]
    for credit in _rows(town, "credit"):
        papers[credit["party_id"], credit["currency"]] -= credit["left_minor"]
    for entry in _rows(town, "journal_entry"):
        if _is_of_party(entry["account"]):
            books[entry["party_id"], entry["currency"]] += _signed(entry)
    for party, currency in papers.keys() | books.keys():
        if papers[party, currency] != books[party, currency]:
            told = f"{papers[party, currency]} {currency} by its papers, {books[party, currency]} by the books"
            yield f"party {party} owes {told}"


def _received(town: TownState) -> Iterator[str]:
    """Drawers, clearing accounts, bank and differences hold what came in and was not given back."""
    held: Counter[str] = Counter()
    came: Counter[str] = Counter()
    for entry in _rows(town, "journal_entry"):
        if entry["account"].startswith(ASSETS):
            held[entry["currency"]] += _signed(entry)
    for settlement in _rows(town, "settlement"):
        arrived = settlement["amount_minor"] if settlement["status"] == "CONFIRMED" else 0
        came[settlement["currency"]] += arrived - settlement["refunded_minor"]
    for refund in _rows(town, "refund"):
        if refund["state"] in OPEN_REFUNDS:  # counted as given back when it is asked for
            came[refund["currency"]] += refund["amount_minor"] - refund["paid_minor"]
    for credit in _rows(town, "credit"):
        if credit["kind"] == "owed":  # given back in a currency in which nothing was paid
            came[credit["currency"]] += credit["left_minor"]
    for currency in held.keys() | came.keys():
        if held[currency] != came[currency]:
            yield f"{came[currency]} {currency} came in, {held[currency]} are there"


def _by_provider(facts: Facts, town: TownState) -> Iterator[str]:
    """What is confirmed is what the provider has moved, and moved once."""
    booked: dict[str, int] = defaultdict(int)
    for entry in _rows(town, "journal_entry"):
        if entry["account"] in CLEARING:
            booked[entry["payment_id"]] += entry["debit_minor"]
    for key, payment in _keyed(town, "payment"):
        settlement = town.rows["settlement", key].fields
        if payment["status"] != "PENDING":  # it was taken at a till
            continue
        moved = facts.moved.get(provider_reference(key))
        if settlement["status"] == "CONFIRMED" and moved != (settlement["amount_minor"], settlement["currency"]):
            yield f"payment {key} is confirmed, the provider has moved {moved}"
        if booked[key] > (moved[0] if moved else 0):
            yield f"{booked[key]} of payment {key} are booked, the provider has moved {moved}"
    if town.head.town in facts.went_back:
        return  # what it gave back for refunds that were lost has nothing to stand beside
    for key, refund in _keyed(town, "refund"):
        moved = facts.moved.get(provider_reference(key))
        if refund["method"] == "momo" and refund["state"] == "PAID" and refund["reference"] and moved is None:
            yield f"refund {key} is paid, the provider has moved nothing"


def _on_the_way(town: TownState) -> Iterator[str]:
    """What a payment says is in suspense is what the books have there of it."""
    books: Counter[str] = Counter()
    for entry in _rows(town, "journal_entry"):
        if entry["account"] == "suspense":
            books[entry["payment_id"]] -= _signed(entry)
    for key, settlement in _keyed(town, "settlement"):
        if settlement["suspense_minor"] != books[key]:
            yield f"{settlement['suspense_minor']} of payment {key} is in suspense, the books have {books[key]}"


def _drawers(town: TownState) -> Iterator[str]:
    """What should be in a drawer is what the books have there; in one that was closed nothing is left."""
    books: Counter[Sum] = Counter()
    for entry in _rows(town, "journal_entry"):
        books[entry["account"], entry["currency"]] += _signed(entry)
    for key, drawer in _keyed(town, "drawer_session"):
        for currency, expected in drawer["expected"].items():
            left = 0 if drawer["state"] == "CLOSED" else expected
            if books[f"drawer:{key}", currency] != left:
                yield f"{left} {currency} should be in drawer {key}, the books have {books[f'drawer:{key}', currency]}"


def _paid_out(town: TownState) -> Iterator[str]:
    """What arrived at the bank and what was kept left clearing, change set by change set, and each reference once."""
    told: Counter[tuple[str, str, str]] = Counter()
    papers: Counter[Sum] = Counter()
    for row in _rows(town, "pay_out"):
        told[row["method"], row["currency"], row["reference"]] += 1
        papers[f"{row['method']}_clearing", row["currency"]] -= row["amount_minor"] + row["fee_minor"]
        papers["bank", row["currency"]] += row["amount_minor"]
        papers["fees", row["currency"]] += row["fee_minor"]
    yield from (f"{count} pay-outs are booked under {one}" for one, count in told.items() if count > 1)
    books: Counter[Sum] = Counter()
    for entry in _rows(town, "journal_entry"):
        if entry["account"] in {"bank", "fees", *CLEARING} and not entry["payment_id"] and not entry["drawer_id"]:
            books[entry["account"], entry["currency"]] += _signed(entry)
    for key in papers.keys() | books.keys():
        if papers[key] != books[key]:
            yield f"pay-outs come to {papers[key]} of {key}, the books have {books[key]}"


def _agreed(town: TownState) -> Iterator[str]:
    """No more is agreed to be given back than came, and nobody agrees with themselves."""
    given: Counter[str] = Counter()
    asked_by: dict[str, str] = {}
    for key, refund in _keyed(town, "refund"):
        asked_by[key] = refund["requested_by"]
        given[refund["payment_id"]] += 0 if refund["state"] == "REJECTED" else refund["amount_minor"]
    for payment, minor in given.items():
        came = town.rows["settlement", payment].fields["amount_minor"]
        if minor > came:
            yield f"{minor} of payment {payment} are agreed to be given back, {came} came"
    for one in town.sets.values():
        if b'"refund.approve"' in one.line and Status(one.status).has_effect:
            said = orjson.loads(one.line)
            for operation in said["ops"]:
                if asked_by.get(operation.get("refund", "")) == said["actor"] and operation["op"] == "refund.approve":
                    yield f"{said['actor']} has approved refund {operation['refund']}, which they had asked for"


def _claimed(town: TownState) -> Iterator[str]:
    """Of payments that came under one reference one counts, until a person has looked."""
    counts: Counter[tuple[str, str]] = Counter()
    for key, payment in _keyed(town, "payment"):
        settlement = town.rows["settlement", key].fields
        if (
            payment["method"] in {"card", "momo", "bank"}
            and settlement["status"] == "CONFIRMED"
            and settlement["reference"]
        ):
            counts[payment["method"], settlement["reference"]] += not settlement["is_parked"]
    yield from (f"{count} payments count under {reference}" for reference, count in counts.items() if count > 1)


def _state(paid: int, owed: int, said: str) -> str:
    if said == "CANCELLED":
        return said
    return "PAID" if paid >= owed else "PARTIALLY_PAID" if paid else "PENDING"


def _is_of_party(account: str) -> bool:
    return account.startswith(("receivable:", "credit:"))


def _signed(entry: Fields) -> int:
    minor: int = entry["debit_minor"] - entry["credit_minor"]
    return minor


def _rows(town: TownState, entity: str) -> Iterator[Fields]:
    return (fields for _, fields in _keyed(town, entity))


def _keyed(town: TownState, entity: str) -> Iterator[tuple[str, Fields]]:
    return ((row_id, stored.fields) for (of, row_id), stored in town.rows.items() if of == entity)
