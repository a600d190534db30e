"""A town in a real database, written to without HTTP; time stands still until the test moves it.

`author` writes in the town's own name, a `RealDevice` sends lines of its own chain, signed with its own key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg_pool import AsyncConnectionPool

from server.adapters.keys import KeySigner
from server.adapters.memory import MemorySystem, memory_signer
from server.adapters.postgres.connection import Connection, make_pool, town_transaction
from server.adapters.postgres.outbox import PostgresAgenda, PostgresInbox, PostgresMessages, PostgresOutbox
from server.adapters.postgres.reminders import PostgresReminders
from server.adapters.postgres.statement_shelf import PostgresStatementShelf
from server.adapters.postgres.towns import PostgresTowns
from server.application.batch import Upload
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.found_town import found_town
from server.application.commands.make_papers import PaperDesk
from server.application.commands.rebuild_statements import StatementDesk
from server.application.commands.send_reminders import ReminderDesk
from server.application.commands.settle_payments import PaymentDesk
from server.application.payment_ports import CardPayments, MobileMoney
from server.application.ports import Bell
from server.application.reminder_ports import Gateway
from server.domain.devices import server_device_id
from server.domain.payments import CALLBACK_PURPOSE
from sync.engine.chain import encode_bytes, genesis_hash, head_message, line_hash, sign
from sync.engine.town import Step
from sync.kernel.changeset import ChangeSet, Operation
from sync.kernel.clock import Hlc
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.modules import registry
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import CancelOrder, OpenWarehouse, PlaceOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, EnrolDevice
from sync.protocol.codec import encode_change_set
from tests.support.papers import paper_desk

PRODUCT = product_id("APPLE")
STOCK = 1_000_000


@dataclass(kw_only=True)
class RealTown:
    """One founded town with an admin, a driver, a warehouse and a product in stock; satisfies `RelayParts`."""

    pool: AsyncConnectionPool[Connection]
    towns: PostgresTowns
    outbox: PostgresOutbox
    inbox: PostgresInbox
    agenda: PostgresAgenda
    shelf: PostgresStatementShelf
    statement_desk: StatementDesk
    paper_desk: PaperDesk
    reminder_desk: ReminderDesk
    payments: PaymentDesk
    messages: PostgresMessages
    appliers: Appliers
    signer: KeySigner
    system: MemorySystem
    id: str
    admin_id: str
    driver_id: str
    warehouse_id: str

    def new_id(self) -> str:
        return make_id(self.system.now_ms(), self.system.random(RANDOM_BYTES))

    async def author(self, *operations: Operation) -> dict[str, Any]:
        """The verdict on operations of the town itself, by its admin; fails the test unless they are accepted."""
        verdict: dict[str, Any] = orjson.loads(await self.appliers.author(self.id, self.admin_id, operations))
        assert verdict["status"] == "accepted", verdict
        return verdict

    async def enrol(self, role: str, *, user_id: str | None = None, warehouse_id: str | None = None) -> RealDevice:
        """A device of this role with a key of its own, for the driver or the warehouse unless told otherwise."""
        key = Ed25519PrivateKey.from_private_bytes(self.system.random(32))
        device_id, actor_id = self.new_id(), user_id or (self.driver_id if role == "driver" else self.admin_id)
        certificate = f"certificate.of.{device_id}"
        operation = {
            "id": device_id,
            "name": role,
            "role": role,
            "user": actor_id if role == "driver" else user_id,
            "warehouse": warehouse_id or (self.warehouse_id if role == "warehouse_staff" else None),
            "public_key": encode_bytes(key.public_key().public_bytes_raw()),
            "certificate": certificate,
        }
        await self.author(EnrolDevice.model_validate(operation))
        return RealDevice(town=self, id=device_id, actor_id=actor_id, key=key, digest=genesis_hash(certificate))

    async def place_order(
        self, number: str = "A1", *, quantity: int = 1, payment_method: Literal["cod", "momo", "card"] = "cod"
    ) -> str:
        """The id of a new order for the product."""
        order_id = self.new_id()
        lines = [OrderLine(product=PRODUCT, quantity=quantity)]
        await self.author(
            PlaceOrder(
                id=order_id,
                number=number,
                warehouse=self.warehouse_id,
                customer_name="Grace",
                phone="",
                lines=lines,
                payment_method=payment_method,
            )
        )
        return order_id

    async def cancelled_order(self, number: str = "A1") -> str:
        """The id of an order that was placed and cancelled: the outbox now has a message to its customer."""
        order_id = await self.place_order(number)
        await self.author(CancelOrder(order=order_id, reason="asked for"))
        return order_id

    async def told(self) -> list[tuple[str, str]]:
        """(order id, text) of every message to a customer."""
        async with town_transaction(self.pool, self.id) as connection:
            cursor = await connection.execute("SELECT order_id, text FROM messages ORDER BY written_at, id")
            return [(order_id, text) async for order_id, text in cursor]

    async def undone(self) -> int:
        """How much work the outbox still holds, due or not."""
        async with town_transaction(self.pool, self.id) as connection:
            cursor = await connection.execute("SELECT count(*) FROM outbox WHERE done_at IS NULL")
            row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


@dataclass(kw_only=True)
class RealDevice:
    """An enrolled device: its key, and its chain so far."""

    town: RealTown
    id: str
    actor_id: str
    key: Ed25519PrivateKey
    digest: bytes
    seq: int = 0
    skew_ms: int = 0
    """By how much its clock is fast."""
    lines: list[bytes] = field(default_factory=list)

    def line(self, *operations: Operation, base: int = 0, seen: Mapping[str, Any] | None = None) -> bytes:
        """The next line of the chain, kept in `lines`."""
        system = self.town.system
        stamped = [
            operation if operation.id else operation.model_copy(update={"id": self.town.new_id()})
            for operation in operations
        ]
        change_set = ChangeSet(
            town=self.town.id,
            device=self.id,
            seq=self.seq + 1,
            prev=encode_bytes(self.digest),
            actor=self.actor_id,
            base=base,
            epoch=self.town.new_id(),
            at=str(Hlc(unix_ms=system.now_ms() + self.skew_ms, counter=0)),
            ops=tuple(stamped),
            seen=seen,
        )
        line = encode_change_set(change_set)
        self.seq, self.digest = self.seq + 1, line_hash(line)
        self.lines.append(line)
        return line

    async def send(self, *lines: bytes, from_seq: int | None = None) -> list[dict[str, Any]]:
        """The verdicts on lines of the chain, its last ones unless `from_seq` says where they begin."""
        start = self.seq - len(lines) + 1 if from_seq is None else from_seq
        last = start + len(lines) - 1
        signature = sign(self.key, head_message(self.id, last, line_hash(lines[-1])))
        upload = Upload(town_id=self.town.id, device_id=self.id, from_seq=start, lines=lines, signature=signature)
        return [orjson.loads(verdict) for verdict in await self.town.appliers.submit(upload)]


@asynccontextmanager
async def real_town(
    database_url: str,
    *,
    bell: Bell | None = None,
    system: MemorySystem | None = None,
    signer: KeySigner | None = None,
    provider: MobileMoney | None = None,
    card: CardPayments | None = None,
    gateway: Gateway | None = None,
    time_zone: str = "Europe/London",
    committed: Callable[[Step], None] | None = None,
    public_url: str = "http://127.0.0.1:1",
) -> AsyncIterator[RealTown]:
    """A town in a migrated database; `bell` is rung after commits with effects."""
    system, signer = system or MemorySystem(), signer or memory_signer()
    async with make_pool(database_url) as pool:
        towns = PostgresTowns(pool)
        appliers = Appliers(
            towns=towns, registry=registry(), signer=signer, system=system, bell=bell, committed=committed
        )
        town_id = await found_town(
            name="Ashford",
            currency="GBP",
            time_zone=time_zone,
            appliers=appliers,
            signer=signer,
            system=system,
        )
        admin_id, driver_id, warehouse_id = (make_id(system.now_ms(), system.random(RANDOM_BYTES)) for _ in range(3))
        town = RealTown(
            pool=pool,
            towns=towns,
            outbox=PostgresOutbox(pool),
            inbox=PostgresInbox(pool),
            agenda=PostgresAgenda(pool),
            shelf=PostgresStatementShelf(pool),
            statement_desk=StatementDesk(shelf=PostgresStatementShelf(pool), system=system),
            paper_desk=paper_desk(pool, system),
            reminder_desk=ReminderDesk(gateway=gateway, reminders=PostgresReminders(pool), system=system),
            payments=PaymentDesk(
                momo=provider,
                card=card,
                towns=towns,
                appliers=appliers,
                system=system,
                public_url=public_url,
                callback_secret=signer.secrets_for(CALLBACK_PURPOSE)[signer.kid],
            ),
            messages=PostgresMessages(pool),
            appliers=appliers,
            signer=signer,
            system=system,
            id=town_id,
            admin_id=admin_id,
            driver_id=driver_id,
            warehouse_id=warehouse_id,
        )
        await _furnish(town)
        yield town


async def _furnish(town: RealTown) -> None:
    admin = AddUser(id=town.admin_id, name="Ada", login="ada", user_roles=["admin", "warehouse_staff"])
    await town.appliers.author(town.id, server_device_id(town.id), [admin])
    await town.author(AddUser(id=town.driver_id, name="Dan", login="dan", user_roles=["driver"]))
    await town.author(OpenWarehouse(id=town.warehouse_id, name="North"))
    await town.author(DefineProduct(sku="APPLE", name="Apples"), OfferProduct(product=PRODUCT, price="2.50"))
    await town.author(ReceiveStock(warehouse=town.warehouse_id, product=PRODUCT, quantity=STOCK))
