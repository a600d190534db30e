"""The aggregates of commerce, the table from which an order's displayed status follows, and who may hold which row."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sync.kernel.changeset import Fields
from sync.kernel.ids import derived_id
from sync.kernel.module import Entity, FieldKind

CUSTODY_LADDER = ("warehouse", "picking", "picked", "packed", "ready", "van", "customer")
"""The way of the goods when nothing goes wrong; a fact about one step implies those before it."""

WAY_BACK = (*CUSTODY_LADDER[: CUSTODY_LADDER.index("van") + 1], "undelivered", "returned")
"""The way of the goods when nobody takes them."""

IN_WAREHOUSE = frozenset({"warehouse", "picking", "picked", "packed", "ready"})
OFF_THE_SHELF = frozenset({"picking", "picked", "packed", "ready"})
ON_THE_VAN = frozenset({"van", "undelivered"})

_BY_CUSTODY: Mapping[str, str] = MappingProxyType(
    {
        "warehouse": "PLACED",
        "picking": "PICKING",
        "picked": "PICKING",
        "packed": "PACKED",
        "ready": "READY_FOR_DISPATCH",
        "van": "OUT_FOR_DELIVERY",
        "undelivered": "FAILED",
        "customer": "DELIVERED",
        "returned": "RETURNED",
    }
)
OVER_CANCELLATION = frozenset({"customer", "returned"})
OPEN_DISPATCHES = frozenset({"ASSIGNED", "OUT_FOR_DELIVERY"})


def displayed_status(commercial: str, custody: str) -> str:
    """The status people see: what happened to the goods in the end, else the cancellation, else where the goods are."""
    if commercial == "cancelled" and custody not in OVER_CANCELLATION:
        return "CANCELLED"
    return _BY_CUSTODY[custody]


def custody_steps(now: str, target: str) -> tuple[str, ...]:
    """The steps from where the goods are to `target`; none when they have been there: goods never go down again.

    Goods that were not handed over can leave once more; goods that came back can only turn out to be delivered.
    """
    way = WAY_BACK if target in WAY_BACK[-2:] else CUSTODY_LADDER
    if (now == "undelivered" and target != "returned") or (now == "returned" and target == "customer"):
        now = "ready"
    if now not in way or way.index(now) >= way.index(target):
        return ()
    return way[way.index(now) + 1 : way.index(target) + 1]


def is_void(commercial: str, custody: str) -> bool:
    """Whether nothing is owed for an order: it is cancelled, and the customer does not have the goods."""
    return commercial == "cancelled" and custody != "customer"


def stock_level_id(warehouse: str, product: str) -> str:
    """The id of the stock of a product in a warehouse."""
    return derived_id("stock_level", warehouse, product)


def stock_quota_id(device: str, warehouse: str, product: str) -> str:
    """The id of what a device may sell of a product without asking; there is one."""
    return derived_id("stock_quota", device, warehouse, product)


def fulfilment_id(order: str) -> str:
    """The id of the fulfilment of an order; there is one."""
    return derived_id("fulfilment", order)


def is_closed(order: Fields) -> bool:
    """Whether nothing is left to be done with the goods of an order: handed over, back, or cancelled on the shelf."""
    is_void_here = order["commercial"] == "cancelled" and order["custody"] == "warehouse"
    return order["custody"] in OVER_CANCELLATION or is_void_here


def _order_buckets(row: Fields) -> tuple[str, ...]:
    if row.get("archived_at") and is_closed(row):
        return ()
    buckets = []
    if row["custody"] in IN_WAREHOUSE | {"undelivered"} and (
        row["commercial"] != "cancelled" or row["custody"] != "warehouse"
    ):
        buckets.append(f"warehouse:{row['warehouse_id']}")
    if row["driver_id"]:
        buckets.append(f"driver:{row['driver_id']}")
    return tuple(buckets)


def _order_projection(bucket: str, row: Fields) -> Fields:
    """A driver has name, phone and address only while the job is open; the warehouse needs no phone."""
    row = _without_archive(bucket, row)
    if bucket.startswith("warehouse:"):
        return {**row, "phone": None}
    if row["custody"] in OVER_CANCELLATION or row["commercial"] == "cancelled":
        return {**row, "customer_name": None, "phone": None, "address": None}
    return row


def _level_projection(_bucket: str, row: Fields) -> Fields:
    """How the books are kept is no device's business."""
    return {name: row[name] for name in ("warehouse_id", "product_id", "on_hand", "reserved")}


def _dispatch_projection(_bucket: str, row: Fields) -> Fields:
    """A note may hold a name or a remark about the customer: once the job is closed, no device needs it."""
    row = _without_archive(_bucket, row)
    return row if row["state"] in OPEN_DISPATCHES else {**row, "note": ""}


def _dispatch_buckets(row: Fields) -> tuple[str, ...]:
    is_archived = row.get("archived_at") and row["state"] not in OPEN_DISPATCHES
    return () if is_archived else (f"driver:{row['driver_id']}",)


def _fulfilment_buckets(row: Fields) -> tuple[str, ...]:
    return () if row.get("archived_at") else (f"warehouse:{row['warehouse_id']}",)


def _without_archive(_bucket: str, row: Fields) -> Fields:
    """What is on a device is not archived, so nothing of that is said there."""
    return {name: value for name, value in row.items() if name != "archived_at"}


_WAREHOUSE = frozenset({"warehouse"})
_TEXT, _INTEGER, _ID, _TIME, _JSON = (
    FieldKind.TEXT,
    FieldKind.INTEGER,
    FieldKind.ID,
    FieldKind.TIME,
    FieldKind.JSON,
)

ENTITIES = (
    Entity(
        name="warehouse",
        plural="warehouses",
        fields={"name": _TEXT},
        bucket_kinds=frozenset({"town"}),
        buckets=lambda _row: ("town",),
    ),
    Entity(
        name="stock_level",
        plural="stock_levels",
        fields={
            "warehouse_id": _ID,
            "product_id": _ID,
            "on_hand": _INTEGER,
            "reserved": _INTEGER,
            "moves": _INTEGER,
            "count_id": _ID,
        },
        bucket_kinds=_WAREHOUSE,
        buckets=lambda row: (f"warehouse:{row['warehouse_id']}",),
        project=_level_projection,
    ),
    Entity(
        name="stock_count",
        plural="stock_counts",
        fields={
            "warehouse_id": _ID,
            "product_id": _ID,
            "counted": _INTEGER,
            "expected": _INTEGER,
            "correction": _INTEGER,
            "state": _TEXT,
            "rival_id": _ID,
            "moves": _INTEGER,
            "counted_by": _ID,
            "device_id": _ID,
            "seq": _INTEGER,
            "booked_version": _INTEGER,
            "after_version": _INTEGER,
            "earliest": _TIME,
            "latest": _TIME,
            "claimed_at": _TIME,
            "received_at": _TIME,
        },
    ),
    Entity(
        name="stock_quota",
        plural="stock_quotas",
        fields={
            "holder_id": _ID,
            "warehouse_id": _ID,
            "product_id": _ID,
            "granted": _INTEGER,
            "used": _INTEGER,
            "returned": _INTEGER,
            "expires_at": _TIME,
            "state": _TEXT,
        },
        bucket_kinds=frozenset({"device"}),
        buckets=lambda row: (f"device:{row['holder_id']}",),
    ),
    Entity(
        name="stock_movement",
        plural="stock_movements",
        fields={
            "warehouse_id": _ID,
            "product_id": _ID,
            "on_hand_delta": _INTEGER,
            "reserved_delta": _INTEGER,
            "reason": _TEXT,
            "order_id": _ID,
            "device_id": _ID,
            "seq": _INTEGER,
            "claimed_at": _TIME,
            "received_at": _TIME,
            "count_id": _ID,
            "booked_version": _INTEGER,
            "after_version": _INTEGER,
            "earliest": _TIME,
            "latest": _TIME,
        },
        is_append_only=True,
    ),
    Entity(
        name="order",
        plural="orders",
        fields={
            "number": _TEXT,
            "warehouse_id": _ID,
            "customer_name": _TEXT,
            "phone": _TEXT,
            "address": _TEXT,
            "lines": _JSON,
            "currency": _TEXT,
            "total_minor": _INTEGER,
            "paid_minor": _INTEGER,
            "credit_minor": _INTEGER,
            "payment_method": _TEXT,
            "commercial": _TEXT,
            "custody": _TEXT,
            "payment": _TEXT,
            "status": _TEXT,
            "driver_id": _ID,
            "dispatch_id": _ID,
            "attempts": _INTEGER,
            "placed_at": _TIME,
            "delivered_at": _TIME,
            "archived_at": _TIME,
        },
        bucket_kinds=frozenset({"warehouse", "driver"}),
        buckets=_order_buckets,
        project=_order_projection,
        is_awaited=True,
    ),
    Entity(
        name="fulfilment",
        plural="fulfilments",
        fields={
            "order_id": _ID,
            "warehouse_id": _ID,
            "picker_id": _ID,
            "parcels": _INTEGER,
            "state": _TEXT,
            "archived_at": _TIME,
        },
        bucket_kinds=_WAREHOUSE,
        buckets=_fulfilment_buckets,
        project=_without_archive,
    ),
    Entity(
        name="dispatch",
        plural="dispatches",
        fields={
            "order_id": _ID,
            "driver_id": _ID,
            "attempt": _INTEGER,
            "cod_due_minor": _INTEGER,
            "currency": _TEXT,
            "state": _TEXT,
            "note": _TEXT,
            "archived_at": _TIME,
        },
        bucket_kinds=frozenset({"driver"}),
        buckets=_dispatch_buckets,
        project=_dispatch_projection,
        is_awaited=True,
    ),
    Entity(
        name="order_status_event",
        plural="order_status_events",
        fields={
            "order_id": _ID,
            "from_status": _TEXT,
            "to_status": _TEXT,
            "from_custody": _TEXT,
            "to_custody": _TEXT,
            "is_implied": FieldKind.BOOLEAN,
            "actor_id": _ID,
            "device_id": _ID,
            "claimed_at": _TIME,
            "received_at": _TIME,
            "note": _TEXT,
        },
        is_append_only=True,
    ),
)
