"""What holds after anything that people and devices may do, in any order: stock, money, custody, feed, facts, rights.

Each example is a town in which a few people do what comes to hypothesis's mind, sensible or not, on three devices and
in the office; facts of one device may arrive long after the office has decided otherwise, and now and then a device
says that somebody else is acting.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.engine.feed import BucketSum
from sync.engine.town import Submitted
from sync.kernel.changeset import ChangeSet, Intent, Operation, Status
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.billing.audit import audit
from sync.modules.commerce import (
    AdjustStock,
    AmendOrder,
    AssignDispatch,
    CancelOrder,
    CompleteDelivery,
    CompletePack,
    CorrectDelivery,
    CountStock,
    FailDelivery,
    GrantQuota,
    PickLine,
    PlaceOrder,
    ReassignDispatch,
    ReceiveStock,
    ReturnDelivery,
    ReturnQuota,
    ShortPick,
    StartDelivery,
    StartPick,
    TransferStock,
    WithdrawDispatch,
)
from sync.modules.commerce.counts import CountLine
from sync.modules.commerce.entities import CUSTODY_LADDER, displayed_status, stock_level_id, stock_quota_id
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import HELD_BUCKET_KINDS, DeactivateUser
from tests.support.decisions import moves
from tests.support.town_in_memory import MarketTown, found_market_town

FORWARD = set(itertools.pairwise(CUSTODY_LADDER))
LEGAL = FORWARD | {
    ("packed", "ready"),
    ("van", "undelivered"),
    ("undelivered", "ready"),
    ("undelivered", "van"),
    ("undelivered", "returned"),
    ("returned", "van"),
    ("customer", "undelivered"),
}
PUT_BACK = {(custody, "returned") for custody in CUSTODY_LADDER[:5]}
"""Only for an order that is cancelled: its goods never left the house."""

ENGINE_ONLY = ("engine.", "people.mixed_intents")
ORDERS = [derived_id("law", "order", number) for number in range(2)]
DISPATCHES = [derived_id("law", "dispatch", number) for number in range(4)]
AT_ONCE = {("picking", "picked"), ("packed", "ready")}
"""The first piece picked may be the last, and what is packed for a driver is ready."""

Action = tuple[str, int, int, int, int]
KINDS = [
    "place", "amend", "cancel", "start_pick", "pick", "short", "pack", "assign", "reassign", "withdraw", "depart",
    "deliver", "deliver_paid", "fail", "return", "pay", "receive", "adjust", "transfer", "leave", "count", "grant",
    "give_back", "correct",
]  # fmt: skip
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 1),
        st.integers(0, 3),
        st.integers(1, 6),
        st.sampled_from([0, 0, 1, 2, 3]),
    ),
    max_size=25,
).map(lambda actions: [("place", 0, 0, 3, 0), ("assign", 0, 0, 1, 0), *actions])


@dataclass
class Cast:
    """A town and how an action becomes operations in it."""

    town: MarketTown

    def operations(self, action: Action) -> tuple[Operation, ...]:
        kind, which, other, size, _ = action
        town, order, dispatch = self.town, ORDERS[which], DISPATCHES[other]
        product = (town.tea, town.rice)[size % 2]
        driver = (town.driver_a, town.driver_b)[other % 2]
        amount = TakePayment(order=order, amount=f"{size}.50", currency="KES" if size < 6 else "GBP")
        lines = [OrderLine(product=product, quantity=size), OrderLine(product=town.tea, quantity=1)]
        make: dict[str, Callable[[], tuple[Operation, ...]]] = {
            "place": lambda: (
                PlaceOrder(id=order, number=str(which), warehouse=town.warehouse, customer_name="c", lines=lines),
            ),
            "amend": lambda: (AmendOrder(order=order, lines=lines),),
            "cancel": lambda: (CancelOrder(order=order),),
            "start_pick": lambda: (StartPick(order=order),),
            "pick": lambda: (PickLine(order=order, product=product, quantity=size),),
            "short": lambda: (ShortPick(order=order, product=product, quantity=size),),
            "pack": lambda: (CompletePack(order=order),),
            "assign": lambda: (AssignDispatch(id=dispatch, order=order, driver=driver),),
            "reassign": lambda: (ReassignDispatch(id=dispatch, order=order, driver=driver),),
            "withdraw": lambda: (WithdrawDispatch(dispatch=dispatch),),
            "depart": lambda: (StartDelivery(dispatch=dispatch),),
            "deliver": lambda: (CompleteDelivery(dispatch=dispatch),),
            "deliver_paid": lambda: (CompleteDelivery(dispatch=dispatch), amount),
            "fail": lambda: (FailDelivery(dispatch=dispatch),),
            "correct": lambda: (CorrectDelivery(dispatch=dispatch, reason="r"),),
            "return": lambda: (ReturnDelivery(order=order),),
            "pay": lambda: (amount,),
            "receive": lambda: (ReceiveStock(warehouse=town.warehouse, product=product, quantity=size),),
            "adjust": lambda: (AdjustStock(warehouse=town.warehouse, product=product, delta=-size),),
            "transfer": lambda: (
                TransferStock(source=town.warehouse, target=town.warehouse, product=product, quantity=size),
            ),
            "count": lambda: (
                CountStock(warehouse=town.warehouse, lines=[CountLine(product=product, counted=2 * size)]),
            ),
            "grant": lambda: (
                GrantQuota(
                    device=town.tablet.id,
                    warehouse=town.warehouse,
                    product=product,
                    quantity=size,
                    expires_at="2027-01-01T00:00:00.000Z",
                ),
            ),
            "give_back": lambda: (ReturnQuota(quota=stock_quota_id(town.tablet.id, town.warehouse, product)),),
            "leave": lambda: (DeactivateUser(user=town.driver_b),),
        }
        return make[kind]()

    def line(self, action: Action) -> Submitted:
        town = self.town
        _, _, other, size, place = action
        devices = (town.server, town.tablet, town.van_a, town.van_b)
        people = (town.admin, town.picker, town.driver_a, town.driver_b)
        actor = people[other if size == 6 else place]
        return town.line(devices[place], actor, *self.operations(action))


def live(actions: list[Action], batch_size: int = 1) -> MarketTown:
    town = found_market_town(tea=6, rice=4)
    cast = Cast(town)
    lines = [cast.line(action) for action in actions]
    for start in range(0, len(lines), batch_size):
        town.take(lines[start : start + batch_size])
    return town


def check_stock(town: MarketTown) -> None:
    on_hand: Counter[tuple[str, str]] = Counter()
    reserved: Counter[tuple[str, str]] = Counter()
    promised: Counter[tuple[str, str]] = Counter()
    for row in town.rows_of("stock_movement").values():
        on_hand[row["warehouse_id"], row["product_id"]] += row["on_hand_delta"]
        reserved[row["warehouse_id"], row["product_id"]] += row["reserved_delta"]
    for order in town.rows_of("order").values():
        for line in order["lines"]:
            assert 0 <= line["reserved"] <= line["quantity"] - line["short"]
            promised[order["warehouse_id"], line["product_id"]] += line["reserved"]
    for quota in town.rows_of("stock_quota").values():
        left = quota["granted"] - quota["used"] - quota["returned"]
        assert left >= 0
        promised[quota["warehouse_id"], quota["product_id"]] += left
    for row in town.rows_of("stock_level").values():
        key = (row["warehouse_id"], row["product_id"])
        assert (row["on_hand"], row["reserved"], row["reserved"]) == (on_hand[key], reserved[key], promised[key])


def check_money(town: MarketTown) -> None:
    for order_id, order in town.rows_of("order").items():
        received = sum(
            row["amount_minor"]
            for row_id, row in town.rows_of("payment").items()
            if (row["order_id"], row["currency"]) == (order_id, order["currency"])
            and not town.row("settlement", row_id)["parked_minor"]
        )
        is_void = order["commercial"] == "cancelled" and order["custody"] != "customer"
        owed = 0 if is_void else order["total_minor"]
        assert order["paid_minor"] + order["credit_minor"] == received
        assert order["paid_minor"] == min(received, owed)
        assert order["total_minor"] == sum(
            (line["quantity"] - line["short"]) * line["price_minor"] for line in order["lines"]
        )


def check_books(town: MarketTown) -> None:
    assert audit((key, stored.fields) for key, stored in town.rows.items()) == []
    assert town.rows_of("journal_entry")


def check_custody(town: MarketTown) -> None:
    """An order's events are one path of legal steps; what a line reports is its last step, those before are marked."""
    for order_id, order in town.rows_of("order").items():
        lines = moves(town, order_id)
        path = [row["from_custody"] for row in itertools.chain(*lines)] + [order["custody"]]
        assert path[:2] == [None, "warehouse"]
        assert path[1:] == [row["to_custody"] for row in itertools.chain(*lines)]
        is_put_back = order["commercial"] == "cancelled"
        assert set(itertools.pairwise(path[1:])) <= LEGAL | (PUT_BACK if is_put_back else set())
        for rows in lines:
            assert not rows[-1]["is_implied"]
            said = [row["to_custody"] for row in rows if not row["is_implied"]]
            assert len(said) == 1 or tuple(said) in AT_ONCE
        assert order["status"] == displayed_status(order["commercial"], order["custody"])
        assert order["attempts"] == path.count("undelivered")


def check_dispatches(town: MarketTown) -> None:
    """At most one dispatch of an order is open, and it is the order's own."""
    for order_id, order in town.rows_of("order").items():
        mine = [(row_id, row) for row_id, row in town.rows_of("dispatch").items() if row["order_id"] == order_id]
        still_open = [row_id for row_id, row in mine if row["state"] in {"ASSIGNED", "OUT_FOR_DELIVERY"}]
        assert still_open in ([], [order["dispatch_id"]])
        delivered = [row_id for row_id, row in mine if row["state"] == "DELIVERED"]
        assert delivered == ([order["dispatch_id"]] if order["custody"] == "customer" else [])
        for row_id in still_open:
            due = order["total_minor"] - order["paid_minor"]
            assert town.row("dispatch", row_id)["cod_due_minor"] == due


def check_feed(town: MarketTown) -> None:
    assert {key: line for key, line in town.feed.items() if line[1] is not None} == town.feed_from_rows()
    assert {bucket: one for bucket, one in town.sums.items() if one != BucketSum()} == town.sums_from_rows()


def check_buckets(town: MarketTown) -> None:
    """A device of any role holds a row in one bucket at most, and buckets are of the kinds that are declared."""
    for (name, _), stored in town.rows.items():
        entity = town.registry.entities[name]
        buckets = entity.buckets(stored.fields)
        assert len(set(buckets)) == len(buckets)
        kinds = [bucket.partition(":")[0] for bucket in buckets]
        assert set(kinds) <= entity.bucket_kinds
        for held in HELD_BUCKET_KINDS.values():
            assert sum(kind in held for kind in kinds) <= 1, (name, buckets)


def check_verdicts(town: MarketTown) -> None:
    """Facts are not refused for a business reason; what is not accepted says why; all is explained by a known case."""
    for answered in town.answered:
        change_set, verdict = answered.submitted.change_set, answered.verdict
        assert isinstance(change_set, ChangeSet)
        intents = {op.intent_from(is_server=answered.submitted.is_server) for op in change_set.ops}
        if verdict.status is Status.ACCEPTED:
            assert (verdict.rule, verdict.notes, verdict.conflicts) == (None, (), ())
            continue
        assert verdict.rule in town.registry.cases
        assert verdict.notes
        if verdict.status is Status.REFUSED and Intent.WISH not in intents:
            # Whoever does something in the office is online, and hears that it cannot be.
            in_the_office = ("people.actor_refused", "orders.not_delivered")
            may_be = (*ENGINE_ONLY, *in_the_office) if answered.submitted.is_server else ENGINE_ONLY
            assert verdict.rule.startswith(may_be)
        for conflict in verdict.conflicts:
            assert any(row["conflict_id"] == conflict for row in town.rows_of("task").values())


def check_authority(town: MarketTown) -> None:
    """What a device of this role is not for, or another's device, is accepted from nobody: it leaves a conflict.

    What none of a user's roles may do is refused in the office.
    """
    owners = {town.tablet.id: town.picker, town.van_a.id: town.driver_a, town.van_b.id: town.driver_b}
    for answered in town.answered:
        change_set, verdict = answered.submitted.change_set, answered.verdict
        assert isinstance(change_set, ChangeSet)
        if change_set.actor == town.server.id:
            continue
        if answered.submitted.is_server:
            roles = set(town.row("user", change_set.actor)["roles"])
            is_refused = verdict.rule in {"people.actor_refused", "people.mixed_intents"}
            assert is_refused or all(roles & op.roles for op in change_set.ops)
            continue
        role = town.row("device", change_set.device)["role"]
        is_within = all(role in op.roles for op in change_set.ops)
        if change_set.actor == owners[change_set.device] and is_within:
            continue
        assert verdict.status in {Status.REFUSED, Status.QUARANTINED} or (verdict.rule or "").startswith("people.")


CHECKS = (
    check_stock, check_money, check_books, check_custody, check_dispatches, check_feed, check_buckets, check_verdicts,
    check_authority,
)  # fmt: skip


@pytest.mark.parametrize("check_law", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@given(actions=ACTIONS, batch_size=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_the_law_holds_whatever_people_do(
    check_law: Callable[[MarketTown], None], actions: list[Action], batch_size: int
) -> None:
    check_law(live(actions, batch_size))


DELTAS = st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(0, 1)), max_size=8)


@given(DELTAS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_deltas_of_stock_add_up_in_any_order(deltas: list[tuple[int, int]], random: Any) -> None:
    levels = []
    for ordered in (deltas, random.sample(deltas, len(deltas))):
        town = found_market_town()
        for delta, which in ordered:
            product = (town.tea, town.rice)[which]
            town.does(town.tablet, town.picker, AdjustStock(warehouse=town.warehouse, product=product, delta=delta))
        levels.append([town.row("stock_level", stock_level_id(town.warehouse, p)) for p in (town.tea, town.rice)])

    assert levels[0] == levels[1]


@given(ACTIONS)
@settings(max_examples=30, deadline=None)
def test_a_town_lived_again_has_the_same_rows_feed_and_journal(actions: list[Action]) -> None:
    first, second = live(actions), live(actions)

    assert (first.rows, first.feed, first.sums) == (second.rows, second.feed, second.sums)
    assert first.journal == second.journal
