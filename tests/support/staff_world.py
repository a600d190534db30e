"""Two towns behind one edge, with people who sign in; a browser that keeps its cookie and shows its token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
import orjson

from server.adapters.postgres.connection import town_transaction
from server.adapters.postgres.towns import PostgresTowns
from server.api.parts import StaffDoor
from server.api.staff import COOKIE
from server.application.commands.accounts import account_for
from server.application.commands.found_town import found_town
from server.application.people import People
from server.domain.devices import server_device_id
from sync.kernel.changeset import Operation
from sync.modules.billing import RegisterParty, RequestRefund, TakePayment
from sync.modules.billing.operations import InvoiceLine
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import AdjustStock, OpenWarehouse, PlaceOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, ChangeSettings, EnrolDevice, Role
from sync.modules.schools import OpenSchool, ScheduleFee, UpsertStudent, fee_invoice_id
from sync.modules.town_settings import TownSettings
from tests.support.api_world import PUBLIC_URL, ApiWorld, api_world

PASSWORD = "correct horse battery staple"
PRODUCT = product_id("APPLE")
ROLES: tuple[Role, ...] = ("admin", "dispatcher", "warehouse_staff", "driver", "counter_clerk", "school_office")


@dataclass(frozen=True, kw_only=True)
class MoneyOfTown:
    """A school that has charged 45.00 to a student, of which 20.00 are paid in cash and 5.00 shall go back."""

    school: str
    student: str
    fee: str
    invoice: str
    party: str
    payment: str
    drawer: str
    refund: str


@dataclass(kw_only=True)
class TownOfStaff:
    """A town with somebody of each role, a warehouse, a product in stock, an order and a driver's device.

    `product` is one that only this town has; it has no price and no stock. `trouble` gives it a conflict and a task,
    `charge` what there is about money.
    """

    id: str
    users: dict[str, str] = field(default_factory=dict)
    warehouse: str = ""
    product: str = ""
    order: str = ""
    device: str = ""
    conflict: str = ""
    task: str = ""
    money: MoneyOfTown | None = None


@dataclass(kw_only=True)
class StaffWorld:
    """The edge, and two towns that have nothing to do with each other."""

    world: ApiWorld
    here: TownOfStaff
    there: TownOfStaff

    @property
    def door(self) -> StaffDoor:
        assert self.world.parts.staff is not None
        return self.world.parts.staff

    @property
    def people(self) -> People:
        return self.door.people

    async def stored(self, statement: str, *towns: TownOfStaff) -> list[tuple[Any, ...]]:
        """The rows of a query over these towns and over what belongs to none."""
        pool = cast("PostgresTowns", self.world.parts.towns)._pool
        async with town_transaction(pool, *(town.id for town in towns)) as connection:
            return await (await connection.execute(statement.encode())).fetchall()

    async def author(self, town: TownOfStaff, *operations: Operation) -> dict[str, Any]:
        """The verdict on what the town itself does, which must be accepted."""
        line = await self.world.parts.appliers.author(town.id, server_device_id(town.id), operations)
        verdict: dict[str, Any] = orjson.loads(line)
        assert verdict["status"] == "accepted", verdict
        return verdict

    async def trouble(self, town: TownOfStaff) -> None:
        """More has left a shelf of the town than was there."""
        gone = AdjustStock(id=self.world.new_id(), warehouse=town.warehouse, product=PRODUCT, delta=-101)
        line = await self.world.parts.appliers.author(town.id, server_device_id(town.id), [gone])
        (town.conflict,) = orjson.loads(line)["conflicts"]
        mine = f"WHERE conflict_id = '{town.conflict}'"
        ((town.task,),) = await self.stored(f"SELECT id::text FROM tasks {mine}", town)

    async def charge(self, town: TownOfStaff) -> MoneyOfTown:
        """Something of everything about money; the admin has the drawer, and has asked for the refund."""
        school, student, fee, payment, refund, party = (self.world.new_id() for _ in range(6))
        lines, invoice = [InvoiceLine(text="Fees", amount="45.00")], fee_invoice_id(fee, student)
        await self.author(
            town,
            OpenSchool(id=school, name="North"),
            UpsertStudent(id=student, school=school, number="1", name="Amina", class_name="3b"),
            RegisterParty(id=party, name="Rowing Club"),
            ChangeSettings(id=self.world.new_id(), settings=TownSettings(refund_units_max=0)),
        )
        sums = {"currency": "GBP", "school": school}
        charged = ScheduleFee(id=fee, title="Autumn", lines=lines, due_on="2026-12-01", students=[student], **sums)
        await self.author(town, charged)
        for operation in (
            TakePayment(id=payment, invoice=invoice, amount="20.00", currency="GBP"),
            RequestRefund(id=refund, payment=payment, amount="5.00", currency="GBP", reason="too much"),
        ):
            line = await self.world.parts.appliers.author(town.id, town.users["admin"], [operation])
            assert orjson.loads(line)["status"] == "accepted", line
        ((drawer,),) = await self.stored(f"SELECT id::text FROM drawer_sessions WHERE town_id = '{town.id}'", town)
        town.money = MoneyOfTown(
            school=school,
            student=student,
            fee=fee,
            invoice=invoice,
            party=party,
            payment=payment,
            drawer=drawer,
            refund=refund,
        )
        return town.money

    def nobody(self) -> str:
        """An e-mail address that no test has used."""
        return f"{self.world.new_id()}@nowhere.example"

    async def account(self, *works: tuple[TownOfStaff, str], email: str = "", school: str | None = None) -> str:
        """The e-mail address of a new account that is the user of this role in these towns, for one school maybe."""
        known_as = email or f"{self.world.new_id()}@example.org"
        account_id = await account_for(self.people, known_as, PASSWORD)
        for town, role in works:
            user = AddUser.model_validate(
                {"id": self.world.new_id(), "name": known_as, "login": role, "user_roles": [role], "school": school}
            )
            await self.author(town, user)
            await self.people.accounts.link(account_id, town.id, user.id)
        return known_as

    async def browser(self, role: str = "admin", town: TownOfStaff | None = None, school: str | None = None) -> Browser:
        """Somebody new of this role, signed in."""
        town = town or self.here
        browser = Browser(world=self.world, town=town, email=await self.account((town, role), school=school))
        answer = await browser.sign_in()
        assert answer.status_code == 201, answer.text
        return browser

    async def place(self, town: TownOfStaff, number: str, quantity: int = 1) -> str:
        """The id of a new order of the town's own."""
        order_id = self.world.new_id()
        lines = [OrderLine(product=PRODUCT, quantity=quantity)]
        order = PlaceOrder(id=order_id, number=number, warehouse=town.warehouse, customer_name="Grace", lines=lines)
        await self.author(town, order)
        return order_id


@dataclass(kw_only=True)
class Browser:
    """One browser; `cookie` and `csrf` are what it holds of a session."""

    world: ApiWorld
    town: TownOfStaff
    email: str
    cookie: str = ""
    csrf: str = ""

    async def sign_in(
        self, password: str = PASSWORD, *, headers: Mapping[str, str] | None = None, **more: str
    ) -> httpx2.Response:
        """Ask for a session and keep it if there is one."""
        said = {"email": self.email, "password": password, **more}
        answer = await self.call("POST", "/v1/sessions", said, headers=headers)
        if answer.status_code == 201:
            self.cookie, self.csrf = cookie_of(answer), answer.json()["csrf_token"]
        return answer

    async def call(
        self, method: str, path: str, said: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """One request as a page of ours makes it; a path that does not begin with / is one of the town."""
        address = path if path.startswith("/") else f"/v1/towns/{self.town.id}/{path}"
        sent = {"Origin": PUBLIC_URL, "X-CSRF-Token": self.csrf, "Cookie": f"{COOKIE}={self.cookie}"}
        if not self.cookie:
            sent.pop("Cookie")
        if said is not None:
            sent["Content-Type"] = "application/json"
        content = None if said is None else orjson.dumps(said)
        return await self.world.client.request(method, address, content=content, headers=sent | dict(headers or {}))

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def post(self, path: str, said: Any = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", path, said if said is not None else {}, headers=named)


def cookie_of(answer: httpx2.Response) -> str:
    """The value of the session cookie that an answer sets."""
    return str(answer.headers["set-cookie"].partition("=")[2].partition(";")[0])


@asynccontextmanager
async def staff_world(database_url: str, **changes: Any) -> AsyncIterator[StaffWorld]:
    """Two towns over a migrated database."""
    async with api_world(database_url, **changes) as world:
        towns = []
        for name in ("Here", "There"):
            town_id = await found_town(
                name=name,
                currency="GBP",
                time_zone="UTC",
                appliers=world.parts.appliers,
                signer=world.parts.signer,
                system=world.system,
            )
            towns.append(TownOfStaff(id=town_id))
        made = StaffWorld(world=world, here=towns[0], there=towns[1])
        for town in towns:
            await furnish(made, town)
        yield made


async def furnish(made: StaffWorld, town: TownOfStaff) -> None:
    new_id = made.world.new_id
    for role in ROLES:
        user = AddUser(id=new_id(), name=role.title(), login=role, user_roles=[role])
        await made.author(town, user)
        town.users[role] = user.id
    town.warehouse, town.device, town.product = new_id(), new_id(), product_id(f"OWN {town.id}")
    await made.author(
        town,
        OpenWarehouse(id=town.warehouse, name="North"),
        DefineProduct(id=new_id(), sku="APPLE", name="Apples"),
        DefineProduct(id=new_id(), sku=f"OWN {town.id}", name="Zucchini"),
        OfferProduct(id=new_id(), product=PRODUCT, price="2.50"),
        EnrolDevice(
            id=town.device,
            name="Van 3",
            role="driver",
            user=town.users["driver"],
            public_key=town.device,
            certificate="a certificate",
        ),
    )
    await made.author(town, ReceiveStock(id=new_id(), warehouse=town.warehouse, product=PRODUCT, quantity=100))
    town.order = await made.place(town, "A-1")
