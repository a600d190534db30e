"""The script of the demo: who is there, which real orders they are given, what goes wrong, and what must come of it.

Nothing here is a result. `BEATS` and `ENDINGS` say what the rules have to decide; the run is held against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TOWN = "Douglas"
CURRENCY = "GBP"
COUNTRY = "United Kingdom"
"""Whose trade of the sample the town lives on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody who works here, and what they carry."""

    name: str
    role: str
    pin: str
    device: str

    @property
    def first_name(self) -> str:
        """What the others call them."""
        return self.name.partition(" ")[0]


ALEX = Person(name="Alex Kelly", role="warehouse_staff", pin="4711", device="Alex's tablet")
KIM = Person(name="Kim Quayle", role="warehouse_staff", pin="1909", device="Kim's tablet")
SAM = Person(name="Sam Corlett", role="driver", pin="2580", device="Sam's phone")
JO = Person(name="Jo Teare", role="driver", pin="8642", device="Jo's phone")
MONA = Person(name="Mona Skillicorn", role="counter_clerk", pin="1357", device="Counter 1")
NED = Person(name="Ned Faragher", role="counter_clerk", pin="2468", device="Counter 2")
PEOPLE = (ALEX, KIM, SAM, JO, MONA, NED)
EWAN = Person(name="Ewan Christian", role="dispatcher", pin="3690", device="")
"""He works in the office, and agrees to what one person alone may not give back."""

NEWCOMER = "a new tablet"
"""The device that is enrolled when everything is over."""

# Orders, by the number that their invoice has in the sample.
DELIVERED_BY_SAM = "536367"
DELIVERED_BY_JO = "536385"
CANCELLED_ON_THE_WAY = "536369"
REASSIGNED = "536366"
DELIVERED_TWICE = "536380"
TAKEN_FROM_THE_BENCH = "536368"
UNPAID = "536393"
NOBODY_IN = "536371"
CANCELLED_BEFORE_PICKING = "536374"
SHORT = "536376"
SCANNED = "536375"
PACKED_BY_KIM = "536392"
SOLD_BY_ALEX = "536372"
SOLD_BY_KIM = "536377"

SAMS_TOUR = (DELIVERED_BY_SAM, CANCELLED_ON_THE_WAY, REASSIGNED, DELIVERED_TWICE, TAKEN_FROM_THE_BENCH)
JOS_TOUR = (DELIVERED_BY_JO, UNPAID, NOBODY_IN)
PLACED_OFFLINE = (SOLD_BY_ALEX, SOLD_BY_KIM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """What somebody owes the council, in pence; `phone` is who is asked to pay by telephone."""

    title: str
    customer: str
    pence: int
    phone: str = ""


MOORING = Bill(title="Mooring 17", customer="Isla Corkill", pence=12_000, phone="447624100017")
HUT = Bill(title="Beach hut 4", customer="Finlo Gelling", pence=8_500, phone="447624100004")
ALLOTMENT = Bill(title="Allotment 9", customer="Voirrey Cain", pence=4_200)
STALL = Bill(title="Market stall 2", customer="Juan Moore", pence=6_450)
BILLS = (MOORING, HUT, ALLOTMENT, STALL)
PAID_AT_THE_DOOR_AND_BY_PHONE = DELIVERED_BY_JO
DOOR_PHONE = "447624100385"
"""The customer's of that order."""

FLOAT_PENCE = 5_000
STALL_CASH_PENCE = 3_000
STALL_CARD = "T-0117"
SHORTAGE_PENCE = 250
"""What is not in Counter 1's drawer in the evening, and nobody knows why."""

# Products, by stock code.
BOTH_BOOK = "79321"
SCARCE = "22633"
MISSING_ON_SHELF = "22114"

SPARE_PIECES = 20
SCARCE_SPARE_PIECES = 8
"""What is on the shelf beyond the morning's orders; of the scarce product less than two offline sales need."""

PIECES_RECEIVED = 24
PIECES_BROKEN = 5
PIECES_MISSING = 3
SCANS_BEFORE_POWER_CUT = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """One thing that goes wrong on purpose; the figures of the order are filled in (`pictures.figures`).

    `rules` are the rules that must have adjusted a change set about `order`, each once, in any order; `axes` is where
    the order must be in the end: commercial, custody, payment. What is about no order has the title of its bill or
    nothing there, and `shown` instead.
    """

    title: str
    order: str
    rules: tuple[str, ...]
    offline: str = ""
    meanwhile: str = ""
    axes: tuple[str, str, str] | None = None
    shown: str = ""

    @property
    def label(self) -> str:
        """What it is about, for people."""
        return f"order {self.order}" if self.axes else self.shown or self.order


BEATS = (
    Beat(
        title="Oversold offline",
        order=SOLD_BY_KIM,
        offline="Kim sells {scarce} hand warmers at the counter",
        meanwhile="Alex, at the door, sells {scarce} of the same last {spare}",
        rules=("stock.oversold",),
        axes=("active", "warehouse", "unpaid"),
    ),
    Beat(
        title="Delivered after cancellation",
        order=CANCELLED_ON_THE_WAY,
        offline="Sam hands it over and takes {total}",
        meanwhile="the customer rings, the office cancels it",
        rules=("orders.recall_requested", "orders.delivered_after_cancel"),
        axes=("recall", "customer", "paid"),
    ),
    Beat(
        title="Reassigned delivery",
        order=REASSIGNED,
        offline="Sam hands it over and takes {total}",
        meanwhile="the office has given it to Jo",
        rules=("orders.delivered_by_previous_driver",),
        axes=("active", "customer", "paid"),
    ),
    Beat(
        title="Duplicate delivery",
        order=DELIVERED_TWICE,
        offline="Sam hands it over and takes {total}",
        meanwhile="so does Jo, to whom the office gave it",
        rules=("orders.delivered_by_previous_driver", "orders.duplicate_delivery", "payments.overpayment"),
        axes=("active", "customer", "in_credit"),
    ),
    Beat(
        title="Picked after cancel",
        order=CANCELLED_BEFORE_PICKING,
        offline="Alex picks and packs all {pieces} sewing boxes",
        meanwhile="the office has cancelled it",
        rules=("stock.picked_after_cancel",),
        axes=("cancelled", "warehouse", "unpaid"),
    ),
    Beat(
        title="Short pick",
        order=SHORT,
        offline="Alex finds {found} of {asked} hot water bottles",
        meanwhile="all {asked} were reserved",
        rules=("stock.short_pick",),
        axes=("active", "packed", "unpaid"),
    ),
    Beat(
        title="Skipped states",
        order=TAKEN_FROM_THE_BENCH,
        offline="Sam takes it off the bench and delivers it",
        meanwhile="Alex's picking and packing will be known later",
        rules=("orders.states_skipped",),
        axes=("active", "customer", "paid"),
    ),
    Beat(
        title="Delivered, unpaid",
        order=UNPAID,
        offline="Jo hands it over, and nobody has cash",
        meanwhile="{total} were to be collected",
        rules=("orders.delivered_unpaid",),
        axes=("active", "customer", "unpaid"),
    ),
    Beat(
        title="At the door and by telephone",
        order=PAID_AT_THE_DOOR_AND_BY_PHONE,
        offline="Jo takes {total} at the door",
        meanwhile="the customer pays by telephone as well",
        rules=("payments.overpayment",),
        axes=("active", "customer", "in_credit"),
    ),
    Beat(
        title="One bill, paid three times",
        order=MOORING.title,
        offline="Mona takes {total} at Counter 1, Ned at Counter 2",
        meanwhile="Isla has just paid it by telephone",
        rules=("payments.invoice_overpaid", "payments.invoice_overpaid"),
    ),
    Beat(title="Paid after it had expired", order="", shown=HUT.title, rules=("payments.late_confirmation",)),
    Beat(title="A drawer that is short", order="", shown=MONA.device, rules=("payments.drawer_difference",)),
)

WAITING = ("active", "warehouse", "unpaid")
"""Where an order is that nobody has touched."""

ENDINGS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        **{beat.order: beat.axes for beat in BEATS if beat.axes},
        DELIVERED_BY_SAM: ("active", "customer", "paid"),
        NOBODY_IN: ("active", "undelivered", "unpaid"),
        SCANNED: ("active", "packed", "unpaid"),
        PACKED_BY_KIM: ("active", "packed", "unpaid"),
    }
)
"""Where each order must be in the end; all others are `WAITING`."""
