"""Counts: what somebody saw on a shelf fixes what the books say of that moment, where it is known which moment it was.

A count is an observation of a time. Movements before it are inside of it, whether they have been reported or not; those
after it come on top. Which is which follows from proven bounds (`sync.kernel.evidence`), never from a device's clock;
where they overlap nothing is posted, and the shelf is counted again.

`counted` is everything that the warehouse answers for: on the shelf, in totes, and on vans that have not delivered it.

Law: any order in which movements and a count arrive, known to lie apart, leaves the same level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sync.kernel.changeset import Fields, Intent, Operation, RowKey
from sync.kernel.draft import Draft
from sync.kernel.evidence import Order, moment_of, order_of
from sync.kernel.ids import derived_id
from sync.kernel.module import Case
from sync.modules.commerce import cases, shelf
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import WAREHOUSE, ProductRef, WarehouseRef
from sync.modules.commerce.shelf import Place
from sync.modules.town_settings import COUNT_CORRECTION_MAX

COUNT_LINES_MAX = 100
"""Products of one count."""

POSTED = frozenset({"posted", "confirmed", "doubted"})
"""States of a count by which the books go; a doubted one met a movement of which nobody knows when it was."""

Figure = Annotated[int, Field(ge=0, le=1_000_000_000)]


class CountLine(BaseModel):
    """So many of a product, where the books of the device said `expected`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    product: ProductRef
    counted: Figure
    expected: Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)] | None = None


class CountStock(Operation):
    """Somebody counted: on the shelf, in totes, and on vans that have not delivered it."""

    op: ClassVar = "stock.count"
    intent: ClassVar = Intent.OBSERVATION
    roles: ClassVar = WAREHOUSE
    warehouse: WarehouseRef
    lines: Annotated[list[CountLine], Field(min_length=1, max_length=COUNT_LINES_MAX)]

    @model_validator(mode="after")
    def _one_figure_each(self) -> Self:
        if len({line.product for line in self.lines}) != len(self.lines):
            raise ValueError("a product is counted twice")
        return self

    def reads(self) -> Iterable[RowKey]:
        """What each product is, and its level."""
        for line in self.lines:
            yield "product", line.product
            yield "stock_level", stock_level_id(self.warehouse, line.product)

    def as_shown(self, row: Callable[[str, str], Fields | None]) -> Self:
        """With what the device's books said, which explains a correction."""
        return self.model_copy(update={"lines": [self._expecting(line, row) for line in self.lines]})

    def _expecting(self, line: CountLine, row: Callable[[str, str], Fields | None]) -> CountLine:
        level = row("stock_level", stock_level_id(self.warehouse, line.product))
        if line.expected is not None or level is None:
            return line
        return line.model_copy(update={"expected": level["on_hand"]})


def count_id(operation: str, product: str) -> str:
    """The id of the count of one product."""
    return derived_id("stock_count", operation, product)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Weighed:
    """One line of a count with all it is weighed against."""

    operation: CountStock
    draft: Draft
    place: Place
    line: CountLine
    level: Fields
    past: shelf.Past
    last: Fields | None
    name: str
    orders: Sequence[tuple[int, Order]]
    """How much each movement moved, and how it lies to this count."""

    @property
    def row_id(self) -> str:
        return count_id(self.operation.id, self.line.product)

    def since_last(self) -> Order:
        """How this count lies to the last one; the later one of the same line is later."""
        assert self.last is not None
        now, before = self.draft.moment, moment_of(self.last)
        return Order.AFTER if (now.device, now.seq) == (before.device, before.seq) else order_of(now, before)

    def is_certain(self) -> bool:
        """Whether each movement is known to be before or after this count."""
        return self.past.covers(self.draft.moment) and all(order is not Order.UNKNOWN for _, order in self.orders)

    def has_stood_still(self) -> bool:
        """Whether nothing has moved between the last count and this one; False when that is not known."""
        if self.last is None or not self.is_certain() or not self.past.covers(moment_of(self.last)):
            return False
        before, moves = moment_of(self.last), self.last["moves"]
        then = [shelf.order_to(number, row, before, moves) for number, row in self.past.goods()]
        return then == [order for _, order in self.orders]


def count(operation: CountStock, draft: Draft) -> None:
    """Weigh each line by itself: one that is uncertain holds up no other."""
    draft.gather([("town", draft.change_set.town), *operation.reads()])
    places = [Place(warehouse=operation.warehouse, product=line.product) for line in operation.lines]
    if not draft.context.is_truth:
        for place, line in zip(places, operation.lines, strict=True):
            _show(operation, draft, place, line)
        return
    levels = [shelf.level_of(draft, place) for place in places]
    pasts = [shelf.past_keys(*pair) for pair in zip(places, levels, strict=True)]
    counts = (_counts(operation, line, level) for line, level in zip(operation.lines, levels, strict=True))
    draft.gather(chain(*pasts, *counts))
    moment = draft.moment
    for place, line, level, keys in zip(places, operation.lines, levels, pasts, strict=True):
        past = shelf.past_of(draft, keys, level)
        _weigh(
            _Weighed(
                operation=operation,
                draft=draft,
                place=place,
                line=line,
                level=level,
                past=past,
                last=draft.get("stock_count", level["count_id"]) if level["count_id"] else None,
                name=draft.need("product", line.product)["name"],
                orders=[
                    (row["on_hand_delta"], shelf.order_to(number, row, moment, level["moves"]))
                    for number, row in past.goods()
                ],
            )
        )


def settle_late(draft: Draft, operation: Operation, place: Place, delta: int) -> None:
    """Goods have been booked on a shelf that was counted: what was before the count is inside of it already."""
    level = draft.need("stock_level", place.level_id)
    if not draft.context.is_truth or not level.get("count_id"):
        return
    last = draft.need("stock_count", level["count_id"])
    if last["state"] not in POSTED or (last["device_id"], last["seq"]) == (draft.moment.device, draft.moment.seq):
        return
    order = order_of(draft.moment, moment_of(last))
    if order is Order.BEFORE:
        shelf.book(draft, place, on_hand=-delta, reason="counted", count=level["count_id"])
        draft.update("stock_count", level["count_id"], correction=last["correction"] - delta)
    elif order is Order.UNKNOWN and last["state"] != "doubted":
        draft.update("stock_count", level["count_id"], state="doubted")
        name, said = draft.need("product", place.product)["name"], {"delta": delta}
        case, outcome = cases.COUNT_UNCERTAIN, "booked on top"
        _tell(draft, case, operation, place, said=said, had=last, outcome=outcome, product=name)


def _show(operation: CountStock, draft: Draft, place: Place, line: CountLine) -> None:
    """A device shows what was counted; whether that holds is not for it to say."""
    if draft.sees("stock_level", place.level_id):
        difference = line.counted - shelf.level_of(draft, place)["on_hand"]
        if difference:
            shelf.book(draft, place, on_hand=difference, reason="counted", count=count_id(operation.id, line.product))


def _counts(operation: CountStock, line: CountLine, level: Fields) -> Iterable[RowKey]:
    """The count that this line makes, which must not be there yet, and the one that holds."""
    yield "stock_count", count_id(operation.id, line.product)
    if level["count_id"]:
        yield "stock_count", level["count_id"]


def _weigh(weighed: _Weighed) -> None:
    last = weighed.last
    if last is not None and weighed.has_stood_still():
        rival = weighed.draft.get("stock_count", last["rival_id"]) if last["rival_id"] else None
        figures = {each["counted"] for each in (last, rival) if each is not None}
        if last["state"] == "disputed" and weighed.line.counted in figures:
            _post(weighed)
        elif last["state"] != "disputed" and weighed.line.counted == last["counted"]:
            _confirm(weighed, last)
        else:
            _dispute(weighed, last)
    elif last is not None and weighed.since_last() is Order.BEFORE:
        _keep(weighed, "superseded")
        _note(weighed, cases.COUNT_SUPERSEDED, "kept; the later count stands")
    elif not weighed.is_certain() or (last is not None and weighed.since_last() is Order.UNKNOWN):
        _keep(weighed, "uncertain")
        _note(weighed, cases.COUNT_UNCERTAIN, "not posted")
    else:
        _post(weighed)


def _post(weighed: _Weighed) -> None:
    """The books shall say what was counted, and what came after it."""
    draft, place = weighed.draft, weighed.place
    later = sum(delta for delta, order in weighed.orders if order is Order.AFTER)
    correction = weighed.line.counted + later - weighed.level["on_hand"]
    if correction:
        shelf.book(draft, place, on_hand=correction, reason="counted", count=weighed.row_id)
    _keep(weighed, "posted", correction=correction)
    draft.put("stock_level", place.level_id, {**shelf.level_of(draft, place), "count_id": weighed.row_id})
    town = draft.need("town", draft.change_set.town)
    if abs(correction) > town["settings"].get("count_correction_max", COUNT_CORRECTION_MAX):
        _note(weighed, cases.COUNT_CORRECTED, f"corrected by {correction}", correction=correction)


def _confirm(weighed: _Weighed, last: Fields) -> None:
    """The same figure again corrects nothing; that of a second person confirms the first.

    The later one holds from now on, and with it what is undone if somebody disagrees.
    """
    is_second = last["counted_by"] != weighed.draft.change_set.actor
    state = "confirmed" if is_second else "repeated"
    if weighed.since_last() is Order.AFTER:
        _keep(weighed, state if is_second else last["state"], correction=last["correction"])
        place, level = weighed.place, weighed.level
        weighed.draft.put("stock_level", place.level_id, {**level, "count_id": weighed.row_id})
    else:
        _keep(weighed, state)
    if is_second:
        weighed.draft.update("stock_count", weighed.level["count_id"], state="confirmed")


def _dispute(weighed: _Weighed, last: Fields) -> None:
    """Neither holds: what the first one had corrected is undone, and somebody counts who knows neither figure."""
    draft, place, last_id = weighed.draft, weighed.place, weighed.level["count_id"]
    if last["correction"]:
        shelf.book(draft, place, on_hand=-last["correction"], reason="count withdrawn", count=weighed.row_id)
    draft.update("stock_count", last_id, state="disputed", correction=0)
    _keep(weighed, "disputed", rival=last_id)
    draft.put("stock_level", place.level_id, {**shelf.level_of(draft, place), "count_id": weighed.row_id})
    _note(weighed, cases.COUNTS_DISAGREE, "neither is posted")


def _keep(weighed: _Weighed, state: str, *, correction: int = 0, rival: str | None = None) -> None:
    draft, line = weighed.draft, weighed.line
    draft.create(
        "stock_count",
        weighed.row_id,
        {
            "warehouse_id": weighed.place.warehouse,
            "product_id": line.product,
            "counted": line.counted,
            "expected": line.expected,
            "correction": correction,
            "state": state,
            "rival_id": rival,
            "moves": weighed.level["moves"],
            "counted_by": draft.change_set.actor,
            "device_id": draft.change_set.device,
            "seq": draft.change_set.seq,
            **draft.moment.as_fields(),
            "claimed_at": draft.claimed_at,
            "received_at": draft.context.decided_at,
        },
    )


def _note(weighed: _Weighed, case: Case, outcome: str, **data: Any) -> None:
    said = {"counted": weighed.line.counted, "expected": weighed.line.expected}
    had = weighed.last if case is cases.COUNTS_DISAGREE else weighed.level
    assert had is not None
    data["product"] = weighed.name
    _tell(weighed.draft, case, weighed.operation, weighed.place, said=said, had=had, outcome=outcome, **data)


def _tell(
    draft: Draft,
    case: Case,
    operation: Operation,
    place: Place,
    *,
    said: Fields,
    had: Fields,
    outcome: str,
    **data: Any,
) -> None:
    draft.adjust(
        case,
        operation,
        subject=("stock_level", place.level_id),
        said=said,
        had={name: had[name] for name in ("on_hand", "counted") if name in had},
        outcome=outcome,
        audience=place.audience,
        **data,
    )
