"""A whole town in memory: real lines, chains, verdicts, journal, feed and checksums, decided by `sync.engine.town`.

Nothing is signed and nothing waits: time moves when a test moves `now_ms`, ids follow from a counter, so the same calls
give the same bytes. `found_market_town` brings one up with people, a warehouse, products, prices and stock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sync.engine.chain import encode_bytes, genesis_hash, line_hash
from sync.engine.evidence import version_row
from sync.engine.feed import BucketSum, Stored, feed_rows, sum_changes
from sync.engine.town import Answered, Step, Submitted, TownHead, step_loading
from sync.kernel.changeset import ChangeSet, Effect, Fields, Operation, RowKey
from sync.kernel.clock import Hlc, format_time
from sync.kernel.ids import derived_id, make_id
from sync.kernel.module import Registry
from sync.modules import registry as built_in_registry
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import AssignDispatch, OpenWarehouse, PlaceOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, DeviceRole, EnrolDevice, FoundTown, Role
from sync.protocol.codec import encode_change_set, parse_line

START_MS = 1_795_248_000_000
FeedKey = tuple[str, str, str]
"""(bucket, entity, id)."""


@dataclass(kw_only=True)
class MemoryDevice:
    """A device as far as a town can tell: its place in its chain and its clock, which a test may set wrong."""

    id: str
    seq: int = 0
    digest: bytes = b""
    clock_skew_ms: int = 0
    last_at: Hlc = field(default_factory=lambda: Hlc(unix_ms=0, counter=0))


@dataclass(kw_only=True)
class MemoryTown:
    """A town's tables. Change it only through `does` and `take`."""

    town_id: str = field(default_factory=lambda: derived_id("memory", "town"))
    epoch: str = field(default_factory=lambda: derived_id("memory", "epoch"))
    registry: Registry = field(default_factory=built_in_registry)
    now_ms: int = START_MS
    version: int = 0
    journal_digest: bytes = bytes(32)
    rows: dict[RowKey, Stored] = field(default_factory=dict)
    feed: dict[FeedKey, tuple[int, bytes | None]] = field(default_factory=dict)
    sums: dict[str, BucketSum] = field(default_factory=dict)
    journal: list[bytes] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    versions: dict[RowKey, Stored] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        """A town has its own device from the start, under which the office writes."""
        self.server = self.device("server")

    @property
    def head(self) -> TownHead:
        """Where the town stands."""
        return TownHead(town=self.town_id, epoch=self.epoch, version=self.version, journal=self.journal_digest)

    def device(self, name: str) -> MemoryDevice:
        """A device with the beginning of a chain; enrolling it is the test's affair."""
        device_id = derived_id("memory", "device", name)
        return MemoryDevice(id=device_id, digest=genesis_hash(f"certificate of {device_id}"))

    def new_id(self) -> str:
        """The next id."""
        self._made += 1
        return make_id(self.now_ms, self._made.to_bytes(10))

    def row(self, entity: str, row_id: str) -> Fields:
        """A row that must be there."""
        return self.rows[entity, row_id].fields

    def rows_of(self, entity: str) -> dict[str, Fields]:
        """All rows of an entity by id, oldest first."""
        found = [(stored.version, row_id, stored.fields) for (of, row_id), stored in self.rows.items() if of == entity]
        return {row_id: fields for _, row_id, fields in sorted(found, key=lambda each: each[:2])}

    def does(self, device: MemoryDevice, actor: str, *operations: Operation, base: int | None = None) -> Answered:
        """`actor` records one change set on `device` and the town decides it at once, in a version of its own."""
        return self.take([self.line(device, actor, *operations, base=base)]).answered[0]

    def line(
        self,
        device: MemoryDevice,
        actor: str,
        *operations: Operation,
        base: int | None = None,
        anchor: Mapping[str, Any] | None = None,
        seen: Mapping[str, Any] | None = None,
        receipt: int | None = None,
    ) -> Submitted:
        """The next line of a device, not decided yet; operations without an id get one."""
        named = (op if op.id else op.model_copy(update={"id": self.new_id()}) for op in operations)
        device.last_at = device.last_at.tick(self.now_ms + device.clock_skew_ms)
        change_set = ChangeSet(
            town=self.town_id,
            device=device.id,
            seq=device.seq + 1,
            prev=encode_bytes(device.digest),
            actor=actor,
            base=self.version if base is None else base,
            epoch=self.epoch,
            at=str(device.last_at),
            ops=tuple(named),
            anchor=anchor,
            seen=seen,
            receipt=receipt,
        )
        line = encode_change_set(change_set)
        device.seq, device.digest = change_set.seq, line_hash(line)
        read = parse_line(line, town=self.town_id, device=device.id, registry=self.registry).change_set
        return Submitted(
            device=device.id,
            seq=device.seq,
            line=line,
            digest=device.digest,
            change_set=read,
            is_server=device.id == self.server.id,
        )

    def take(self, batch: Sequence[Submitted]) -> Step:
        """Decide a batch in one version and keep everything it changes."""
        step = step_loading(self.head, batch, self.load, self.registry, format_time(self.now_ms))
        self.version, self.journal_digest = step.head.version, step.head.journal
        self.journal.append(step.body)
        self.versions.update([version_row(self.version, step.at, self.journal_digest)])
        self.answered += step.answered
        self.effects += step.effects
        for row in step.rows:
            self.rows[row.entity, row.row_id] = Stored(version=self.version, fields=row.after)
        for line in step.feed:
            self.feed[line.bucket, line.entity, line.row_id] = (line.version, line.body)
        for bucket, difference in step.sums.items():
            self.sums[bucket] = self.sums.get(bucket, BucketSum()) + difference
        return step

    def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        """Rows by key, None for those that are not there."""
        return {key: self.rows.get(key) or self.versions.get(key) for key in keys}

    def bucket(self, name: str) -> dict[RowKey, bytes]:
        """What a device that holds this bucket has of it."""
        return {(entity, row_id): body for (of, entity, row_id), (_, body) in self.feed.items() if of == name and body}

    def feed_from_rows(self) -> dict[FeedKey, tuple[int, bytes | None]]:
        """The feed as the rows alone give it, without tombstones."""
        return {
            (line.bucket, line.entity, line.row_id): (line.version, line.body)
            for (entity, row_id), stored in self.rows.items()
            for line in feed_rows(self.registry.entities[entity], row_id, None, stored.fields, stored.version)
        }

    def sums_from_rows(self) -> dict[str, BucketSum]:
        """The checksums of the buckets as the rows alone give them."""
        sums: dict[str, BucketSum] = {}
        for (entity, row_id), stored in self.rows.items():
            kind = self.registry.entities[entity]
            for bucket, share in sum_changes(kind, row_id, None, stored.fields, stored.version):
                sums[bucket] = sums.get(bucket, BucketSum()) + share
        return sums


@dataclass(kw_only=True)
class MarketTown(MemoryTown):
    """A town with five people, a tablet in its warehouse, two vans, and tea and rice on the shelf."""

    admin: str = ""
    dispatcher: str = ""
    picker: str = ""
    driver_a: str = ""
    driver_b: str = ""
    warehouse: str = ""
    tea: str = field(default_factory=lambda: product_id("TEA"))
    rice: str = field(default_factory=lambda: product_id("RICE"))

    def __post_init__(self) -> None:
        """Name the devices; `found_market_town` enrols them."""
        super().__post_init__()
        self.tablet, self.van_a, self.van_b = self.device("tablet"), self.device("van a"), self.device("van b")

    def office(self, *operations: Operation, actor: str | None = None) -> Answered:
        """The admin asks for something online, or another."""
        return self.does(self.server, actor or self.admin, *operations)

    def places(self, *lines: tuple[str, int], number: str = "1001", payment_method: str = "cod") -> str:
        """An order taken online; returns its id."""
        wanted = [OrderLine(product=product, quantity=quantity) for product, quantity in lines or ((self.tea, 3),)]
        order = PlaceOrder(
            id=self.new_id(),
            number=number,
            warehouse=self.warehouse,
            customer_name="Zoë",
            phone="0700 1",
            address="1 High Street",
            lines=wanted,
            payment_method="cod" if payment_method == "cod" else "account",
        )
        self.office(order)
        return order.id

    def assigns(self, order: str, driver: str | None = None) -> str:
        """The order is given to a driver (A when not said); returns the dispatch's id."""
        assign = AssignDispatch(id=self.new_id(), order=order, driver=driver or self.driver_a)
        self.office(assign)
        return assign.id


def found_market_town(*, tea: int = 10, rice: int = 10, town: MarketTown | None = None) -> MarketTown:
    """A market town with so many pieces of tea (3.00) and rice (1.25) in its one warehouse, in KES."""
    town = town or MarketTown()
    found = FoundTown(id=town.town_id, name="Market", currency="KES", time_zone="Africa/Nairobi")
    town.does(town.server, town.server.id, found, enrol(town.server, "server"))
    town.admin = add_user(town, town.server.id, "Ada", "admin")
    town.dispatcher = add_user(town, town.admin, "Dina", "dispatcher")
    town.picker = add_user(town, town.admin, "Pit", "warehouse_staff")
    town.driver_a = add_user(town, town.admin, "Anton", "driver")
    town.driver_b = add_user(town, town.admin, "Berta", "driver")
    town.warehouse = town.new_id()
    goods = (("TEA", "Tea", "3.00"), ("RICE", "Rice", "1.25"))
    town.office(
        OpenWarehouse(id=town.warehouse, name="Main"),
        *(DefineProduct(sku=sku, name=name) for sku, name, _ in goods),
        *(OfferProduct(product=product_id(sku), price=price) for sku, _, price in goods),
        enrol(town.tablet, "warehouse_staff", warehouse=town.warehouse),
        enrol(town.van_a, "driver", user=town.driver_a),
        enrol(town.van_b, "driver", user=town.driver_b),
        actor=town.admin,
    )
    for product, quantity in ((town.tea, tea), (town.rice, rice)):
        if quantity:
            town.does(
                town.tablet,
                town.picker,
                ReceiveStock(warehouse=town.warehouse, product=product, quantity=quantity),
            )
    return town


def enrol(
    device: MemoryDevice,
    role: DeviceRole,
    *,
    user: str | None = None,
    warehouse: str | None = None,
    school: str | None = None,
) -> EnrolDevice:
    """The operation that makes it a device of the town."""
    return EnrolDevice(
        id=device.id,
        name=role,
        role=role,
        user=user,
        warehouse=warehouse,
        school=school,
        public_key=encode_bytes(bytes(32)),
        certificate=f"certificate of {device.id}",
    )


def add_user(town: MarketTown, actor: str, name: str, role: Role) -> str:
    """A person of the town; the id."""
    user = AddUser(id=town.new_id(), name=name, login=name.lower(), user_roles=[role], pin_hash=f"hash of {name}")
    town.does(town.server, actor, user)
    return user.id
