"""What holds of money after anything that people, devices and the provider may do, in any order.

Each example is a town in which two counters, a van, the office and the provider do what comes to hypothesis's mind,
sensible or not, with two invoices and an order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.engine.town import Submitted
from sync.kernel.changeset import ChangeSet, Intent, Operation, Status
from sync.kernel.ids import derived_id
from sync.kernel.money import to_minor
from sync.modules import registry
from sync.modules.billing import (
    ApplyCredit,
    ApproveRefund,
    AssignPayments,
    CancelInvoice,
    CloseDrawer,
    ConfirmPayment,
    CountDrawer,
    ExpirePayment,
    FailPayment,
    InvoiceLine,
    IssueInvoice,
    Money,
    OpenDrawer,
    PayOut,
    PayRefund,
    RejectRefund,
    RequestCardPayment,
    RequestPayment,
    RequestRefund,
    ReversePayment,
    TakePayment,
    VoidPayment,
)
from sync.modules.billing.audit import audit
from sync.modules.billing.entities import credit_id, invoice_id, party_id, till_id
from sync.modules.commerce import CancelOrder, PlaceOrder
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.counters import CounterTown, found_counter_town

ORDER = derived_id("law", "order")


def said_id(*names: object) -> str:
    """An id as whoever says something makes it."""
    derived = derived_id("law", *names)
    return f"{derived[:14]}7{derived[15:]}"


INVOICES = [said_id("invoice", number) for number in range(2)]
DRAWERS = [said_id("drawer", number) for number in range(5)]
PAYMENTS = [derived_id("law", "payment", number) for number in range(5)]
REFUNDS = [derived_id("law", "refund", number) for number in range(2)]
TARGETS: list[dict[str, str]] = [
    *({"invoice": invoice} for invoice in INVOICES),
    {"order": ORDER},
    {"invoice": invoice_id(ORDER)},
]
KINDS = [
    "issue", "cancel", "place", "cancel_order", "take", "take", "take", "card", "ask", "page", "confirm", "fail",
    "expire", "reverse", "void", "assign", "ask_back", "ask_back", "agree", "reject", "give_back", "give_back", "apply",
    "apply_parked", "open", "count", "close", "transfer", "pay_out",
]  # fmt: skip
Action = tuple[str, int, int, int, int]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 4), st.integers(0, 3), st.integers(1, 12), st.integers(0, 3)),
    min_size=5,
    max_size=25,
).map(lambda actions: [("issue", 0, 0, 1, 0), ("take", 0, 0, 10, 1), ("issue", 0, 1, 1, 0), *actions])


def operation(town: CounterTown, action: Action) -> Operation:
    """What an action says."""
    kind, which, other, size, place = action
    payment, refund, target = PAYMENTS[which], REFUNDS[which % 2], TARGETS[other]
    money: dict[str, Any] = {"amount": f"{size}.50", "currency": "GBP" if size == 12 else "KES"}
    invoice = INVOICES[other % 2]
    holder = (town.server.id, town.desk_a.id, town.desk_b.id, town.van_a.id)[place]
    till = town.rows.get(("till", till_id(town.admin if place == 0 else holder)))
    drawer = till.fields["session_id"] if till else derived_id("nowhere")
    sums = [Money(amount=f"{size}.00", currency="KES")]
    lines = [InvoiceLine(text="t", amount="9.00")]
    said: dict[str, Callable[[], Operation]] = {
        "issue": lambda: IssueInvoice(id=invoice, party=town.party, title="t", lines=lines, currency="KES"),
        "cancel": lambda: CancelInvoice(invoice=target.get("invoice", invoice)),
        "place": lambda: PlaceOrder(
            id=ORDER,
            number="1",
            warehouse=town.warehouse,
            customer_name="c",
            lines=[OrderLine(product=town.tea, quantity=2)],
        ),
        "cancel_order": lambda: CancelOrder(order=ORDER),
        "take": lambda: TakePayment(id=payment, **target, **money, method="cod" if size % 2 else "cash"),
        "card": lambda: TakePayment(id=payment, **target, **money, method="card", reference=f"T{size % 3}"),
        "transfer": lambda: TakePayment(id=payment, **target, **money, method="bank", reference=f"T{size % 3}"),
        "pay_out": lambda: PayOut(method="momo", **money, fee=f"{which}.00", reference=f"T{other}"),
        "ask": lambda: RequestPayment.model_validate({"id": payment, **target, **money, "payer": "254700000001"}),
        "page": lambda: RequestCardPayment.model_validate({"id": payment, **target, **money}),
        "confirm": lambda: ConfirmPayment(payment=payment, **money, reference=f"M{size % 3}"),
        "fail": lambda: FailPayment(payment=payment),
        "expire": lambda: ExpirePayment(payment=payment),
        "reverse": lambda: ReversePayment(payment=payment, reference="R"),
        "void": lambda: VoidPayment(payment=payment, reason="r"),
        "assign": lambda: AssignPayments(payment=payment, invoice=invoice),
        "ask_back": lambda: RequestRefund(id=refund, payment=payment, **money, reason="r"),
        "agree": lambda: ApproveRefund(refund=refund),
        "reject": lambda: RejectRefund(refund=refund, reason="r"),
        "give_back": lambda: PayRefund(payment=payment, refund=refund if size % 2 else None, **money),
        "apply": lambda: ApplyCredit(credit=credit_id(town.party, "KES"), invoice=invoice, amount="0.50"),
        "apply_parked": lambda: ApplyCredit(
            credit=credit_id(party_id(ORDER) if size % 2 else town.party, "KES", "parked"),
            invoice=target.get("invoice", invoice_id(ORDER)),
            amount=f"{size % 4}.50",
        ),
        "open": lambda: OpenDrawer(id=DRAWERS[which], opening=sums),
        "count": lambda: CountDrawer(drawer=drawer, counted=sums),
        "close": lambda: CloseDrawer(drawer=drawer),
    }
    return said[kind]()


ASSETS = {"drawer", "momo_clearing", "card_clearing", "bank", "fees", "over_short"}
PROVIDER = {"page", "confirm", "fail", "expire", "reverse"}


def line(town: CounterTown, action: Action) -> Submitted:
    """Whoever may say it says it somewhere, now or long after they could have known better."""
    place, size = action[4], action[3]
    if action[0] in PROVIDER:
        return town.line(town.server, town.server.id, operation(town, action))
    if action[0] in {"agree", "reject", "assign", "pay_out"}:
        return town.line(town.server, town.admin, operation(town, action))
    where = (town.server, town.desk_a, town.desk_b, town.van_a)[place]
    who = (town.admin, town.clerk, town.other_clerk, town.driver_a)[place]
    town.now_ms += 30_000 * (size % 4)
    return town.line(where, who, operation(town, action), base=1 if size == 7 else None)


def live(actions: list[Action]) -> CounterTown:
    """A town after all of it, with a limit above which a second person has to agree."""
    town = found_counter_town()
    town.office(ChangeSettings(settings=TownSettings(refund_units_max=4)), actor=town.admin)
    for action in actions:
        if action[0] == "close":  # nobody closes a drawer without counting it
            town.take([line(town, ("count", *action[1:]))])
        town.take([line(town, action)])
    return town


def check_books(town: CounterTown) -> None:
    assert audit((key, stored.fields) for key, stored in town.rows.items()) == []


def check_received(town: CounterTown) -> None:
    """What lies in drawers, clearing accounts and the bank is all that was received and not given back."""
    held: Counter[str] = Counter()
    for entry in town.rows_of("journal_entry").values():
        if entry["account"].partition(":")[0] in ASSETS:
            held[entry["currency"]] += entry["debit_minor"] - entry["credit_minor"]
    kept: Counter[str] = Counter()
    for settlement in town.rows_of("settlement").values():
        if settlement["status"] == "CONFIRMED":
            kept[settlement["currency"]] += settlement["amount_minor"]
    booked = {(entry["device_id"], entry["seq"]) for entry in town.rows_of("journal_entry").values()}
    for answered in town.answered:
        change_set = answered.submitted.change_set
        assert isinstance(change_set, ChangeSet)
        for op in change_set.ops if (change_set.device, change_set.seq) in booked else ():
            if isinstance(op, PayRefund):
                kept[op.currency] -= to_minor(op.amount, op.currency)
    assert {name: minor for name, minor in held.items() if minor} == {
        name: minor for name, minor in kept.items() if minor
    }


def check_settled(town: CounterTown) -> None:
    """Each payment's money is somewhere: in suspense, on invoices, as credit, or given back."""
    asked = Counter[str]()
    for refund in town.rows_of("refund").values():
        if refund["state"] == "REQUESTED":
            asked[refund["payment_id"]] += refund["amount_minor"]
    for payment, row in town.rows_of("settlement").items():
        placed = sum(row[f"{name}_minor"] for name in ("suspense", "allocated", "credited", "parked"))
        came = row["amount_minor"] if row["status"] == "CONFIRMED" else 0
        assert placed == came - (row["refunded_minor"] - asked[payment]), (payment, row)


def check_drawers(town: CounterTown) -> None:
    """A closed drawer has as many reports as it says, and the last one is what it says."""
    for drawer, row in town.rows_of("drawer_session").items():
        reports = [one for one in town.rows_of("drawer_report").values() if one["drawer_id"] == drawer]
        assert sorted(one["number"] for one in reports) == list(range(1, row["reports"] + 1))
        assert bool(reports) == (row["state"] == "CLOSED")
        if reports:
            assert max(reports, key=lambda one: one["number"])["differences"] == row["differences"]


def check_verdicts(town: CounterTown) -> None:
    """Facts are not refused for a business reason, and nothing is adjusted or refused without one."""
    for answered in town.answered:
        change_set, verdict = answered.submitted.change_set, answered.verdict
        assert isinstance(change_set, ChangeSet)
        intents = {op.intent_from(is_server=answered.submitted.is_server) for op in change_set.ops}
        if verdict.status is Status.REFUSED and Intent.WISH not in intents:
            assert (verdict.rule or "").startswith(("engine.", "people."))
        assert verdict.status is Status.ACCEPTED or verdict.notes


LEGAL = {
    ("PENDING", "CONFIRMED"), ("PENDING", "FAILED"), ("PENDING", "EXPIRED"), ("FAILED", "CONFIRMED"),
    ("EXPIRED", "CONFIRMED"), ("CONFIRMED", "VOIDED"), ("CONFIRMED", "REVERSED"),
}  # fmt: skip


def check_legal(town: CounterTown) -> None:
    """A payment walks along its states; its last step is where it is."""
    for row in town.rows_of("payment_event").values():
        step = (row["from_status"], row["to_status"])
        assert step in LEGAL or step[0] == step[1]


CHECKS = (check_books, check_received, check_settled, check_drawers, check_verdicts, check_legal)


@pytest.mark.parametrize("check_law", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@given(actions=ACTIONS)
@settings(max_examples=60, deadline=None)
def test_the_law_of_money_holds_whatever_people_do(
    check_law: Callable[[CounterTown], None], actions: list[Action]
) -> None:
    check_law(live(actions))


@given(ACTIONS)
@settings(max_examples=30, deadline=None)
def test_money_lived_again_has_the_same_rows_and_journal(actions: list[Action]) -> None:
    first, second = live(actions), live(actions)

    assert (first.rows, first.journal) == (second.rows, second.journal)


TAKEN = st.lists(st.tuples(st.integers(1, 900), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=6)


@given(TAKEN, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_payments_come_to_the_same_in_whatever_order_they_arrive(
    taken: list[tuple[int, int, int]], random: Any
) -> None:
    """Which one was too much depends on the order; what is paid, what is credit and where the money lies does not."""
    seen = []
    for ordered in (taken, random.sample(taken, len(taken))):
        town = found_counter_town()
        invoices = [town.bills("9.00"), town.bills("5.00")]
        for minor, place, which in ordered:
            town.now_ms += 60_000
            payment = town.payment(invoices[which], f"{minor // 100}.{minor % 100:02}")
            where, who = ((town.desk_a, town.clerk), (town.desk_b, town.other_clerk), (town.van_a, town.driver_a))[
                place
            ]
            town.does(where, who, payment)
        seen.append(([town.invoice(invoice) for invoice in invoices], town.credit(), town.balances()))

    assert seen[0] == seen[1]


@given(TAKEN, st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_money_comes_to_the_same_whether_the_invoice_was_known_before_or_after(
    taken: list[tuple[int, int, int]], known_after: int
) -> None:
    seen = []
    for place_of_invoice in (0, known_after):
        town = found_counter_town()
        invoice = derived_id("a", "late", "invoice")
        lines = [InvoiceLine(text="t", amount="9.00")]
        issue = IssueInvoice(id=invoice, party=town.party, title="t", lines=lines, currency="KES")
        doings: list[tuple[int, int, int] | None] = [*taken]
        doings.insert(place_of_invoice, None)
        for doing in doings:
            town.now_ms += 60_000
            if doing is None:
                town.office(issue)
            else:
                minor, place, _ = doing
                where, who = ((town.desk_a, town.clerk), (town.desk_b, town.other_clerk), (town.van_a, town.driver_a))[
                    place
                ]
                town.does(where, who, town.payment(invoice, f"{minor // 100}.{minor % 100:02}"))
        seen.append((town.invoice(invoice), town.credit(), town.balances()))

    assert seen[0] == seen[1]


def test_the_actions_of_the_laws_have_effects() -> None:
    """What never happens in the examples proves nothing."""
    done: set[str] = set()
    seeded = Random(5)
    for _ in range(100):
        doings = [
            (
                seeded.choice(KINDS),
                seeded.randint(0, 4),
                seeded.randint(0, 3),
                seeded.randint(1, 12),
                seeded.randint(0, 3),
            )
            for _ in range(60)
        ]
        for answered in live([("issue", 0, 0, 1, 0), ("issue", 0, 1, 1, 0), *doings]).answered:
            change_set = answered.submitted.change_set
            assert isinstance(change_set, ChangeSet)
            if answered.verdict.status.has_effect:
                done.update(op.op for op in change_set.ops)

    billing = next(module for module in registry().modules if module.name == "billing")
    assert {op.op for op in billing.operations} - {"party.register", "payment.assign"} <= done
