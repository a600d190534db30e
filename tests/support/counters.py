"""A market town with two counters, a school office, and a customer who has something to pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sync.engine.town import Answered
from sync.kernel.changeset import Fields
from sync.modules.billing import (
    CloseDrawer,
    ConfirmPayment,
    CountDrawer,
    InvoiceLine,
    IssueInvoice,
    Money,
    OpenDrawer,
    RegisterParty,
    RequestPayment,
    TakePayment,
)
from sync.modules.billing.entities import PARKED, credit_id, till_id
from sync.modules.billing.ledger import signed
from sync.modules.identity import EnrolDevice
from sync.modules.schools import OpenSchool
from tests.support.town_in_memory import MarketTown, MemoryDevice, add_user, enrol, found_market_town

TITLE = "Stall rent, May"


@dataclass(kw_only=True)
class CounterTown(MarketTown):
    """The counters `desk_a` and `desk_b` with their clerks, the school's device, and the party that pays."""

    clerk: str = ""
    other_clerk: str = ""
    secretary: str = ""
    school: str = ""
    party: str = ""

    def __post_init__(self) -> None:
        """Name the devices."""
        super().__post_init__()
        self.desk_a, self.desk_b, self.school_pc = self.device("desk a"), self.device("desk b"), self.device("school")

    def bills(self, amount: str = "9.00", currency: str = "KES", *, title: str = TITLE) -> str:
        """An invoice of the party; returns its id."""
        lines = [InvoiceLine(text="rent", amount=amount)]
        invoice = IssueInvoice(
            id=self.new_id(), party=self.party, title=title, lines=lines, currency=currency, due_on="2026-12-01"
        )
        self.office(invoice)
        return invoice.id

    def pays(self, invoice: str, amount: str, currency: str = "KES", **said: Any) -> tuple[str, Answered]:
        """Money is taken at desk A a minute after the one before; the payment's id and the decision."""
        self.now_ms += 60_000
        payment = self.payment(invoice, amount, currency, **said)
        return payment.id, self.does(self.desk_a, self.clerk, payment)

    def payment(self, invoice: str, amount: str, currency: str = "KES", **said: Any) -> TakePayment:
        """The operation, not done yet."""
        return TakePayment(id=self.new_id(), invoice=invoice, amount=amount, currency=currency, **said)

    def asks(self, amount: str = "9.00", currency: str = "KES", **target: str) -> str:
        """The town asks for mobile money; the payment's id."""
        said = {"amount": amount, "currency": currency, "payer": "254700000001", **target}
        request = RequestPayment.model_validate({"id": self.new_id(), **said})
        self.does(self.server, self.server.id, request)
        return request.id

    def hears(self, payment: str, amount: str = "9.00", currency: str = "KES", reference: str = "MP1") -> Answered:
        """The provider confirms."""
        said = ConfirmPayment(payment=payment, amount=amount, currency=currency, reference=reference)
        return self.does(self.server, self.server.id, said)

    def opens(self, amount: str = "20.00", device: MemoryDevice | None = None, clerk: str | None = None) -> str:
        """A drawer with this float."""
        opening = OpenDrawer(id=self.new_id(), opening=[Money(amount=amount, currency="KES")])
        self.does(device or self.desk_a, clerk or self.clerk, opening)
        return opening.id

    def counts(self, drawer: str, amount: str) -> Answered:
        """Desk A counts its drawer."""
        return self.does(
            self.desk_a, self.clerk, CountDrawer(drawer=drawer, counted=[Money(amount=amount, currency="KES")])
        )

    def closes(self, drawer: str) -> Answered:
        """Desk A closes its drawer."""
        return self.does(self.desk_a, self.clerk, CloseDrawer(drawer=drawer))

    def drawer(self) -> str:
        """The drawer in use at desk A."""
        session: str = self.row("till", till_id(self.desk_a.id))["session_id"]
        return session

    def invoice(self, invoice: str) -> tuple[str, int, int]:
        """State, paid and remaining."""
        row = self.row("invoice", invoice)
        return row["state"], row["paid_minor"], row["remaining_minor"]

    def credit(self, party: str | None = None, currency: str = "KES", *, is_parked: bool = False) -> int:
        """What the party has left."""
        kind = PARKED if is_parked else "free"
        key = ("credit", credit_id(party or self.party, currency, kind))
        left: int = self.rows[key].fields["left_minor"] if key in self.rows else 0
        return left

    def balances(self, currency: str = "KES") -> dict[str, int]:
        """Every account that is not even, drawers as `drawer`, what is about a party or an invoice without its id."""
        sums: dict[str, int] = {}
        for entry in self.rows_of("journal_entry").values():
            if entry["currency"] == currency:
                name = entry["account"].partition(":")[0]
                sums[name] = sums.get(name, 0) + signed(entry)
        return {name: minor for name, minor in sorted(sums.items()) if minor}

    def settlement(self, payment: str) -> Fields:
        """What became of a payment."""
        return self.row("settlement", payment)


def found_counter_town() -> CounterTown:
    """The town, its people and its devices."""
    town = CounterTown()
    found_market_town(town=town)
    town.clerk = add_user(town, town.admin, "Clara", "counter_clerk")
    town.other_clerk = add_user(town, town.admin, "Otto", "counter_clerk")
    town.secretary = add_user(town, town.admin, "Sina", "school_office")
    town.school, town.party = town.new_id(), town.new_id()
    town.office(OpenSchool(id=town.school, name="Hill School"), RegisterParty(id=town.party, name="Zoë"))
    school_pc: EnrolDevice = enrol(town.school_pc, "school_office", school=town.school)
    town.office(enrol(town.desk_a, "counter_clerk"), enrol(town.desk_b, "counter_clerk"), school_pc)
    return town
