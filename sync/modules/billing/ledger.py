"""The ledger: double entry, per change set and currency, kept where the truth is.

An account is a name, some with the id of what it is about: `drawer:D`, `receivable:I`, `credit:P`, `momo_clearing`,
`card_clearing`, `bank`, `fees`, `refunds_payable`, `over_short`, `suspense`, `sales`, `price_difference`, and `opening`
for what was received before there were books. Within a change set what is posted to one account about one thing is one
entry, so money that goes through suspense and on at once leaves nothing there.

Law: the entries of a change set balance in each currency. `check_balanced` holds it in every fold, a trigger
in PostgreSQL, and `verify` over everything that is stored.
"""

from __future__ import annotations

from collections import defaultdict

from sync.kernel.changeset import Fields
from sync.kernel.draft import Draft

MONEY_SINCE = 3
"""The rules since which money has books (`sync.kernel.draft.RULES`)."""

SUSPENSE, OPENING, SALES, PRICES = "suspense", "opening", "sales", "price_difference"
MOMO, CARD, BANK, FEES = "momo_clearing", "card_clearing", "bank", "fees"
REFUNDS, OVER_SHORT = "refunds_payable", "over_short"


class Unbalanced(Exception):
    """A rule has made money out of nothing, or lost some."""


def drawer_account(drawer: str) -> str:
    """The cash of a drawer session."""
    return f"drawer:{drawer}"


def receivable_account(invoice: str) -> str:
    """What is owed for an invoice."""
    return f"receivable:{invoice}"


def credit_account(party: str) -> str:
    """What a party has paid beyond what it owed."""
    return f"credit:{party}"


def has_books(draft: Draft) -> bool:
    """Whether this change set is booked: where the truth is, by the rules that have books."""
    return draft.context.is_truth and draft.context.rules >= MONEY_SINCE


def post(draft: Draft, account: str, minor: int, currency: str, **about: str | None) -> None:
    """Debit an account by `minor`, or credit it when that is below zero; `about` are ids of the entry."""
    if not minor or not has_books(draft):
        return
    subjects = {name: about.get(name) for name in ("party_id", "invoice_id", "payment_id", "drawer_id")}
    key = draft.derived("journal_entry", account, currency, *(str(value) for value in subjects.values()))
    before = draft.rows.get(("journal_entry", key))
    after = minor + (signed(before) if before else 0)
    if not after:
        del draft.rows["journal_entry", key]
        return
    row = {
        "account": account,
        "debit_minor": max(0, after),
        "credit_minor": max(0, -after),
        "currency": currency,
        **subjects,
        "device_id": draft.change_set.device,
        "seq": draft.change_set.seq,
        "claimed_at": draft.claimed_at,
        "booked_at": draft.context.decided_at,
    }
    draft.put("journal_entry", key, row)


def signed(entry: Fields) -> int:
    """What an entry adds to the debit side of its account."""
    minor: int = entry["debit_minor"] - entry["credit_minor"]
    return minor


def check_balanced(draft: Draft) -> None:
    """Raise `Unbalanced` when debits and credits of a change set differ in a currency."""
    sums: dict[tuple[str, int, str], int] = defaultdict(int)
    for (entity, _), row in draft.rows.items():
        if entity == "journal_entry":
            sums[row["device_id"], row["seq"], row["currency"]] += signed(row)
    for (device, seq, currency), minor in sums.items():
        if minor:
            raise Unbalanced(f"change set {seq} of device {device} is off by {minor} minor units of {currency}")
