"""The books of one shelf: how much of a product a warehouse has, every movement in order, and the count that holds.

A movement of goods has a number on its shelf and its id follows from that, so that a rule can read the newest ones by
id. Each keeps when it was, as far as that is proven. A movement with a `count_id` moves no goods: it makes the books
say what was counted.

Law: on_hand is the sum of the movements' on_hand_delta and reserved the sum of their reserved_delta.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync.kernel.changeset import Fields, RowKey
from sync.kernel.draft import Draft
from sync.kernel.evidence import Moment, Order, moment_of, order_of
from sync.kernel.ids import derived_id
from sync.modules.commerce.entities import stock_level_id

NUMBERED_SINCE = 2
"""The rules since which movements have numbers and moments (`sync.kernel.draft.RULES`)."""

MOVEMENTS_KNOWN_MAX = 64
"""The newest movements of a shelf that a count is weighed against; what is before them has to be beyond doubt."""


MARGIN_MOVEMENTS = 8
"""So many of these, the oldest, have to be beyond doubt for that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A product in a warehouse."""

    warehouse: str
    product: str

    @property
    def level_id(self) -> str:
        """The id of its level."""
        return stock_level_id(self.warehouse, self.product)

    @property
    def audience(self) -> str:
        """The bucket of those who can look."""
        return f"warehouse:{self.warehouse}"

    def movement_key(self, number: int) -> RowKey:
        """The movement of goods with this number."""
        return "stock_movement", derived_id("stock_movement", self.warehouse, self.product, number)


def level_of(draft: Draft, place: Place) -> Fields:
    """The level, at nothing when the shelf is new; raises `UnknownRow` for a warehouse or product there is not."""
    level = draft.get("stock_level", place.level_id)
    if level is not None:
        return level
    draft.need("warehouse", place.warehouse)
    draft.need("product", place.product)
    return {
        "warehouse_id": place.warehouse,
        "product_id": place.product,
        "on_hand": 0,
        "reserved": 0,
        "moves": 0,
        "count_id": None,
    }


def book(
    draft: Draft,
    place: Place,
    *,
    on_hand: int = 0,
    reserved: int = 0,
    reason: str,
    order: str | None = None,
    count: str | None = None,
) -> Fields:
    """Change the level by deltas and append the movement; returns the level.

    `count` names the count that the movement makes the books agree with.
    """
    level = level_of(draft, place)
    is_numbered = bool(on_hand) and draft.context.is_truth and draft.context.rules >= NUMBERED_SINCE
    after = {**level, "on_hand": level["on_hand"] + on_hand, "reserved": level["reserved"] + reserved}
    movement = ("stock_movement", draft.new_id("stock_movement"))
    if is_numbered:
        after["moves"] = level["moves"] + 1
        movement = place.movement_key(after["moves"])
    draft.put("stock_level", place.level_id, after)
    when = draft.moment.as_fields()
    draft.put(
        *movement,
        {
            "warehouse_id": place.warehouse,
            "product_id": place.product,
            "on_hand_delta": on_hand,
            "reserved_delta": reserved,
            "reason": reason,
            "order_id": order,
            "device_id": draft.change_set.device,
            "seq": draft.change_set.seq,
            "claimed_at": draft.claimed_at,
            "received_at": draft.context.decided_at,
            "count_id": count,
            **(when if is_numbered else dict.fromkeys(when)),
        },
    )
    return after


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """The newest movements on a shelf with their numbers, newest first; `is_whole` when there are no others."""

    movements: tuple[tuple[int, Fields], ...]
    is_whole: bool

    def covers(self, moment: Moment) -> bool:
        """Whether every movement that is not here was certainly before `moment`: its device had seen them.

        They were booked no later than the oldest here. A fact that had waited on a stub keeps the version in which it
        came, which is older than its place here, so one movement alone does not prove it.
        """
        oldest = self.movements[-MARGIN_MOVEMENTS:]
        return self.is_whole or all(row["booked_version"] <= moment.after_version for _, row in oldest)

    def goods(self) -> Iterable[tuple[int, Fields]]:
        """Those that moved goods."""
        return ((number, row) for number, row in self.movements if row["count_id"] is None)


def past_keys(place: Place, level: Fields) -> list[RowKey]:
    """The rows that `past_of` reads."""
    return [place.movement_key(number) for number in _numbers(level)]


def past_of(draft: Draft, keys: Iterable[RowKey], level: Fields) -> Past:
    """What has moved there lately; `keys` are the `past_keys`."""
    numbers = _numbers(level)
    rows = tuple((number, draft.need(*key)) for number, key in zip(numbers, keys, strict=True))
    return Past(movements=rows, is_whole=not numbers or numbers[-1] == 1)


def order_to(number: int, movement: Fields, moment: Moment, moves_before: int) -> Order:
    """How a movement lies to a count at `moment`, before which `moves_before` movements had been booked.

    In one line the operations have their order.
    """
    if (movement["device_id"], movement["seq"]) == (moment.device, moment.seq):
        return Order.BEFORE if number <= moves_before else Order.AFTER
    return order_of(moment_of(movement), moment)


def _numbers(level: Fields) -> range:
    newest: int = level["moves"]
    return range(newest, max(0, newest - MOVEMENTS_KNOWN_MAX), -1)
