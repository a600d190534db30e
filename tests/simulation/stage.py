"""How a world begins: towns that were founded and devices that were enrolled, by the real commands, in a few sizes.

A stage is made once in a process and copied for each world: nothing in it depends on a seed.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, TypeVar

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.adapters.memory import MemoryStore
from client_sdk.adapters.memory_state import State
from client_sdk.application.enrol import enrol_device
from client_sdk.application.ports import Identity
from server.adapters.keys import KeySigner
from server.adapters.memory import MemorySystem
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.enrol_device import enrol, make_enrolment
from server.application.commands.found_town import found_town
from server.domain.devices import server_device_id
from sync.kernel.changeset import Operation
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import OpenWarehouse, ReceiveStock
from sync.modules.identity import AddUser, ChangeSettings, Role
from sync.modules.schools import OpenSchool
from sync.modules.town_settings import TownSettings
from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello
from tests.simulation.database import Backup, Database
from tests.simulation.loop import SimLoop, using
from tests.simulation.rules import DEVICE_RULES, SERVER_RULES
from tests.simulation.signatures import WorldSigner
from tests.support.fake_system import FakeSystem

Result = TypeVar("Result")

PRODUCTS = (("TEA", "Tea", "3.00"), ("RICE", "Rice", "1.25"), ("OIL", "Oil", "7.40"))
STOCK = 6
KEY_BYTES = 32
REFUND_UNITS = 5
"""What is given back without a second person, where there are counters."""
DAY_BEFORE_MS = 24 * 3600 * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large each town of a stage is."""

    towns: int
    warehouses: int
    drivers: int
    counters: int = 0
    schools: int = 0


SIZES = (
    Size(towns=1, warehouses=1, drivers=1),
    Size(towns=1, warehouses=2, drivers=2),
    Size(towns=1, warehouses=1, drivers=3),
    Size(towns=2, warehouses=1, drivers=1),
    Size(towns=1, warehouses=1, drivers=1, counters=2),
    Size(towns=1, warehouses=1, drivers=1, counters=1, schools=1),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedDevice:
    """A device that was enrolled and has never synced; `users` may act on it."""

    name: str
    identity: Identity
    state: State
    warehouse: str
    users: tuple[str, ...]
    school: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedTown:
    """A town as it was founded."""

    id: str
    name: str
    admin: str
    dispatcher: str
    staff: tuple[str, ...]
    drivers: tuple[str, ...]
    clerks: tuple[str, ...]
    bursars: tuple[str, ...]
    schools: tuple[str, ...]
    warehouses: tuple[str, ...]
    products: tuple[str, ...]
    devices: tuple[StagedDevice, ...]
    backup: Backup


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where a world begins."""

    signer: KeySigner
    towns: tuple[StagedTown, ...]


@cache
def staged(number: int) -> Stage:
    """The stage of this number."""
    size = SIZES[number]
    loop = SimLoop(Random(number))
    with using(loop):
        builder = _Builder(loop, number)
        towns = tuple(builder.town(place, size) for place in range(size.towns))
    return Stage(signer=builder.signer, towns=towns)


class _Builder:
    """Founds towns in a database of its own."""

    def __init__(self, loop: SimLoop, number: int) -> None:
        self._loop = loop
        self.signer = WorldSigner(Ed25519PrivateKey.from_private_bytes((number + 1).to_bytes(KEY_BYTES)))
        self._system = MemorySystem(seed=number)
        self._system.unix_ms -= DAY_BEFORE_MS
        self._database = Database(SERVER_RULES, loop.time)
        self._towns = self._database.towns
        self._appliers = Appliers(
            towns=self._towns, registry=SERVER_RULES, signer=self.signer, system=self._system, bell=None
        )

    def town(self, place: int, size: Size) -> StagedTown:
        """One town with its people, its goods and its devices."""
        named = {"name": f"Town {place}", "currency": "KES", "time_zone": "Africa/Nairobi"}
        town_id = self._run(found_town(**named, appliers=self._appliers, signer=self.signer, system=self._system))
        admin = self._user(town_id, server_device_id(town_id), "Ada", "admin")
        dispatcher = self._user(town_id, admin, "Dina", "dispatcher")
        staff = tuple(self._user(town_id, admin, f"Pit {one}", "warehouse_staff") for one in range(2))
        drivers = tuple(self._user(town_id, admin, f"Anton {one}", "driver") for one in range(size.drivers))
        warehouses = tuple(self._id() for _ in range(size.warehouses))
        products = tuple(product_id(sku) for sku, _, _ in PRODUCTS)
        self._furnish(town_id, admin, warehouses, products)
        devices = [
            self._device(town_id, f"tablet {place}.{one}", "warehouse_staff", users=staff, warehouse=warehouse)
            for one, warehouse in enumerate(warehouses)
        ]
        devices += [
            self._device(town_id, f"van {place}.{one}", "driver", users=(driver,), warehouse="")
            for one, driver in enumerate(drivers)
        ]
        clerks = tuple(self._user(town_id, admin, f"Cleo {one}", "counter_clerk") for one in range(size.counters))
        bursars = tuple(self._user(town_id, admin, f"Bo {one}", "school_office") for one in range(size.schools))
        devices += [
            self._device(town_id, f"counter {place}.{one}", "counter_clerk", users=clerks, warehouse="")
            for one in range(size.counters)
        ]
        if clerks:
            self._author(town_id, admin, ChangeSettings(settings=TownSettings(refund_units_max=REFUND_UNITS)))
        schools = tuple(self._id() for _ in range(size.schools * 2))
        for one, school in enumerate(schools):
            self._author(town_id, admin, OpenSchool(id=school, name=f"School {one}"))
        for one, school in enumerate(schools[: size.schools]):
            devices.append(
                self._device(
                    town_id, f"school {place}.{one}", "school_office", users=bursars, warehouse="", school=school
                )
            )
        return StagedTown(
            id=town_id,
            name=named["name"],
            admin=admin,
            dispatcher=dispatcher,
            staff=staff,
            drivers=drivers,
            clerks=clerks,
            bursars=bursars,
            schools=schools,
            warehouses=warehouses,
            products=products,
            devices=tuple(devices),
            backup=self._database.back_up(town_id),
        )

    def _furnish(self, town_id: str, admin: str, warehouses: Sequence[str], products: Sequence[str]) -> None:
        opened = [OpenWarehouse(id=one, name=f"House {place}") for place, one in enumerate(warehouses)]
        defined = [DefineProduct(sku=sku, name=name) for sku, name, _ in PRODUCTS]
        offered = [OfferProduct(product=product_id(sku), price=price) for sku, _, price in PRODUCTS]
        self._author(town_id, admin, *opened, *defined, *offered)
        received = [
            ReceiveStock(warehouse=warehouse, product=product, quantity=STOCK)
            for warehouse in warehouses
            for product in products
        ]
        self._author(town_id, admin, *received)

    def _user(self, town_id: str, actor: str, name: str, role: Role) -> str:
        user = AddUser(id=self._id(), name=name, login=name.lower(), user_roles=[role])
        self._author(town_id, actor, user)
        return user.id

    def _device(
        self, town_id: str, name: str, role: str, *, users: tuple[str, ...], warehouse: str, school: str = ""
    ) -> StagedDevice:
        user = users[0] if role == "driver" else None
        code, _ = self._run(
            make_enrolment(
                town_id=town_id,
                role=role,
                user_id=user,
                warehouse_id=warehouse or None,
                school_id=school or None,
                enrolments=self._database.enrolments,
                towns=self._towns,
                system=self._system,
            )
        )
        key = Ed25519PrivateKey.from_private_bytes(self._system.random(32))
        identity = enrol_device(_Door(self), server_url="https://sync.example", code=code, key=key, name=name)
        store = MemoryStore(DEVICE_RULES, FakeSystem())
        store.enrolled(identity)
        return StagedDevice(
            name=name, identity=identity, state=store._state, warehouse=warehouse, users=users, school=school
        )

    def _author(self, town_id: str, actor: str, *operations: Operation) -> None:
        verdict = orjson.loads(self._run(self._appliers.author(town_id, actor, operations)))
        assert verdict["status"] == "accepted", verdict

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """What the server answers."""
        parts = {"enrolments": self._database.enrolments, "appliers": self._appliers, "towns": self._towns}
        return self._run(enrol(request, **parts, signer=self.signer, system=self._system))  # type: ignore[arg-type]

    def _id(self) -> str:
        return make_id(self._system.now_ms(), self._system.random(RANDOM_BYTES))

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        task = self._loop.create_task(work)
        self._loop.run_while(lambda: not task.done())
        return task.result()


class _Door:
    """The way of a new device to the server."""

    bytes_up = bytes_down = 0

    def __init__(self, builder: _Builder) -> None:
        self._builder = builder

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """As the port."""
        return self._builder.enrol(request)

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Nothing is exchanged on a stage."""
        raise NotImplementedError
