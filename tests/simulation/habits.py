"""What people do on a device: a working day by role, in realistic mixes, with the slips that people make.

Each habit looks at what the replica shows and gives the operations of one change set, or nothing when there is nothing
of that kind to do. Slips come on top: a double tap, a number typed wrong, another's order, an amount that cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from pydantic import ValidationError

from sync.kernel.changeset import Fields, Operation
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.kernel.money import to_amount
from sync.modules.billing import TakePayment
from sync.modules.casework import CompleteTask
from sync.modules.commerce import (
    AdjustStock,
    AmendOrder,
    CompleteDelivery,
    CompletePack,
    CorrectDelivery,
    CountLine,
    CountStock,
    FailDelivery,
    PickLine,
    PlaceOrder,
    ReceiveStock,
    ReturnDelivery,
    ShortPick,
    StartDelivery,
    StartPick,
    TransferStock,
)
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import OrderLine

CURRENCY, OTHER_CURRENCY = "KES", "GBP"
IN_HOUSE = ("warehouse", "picking")


@dataclass(kw_only=True)
class Eyes:
    """What somebody sees and knows: the rows of the replica, and what is told by mouth."""

    random: Random
    now_ms: int
    rows: Callable[[str], dict[str, Fields]]
    products: Sequence[str]
    warehouses: Sequence[str]
    warehouse: str
    school: str
    schools: Sequence[str]
    colleagues: Sequence[str]
    heard: list[tuple[str, str]]
    """(entity, id) of what others have told of."""
    last: list[Operation] = field(default_factory=list)

    def new_id(self) -> str:
        """An id that nobody has."""
        return make_id(self.now_ms, self.random.randbytes(RANDOM_BYTES))

    def one(self, entity: str, is_wanted: Callable[[Fields], bool] = lambda _: True) -> tuple[str, Fields] | None:
        """Some row of this kind."""
        found = [(row_id, row) for row_id, row in self.rows(entity).items() if is_wanted(row)]
        return self.random.choice(found) if found else None

    def told(self, entity: str) -> str:
        """An id of this kind that was told of, or one that never was."""
        known = [row_id for of, row_id in self.heard if of == entity]
        return self.random.choice(known) if known and self.random.random() < 0.8 else self.new_id()

    def lines(self) -> list[OrderLine]:
        """What a customer wants."""
        wanted = self.random.sample(list(self.products), self.random.randint(1, 2))
        return [OrderLine(product=product, quantity=self.random.randint(1, 4)) for product in wanted]


Habit = Callable[[Eyes], list[Operation] | None]
Habits = Sequence[tuple[int, Habit]]


def start_delivery(eyes: Eyes) -> list[Operation] | None:
    """Load the van."""
    found = eyes.one("dispatch", lambda row: row["state"] == "ASSIGNED")
    return [StartDelivery(dispatch=found[0])] if found else None


def complete_delivery(eyes: Eyes) -> list[Operation] | None:
    """Hand over, mostly with the cash."""
    found = eyes.one("dispatch", lambda row: row["state"] in {"OUT_FOR_DELIVERY", "ASSIGNED"})
    if found is None:
        return None
    done: list[Operation] = [CompleteDelivery(dispatch=found[0], received_by="Zoë")]
    due = found[1]["cod_due_minor"]
    if due and eyes.random.random() < 0.7:
        done.append(TakePayment(order=found[1]["order_id"], amount=to_amount(due, CURRENCY), currency=CURRENCY))
    return done


def fail_delivery(eyes: Eyes) -> list[Operation] | None:
    """Nobody there."""
    found = eyes.one("dispatch", lambda row: row["state"] in {"OUT_FOR_DELIVERY", "ASSIGNED"})
    return [FailDelivery(dispatch=found[0], reason="nobody in")] if found else None


def correct_delivery(eyes: Eyes) -> list[Operation] | None:
    """It was the other parcel."""
    found = eyes.one("dispatch", lambda row: row["state"] == "DELIVERED")
    return [CorrectDelivery(dispatch=found[0], reason="the wrong parcel")] if found else None


def take_payment(eyes: Eyes) -> list[Operation] | None:
    """Somebody pays, more or less."""
    found = eyes.one("order")
    if found is None:
        return None
    currency = OTHER_CURRENCY if eyes.random.random() < 0.1 else CURRENCY
    amount = to_amount(eyes.random.choice((100, 300, 1250, 99_999)), currency)
    return [TakePayment(order=found[0], amount=amount, currency=currency)]


def receive_stock(eyes: Eyes) -> list[Operation] | None:
    """Goods come in."""
    product, quantity = eyes.random.choice(eyes.products), eyes.random.randint(1, 5)
    return [ReceiveStock(warehouse=eyes.warehouse, product=product, quantity=quantity)]


def adjust_stock(eyes: Eyes) -> list[Operation] | None:
    """Something broke, or was found."""
    delta = eyes.random.choice((-8, -2, -1, 1, 2))
    return [AdjustStock(warehouse=eyes.warehouse, product=eyes.random.choice(eyes.products), delta=delta)]


def transfer_stock(eyes: Eyes) -> list[Operation] | None:
    """Goods go to the other house."""
    product, target = eyes.random.choice(eyes.products), eyes.random.choice(eyes.warehouses)
    quantity = eyes.random.randint(1, 4)
    return [TransferStock(source=eyes.warehouse, target=target, product=product, quantity=quantity)]


def count_stock(eyes: Eyes) -> list[Operation] | None:
    """Count a shelf, now and then wrongly."""
    levels = eyes.rows("stock_level")
    lines = []
    for product in eyes.random.sample(list(eyes.products), eyes.random.randint(1, len(eyes.products))):
        level = levels.get(stock_level_id(eyes.warehouse, product))
        seen = max(0, (level["on_hand"] if level else 0) + eyes.random.choice((0, 0, 0, -1, 2, 30)))
        lines.append(CountLine(product=product, counted=seen))
    return [CountStock(warehouse=eyes.warehouse, lines=lines)]


def place_order(eyes: Eyes) -> list[Operation] | None:
    """A customer at the counter."""
    order_id, lines = eyes.new_id(), eyes.lines()
    if eyes.random.random() < 0.3:
        lines = [line.model_copy(update={"price": "2.00"}) for line in lines]
    eyes.heard.append(("order", order_id))
    supervisor = eyes.random.choice(eyes.colleagues) if eyes.random.random() < 0.4 else None
    return [
        PlaceOrder(
            id=order_id,
            number=order_id[-6:],
            warehouse=eyes.warehouse,
            customer_name="Zoë",
            address="1 High Street",
            lines=lines,
            supervisor=supervisor,
        )
    ]


def amend_order(eyes: Eyes) -> list[Operation] | None:
    """The customer has changed their mind."""
    found = eyes.one("order", lambda row: row["custody"] in IN_HOUSE)
    return [AmendOrder(order=found[0], lines=eyes.lines())] if found else None


def start_pick(eyes: Eyes) -> list[Operation] | None:
    """Take a tote."""
    found = eyes.one("order", lambda row: row["custody"] == "warehouse")
    return [StartPick(order=found[0])] if found else None


def pick_line(eyes: Eyes) -> list[Operation] | None:
    """Pick, all or some of it, once in a while too much."""
    found = eyes.one("order", lambda row: row["custody"] in IN_HOUSE)
    if found is None:
        return None
    line = eyes.random.choice(found[1]["lines"])
    quantity = max(1, line["quantity"] + eyes.random.choice((0, 0, 0, -1, 1)))
    return [PickLine(order=found[0], product=line["product_id"], quantity=quantity)]


def short_pick(eyes: Eyes) -> list[Operation] | None:
    """It is not on the shelf."""
    found = eyes.one("order", lambda row: row["custody"] in IN_HOUSE)
    if found is None:
        return None
    line = eyes.random.choice(found[1]["lines"])
    return [
        ShortPick(order=found[0], product=line["product_id"], quantity=eyes.random.randint(1, line["quantity"] or 1))
    ]


def complete_pack(eyes: Eyes) -> list[Operation] | None:
    """Close the parcel."""
    found = eyes.one("order", lambda row: row["custody"] in {*IN_HOUSE, "picked"})
    return [CompletePack(order=found[0], parcels=eyes.random.randint(1, 2))] if found else None


def return_delivery(eyes: Eyes) -> list[Operation] | None:
    """The van brings it back."""
    found = eyes.one("order", lambda row: row["custody"] == "undelivered")
    return [ReturnDelivery(order=found[0])] if found else None


def complete_task(eyes: Eyes) -> list[Operation] | None:
    """Do what somebody has asked for."""
    found = eyes.one("task")
    return [CompleteTask(task=found[0], note="done")] if found else None


# Slips


def double_tap(eyes: Eyes) -> list[Operation] | None:
    """The same again, because nothing seemed to happen."""
    return [operation.model_copy(update={"id": ""}) for operation in eyes.last] or None


def same_id_again(eyes: Eyes) -> list[Operation] | None:
    """The same again, by an app that makes its ids itself."""
    return list(eyes.last) or None


def about_hearsay(eyes: Eyes) -> list[Operation] | None:
    """About an order that is not on this device, or nowhere."""
    order, dispatch = eyes.told("order"), eyes.told("dispatch")
    choices: list[list[Operation]] = [
        [TakePayment(order=order, amount="3.00", currency=CURRENCY)],
        [PickLine(order=order, product=eyes.random.choice((*eyes.products, eyes.new_id())), quantity=1)],
        [ReturnDelivery(order=order)],
        [CompleteDelivery(dispatch=dispatch)],
        [FailDelivery(dispatch=dispatch, reason="nobody in")],
        [CorrectDelivery(dispatch=dispatch, reason="the wrong parcel")],
        [StartDelivery(dispatch=dispatch)],
        [AmendOrder(order=order, lines=eyes.lines())],
        [CompleteTask(task=eyes.new_id(), note="done")],
        [ReceiveStock(warehouse=eyes.new_id(), product=eyes.random.choice(eyes.products), quantity=1)],
    ]
    return eyes.random.choice(choices)


def impossible_amount(eyes: Eyes) -> list[Operation] | None:
    """A slip of the finger."""
    amount = eyes.random.choice(("0.00", "999999999999.00", "900000000.00"))
    try:
        return [TakePayment(order=eyes.told("order"), amount=amount, currency=CURRENCY)]
    except ValidationError:  # the form does not take it
        return None


def back_and_forth(eyes: Eyes) -> list[Operation] | None:
    """It was, it was not, it was: somebody does not know how to use this."""
    found = eyes.one("dispatch", lambda row: row["state"] == "DELIVERED")
    if found is None:
        return None
    steps = (CorrectDelivery(dispatch=found[0], reason="it was not"), CompleteDelivery(dispatch=found[0]))
    return [step.model_copy() for _ in range(eyes.random.randint(1, 11)) for step in steps]


def fail_late(eyes: Eyes) -> list[Operation] | None:
    """What was given to somebody else meanwhile has failed, says who had it before."""
    found = eyes.one("dispatch", lambda row: row["state"] == "WITHDRAWN")
    return [FailDelivery(dispatch=found[0], reason="nobody was in")] if found else None


def mixed(eyes: Eyes) -> list[Operation] | None:
    """What happened and what is asked for, at once."""
    received = ReceiveStock(warehouse=eyes.warehouse or eyes.new_id(), product=eyes.products[0], quantity=1)
    return [received, AmendOrder(order=eyes.told("order"), lines=eyes.lines())]


DRIVER: Sequence[tuple[int, Habit]] = (
    (4, start_delivery),
    (6, complete_delivery),
    (2, fail_delivery),
    (1, correct_delivery),
    (2, take_payment),
    (1, complete_task),
)
WAREHOUSE: Sequence[tuple[int, Habit]] = (
    (2, receive_stock),
    (2, adjust_stock),
    (1, transfer_stock),
    (3, count_stock),
    (3, place_order),
    (1, amend_order),
    (2, start_pick),
    (4, pick_line),
    (1, short_pick),
    (3, complete_pack),
    (2, return_delivery),
    (1, complete_task),
)
SLIPS: Sequence[tuple[int, Habit]] = (
    (3, double_tap),
    (1, same_id_again),
    (6, about_hearsay),
    (1, impossible_amount),
    (1, mixed),
    (1, back_and_forth),
    (1, fail_late),
)


def next_act(habits: Habits, others: Sequence[Habits], eyes: Eyes, *, slips: float) -> list[Operation] | None:
    """What somebody with these habits does next; sometimes it is a slip, or what another role would do."""
    random = eyes.random
    if random.random() < slips:
        habits = SLIPS
    if random.random() < slips / 8:
        habits = random.choice(others)
    for _ in range(4):
        (habit,) = random.choices([habit for _, habit in habits], [weight for weight, _ in habits])
        if eyes.warehouse or habits is not WAREHOUSE:
            operations: list[Operation] | None = habit(eyes)
            if operations:
                return operations
    return None
