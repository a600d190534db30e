"""What is proven about the money: the books by their own sums, against hands, telephones, drawers and slips.

As in `proof`: values in, a value out, so that each check can be shown to fail.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.cli.demo import script
from server.cli.demo.evening import Drawer, Evening, Slips
from server.cli.demo.proof import Check, checked
from server.cli.demo.telling import counted, money
from server.cli.demo.world import Tally

LYING = ("drawer", "bank", "momo_clearing", "card_clearing", "over_short")
"""Where money lies that was taken, or where it is missed."""

EMPTY_AT_NIGHT = ("drawer", "suspense", "refunds_payable")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A line of the ledger, in pence: debits above zero. `act` is the change set, `kind` the account without its id."""

    act: tuple[str, int]
    kind: str
    account: str
    pence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Invoice:
    """An invoice as its row says, and what its allocations come to; in pence."""

    id: str
    total: int
    paid: int
    remaining: int
    allocated: int
    is_open: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The town's books in the end; `credits` is what is left, by party."""

    entries: Sequence[Entry]
    invoices: Sequence[Invoice]
    credits: Counter[str]

    def kinds(self) -> Counter[str]:
        """What is left in all accounts of a kind together."""
        sums: Counter[str] = Counter()
        for entry in self.entries:
            sums[entry.kind] += entry.pence
        return sums

    def accounts(self) -> Counter[str]:
        """What is left in each account."""
        sums: Counter[str] = Counter()
        for entry in self.entries:
            sums[entry.account] += entry.pence
        return sums


def received(tally: Tally) -> tuple[int, int]:
    """What customers gave and what they were given back, by the tally; in pence."""
    hands = [cash.pence for cash in tally.cash] + [one.pence for one in tally.handed]
    given = sum(pence for pence in hands if pence > 0) + sum(tally.phoned.values())
    return given, -sum(pence for pence in hands if pence < 0)


def books_balance(ledger: Ledger) -> Check:
    """Debits equal credits in every change set; receivables and credit say what invoices and parties say."""
    acts: dict[tuple[str, int], int] = defaultdict(int)
    for entry in ledger.entries:
        acts[entry.act] += entry.pence
    accounts = ledger.accounts()
    wrong = [f"change set {act[1]} is off by {money(pence)}" for act, pence in acts.items() if pence]
    wrong += [
        f"invoice {one.id}: {money(one.paid)} paid, {money(one.allocated)} allocated"
        for one in ledger.invoices
        if one.paid != one.allocated
    ]
    wrong += [
        f"invoice {one.id}: {money(one.remaining)} remain, its account says {money(accounts[f'receivable:{one.id}'])}"
        for one in ledger.invoices
        if one.is_open and one.remaining != accounts[f"receivable:{one.id}"]
    ]
    of_parties = {name.partition(":")[2]: -pence for name, pence in accounts.items() if name.startswith("credit:")}
    if {key: pence for key, pence in of_parties.items() if pence} != {k: v for k, v in ledger.credits.items() if v}:
        wrong.append("credit is another in the accounts than in its rows")
    said = f"{len(ledger.entries):,} entries of {counted(len(acts), 'change set')}: debits equal credits in every one"
    return checked("books", said, wrong if acts else ["nothing is booked"])


def every_penny(ledger: Ledger, tally: Tally) -> Check:
    """What was received and not given back lies somewhere, and has paid something or is somebody's credit."""
    (given, back), kinds = received(tally), ledger.kinds()
    lies = sum(kinds[kind] for kind in LYING)
    paid, credit = sum(one.allocated for one in ledger.invoices), sum(ledger.credits.values())
    wrong = [f"{money(abs(kinds[kind]))} are left in {kind}" for kind in EMPTY_AT_NIGHT if kinds[kind]]
    if lies != given - back:
        wrong.append(f"{money(given)} received, {money(back)} given back, and {money(lies)} are there")
    if paid + credit != given - back:
        wrong.append(f"{money(paid)} have paid something and {money(credit)} are credit, not {money(given - back)}")
    said = f"{money(given)} received - {money(back)} given back = {money(paid)} paid + {money(credit)} credit"
    return checked("every penny", said, wrong if given else ["nobody paid"])


def telephones(evening: Evening) -> Check:
    """Each customer was asked once and paid once; one call back came in time, one found nobody, one came late."""
    wrong = [
        f"{one.about}: the provider says {one.provider_says} {money(one.provider_pence)}, "
        f"the books {one.status} {money(one.booked_pence)}"
        for one in evening.calls
        if (one.provider_says, one.status) != ("SUCCESSFUL", "CONFIRMED")
        or not one.pence == one.provider_pence == one.booked_pence
    ]
    missed = [one for one in evening.calls if 0 in one.callbacks]
    if [one.about for one in missed] != [script.PAID_AT_THE_DOOR_AND_BY_PHONE]:
        wrong.append("another call back was lost than the one that is told of")
    said = f"{counted(len(evening.calls), 'payment')} by telephone, booked once each, as the provider says"
    return checked("telephones", said, wrong if evening.calls else ["nobody was asked"])


def drawers(evening: Evening) -> Check:
    """Each has one Z report that says what went through hands; one is short by what is missing, and said so blind."""
    wrong = []
    for one in evening.drawers:
        short = script.SHORTAGE_PENCE if one.device == script.MONA.device else 0
        if one.expected != one.opening + one.hands:
            wrong.append(f"{one.device}: {money(one.opening + one.hands)} must be there, its report says otherwise")
        if not -one.difference == one.expected - one.counted == short:
            wrong.append(f"{one.device}: off by {money(abs(one.difference))}, not by {money(short)}")
        if one.reports != 1 or one.was_told:
            wrong.append(f"{one.device}: it was not counted blind and once")
    refund = evening.refund
    if (refund.asked, refund.agreed, refund.paid) != ("REQUESTED", "APPROVED", "PAID"):
        wrong.append(f"the refund was {refund.asked}, {refund.agreed} and {refund.paid}")
    said = (
        f"{counted(len(evening.drawers), 'Z report')}: what went through hands; {money(_short(evening.drawers))} short"
    )
    return checked("drawers", said, wrong if evening.drawers else ["none was counted"])


def receipts(slips: Slips) -> Check:
    """Each printed receipt is good to whoever has only the key, with the amount on it; the tampered one is not."""
    *answers, tampered = slips.answers or [{}]
    wrong = [
        f"{slip['number']} is {answer.get('code', 'another')}"
        for slip, answer in zip(slips.printed, answers, strict=False)
        if not answer.get("is_good") or any(answer[name] != slip[name] for name in ("number", "amounts"))
    ]
    if len(answers) != len(slips.printed):
        wrong.append(f"{len(slips.printed)} printed, {len(answers)} answered")
    if tampered.get("code") != "receipt_altered":
        wrong.append(f"the one with another amount is {tampered.get('code', 'taken for good')}")
    said = f"{len(answers)} hold for a process that has only the key; another amount does not"
    return checked("receipts", said, wrong if answers else ["none was printed"])


def ledger_of(entries: Iterable[Entry], invoices: Iterable[Invoice], left: Iterable[tuple[str, int]]) -> Ledger:
    """The books, with the credit of a party in one sum."""
    by_party: Counter[str] = Counter()
    for party, pence in left:
        by_party[party] += pence
    return Ledger(entries=list(entries), invoices=list(invoices), credits=by_party)


def _short(found: Sequence[Drawer]) -> int:
    return -sum(one.difference for one in found)
