"""A store of towns of each kind with one town in it, for the suites that every one of them has to pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.memory import MemorySystem, memory_signer
from server.adapters.memory_evidence import MemoryEvidence
from server.adapters.memory_outbox import MemoryMessages, MemoryOutbox
from server.adapters.memory_towns import MemoryTowns
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.evidence import PostgresEvidence
from server.adapters.postgres.outbox import PostgresMessages, PostgresOutbox
from server.adapters.postgres.towns import PostgresTowns
from server.application.batch import Upload
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.found_town import found_town
from server.application.evidence import EvidenceStore
from server.application.ports import Messages, Outbox, Towns
from server.application.queries.verify_town import verify_town
from server.domain.devices import server_device_id
from sync.engine.chain import encode_bytes, genesis_hash, head_message, line_hash, sign
from sync.kernel.changeset import ChangeSet, Operation
from sync.kernel.clock import Hlc
from sync.kernel.ids import derived_id
from sync.kernel.module import Registry
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import OpenWarehouse, ReceiveStock
from sync.modules.identity import AddUser, EnrolDevice
from sync.protocol.codec import encode_change_set
from tests.support.write_path import POISONED

TEA = product_id("TEA")
NOWHERE = derived_id("town", "nowhere")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KINDS = ["memory", "postgres"]


@dataclass(slots=True)
class FailingSystem(MemorySystem):
    """A system on which no commit is reached while `is_failing`."""

    is_failing: bool = False

    def reached(self, failpoint: str) -> None:
        if self.is_failing and failpoint == "apply.before_commit":
            raise ZeroDivisionError


@dataclass(kw_only=True)
class Store:
    """A store of towns with what belongs to it, and one town in it: an admin, a warehouse, tea, a tablet."""

    towns: Towns
    outbox: Outbox
    messages: Messages
    evidence: EvidenceStore
    system: FailingSystem
    appliers: Appliers
    rules: Registry = POISONED
    town: str = ""
    admin: str = derived_id("user", "ada")
    warehouse: str = derived_id("warehouse", 1)
    tablet: str = derived_id("device", "tablet")
    key: Ed25519PrivateKey = KEY

    async def furnish(self) -> None:
        self.town = await found_town(
            name="Ashford",
            currency="GBP",
            time_zone="Europe/London",
            appliers=self.appliers,
            signer=memory_signer(),
            system=self.system,
        )
        own = server_device_id(self.town)
        await self.author(own, AddUser(id=self.admin, name="Ada", login="ada", user_roles=["admin"]))
        await self.author(
            self.admin,
            OpenWarehouse(id=self.warehouse, name="North"),
            DefineProduct(sku="TEA", name="Tea"),
            OfferProduct(product=TEA, price="2.50"),
            EnrolDevice(
                id=self.tablet,
                name="tablet",
                role="warehouse_staff",
                warehouse=self.warehouse,
                public_key=encode_bytes(self.key.public_key().public_bytes_raw()),
                certificate="certificate",
            ),
        )

    async def author(self, actor: str, *operations: Operation, **more: Any) -> dict[str, Any]:
        verdict: dict[str, Any] = orjson.loads(await self.appliers.author(self.town, actor, operations, **more))
        return verdict

    async def receive(self, quantity: int = 1) -> dict[str, Any]:
        return await self.author(self.admin, ReceiveStock(warehouse=self.warehouse, product=TEA, quantity=quantity))

    def line(self, seq: int, prev: bytes, *operations: Operation) -> bytes:
        stamped = [one.model_copy(update={"id": derived_id("op", seq, place)}) for place, one in enumerate(operations)]
        at = str(Hlc(unix_ms=self.system.now_ms(), counter=0))
        return encode_change_set(
            ChangeSet(
                town=self.town,
                device=self.tablet,
                seq=seq,
                prev=encode_bytes(prev),
                actor=self.admin,
                base=0,
                epoch=derived_id("epoch", 1),
                at=at,
                ops=tuple(stamped),
            )
        )

    def first_line(self) -> bytes:
        received = ReceiveStock(warehouse=self.warehouse, product=TEA, quantity=3)
        return self.line(1, genesis_hash("certificate"), received)

    def signature(self, seq: int, line: bytes) -> str:
        return sign(self.key, head_message(self.tablet, seq, line_hash(line)))

    async def submit(self, seq: int, line: bytes) -> Sequence[bytes]:
        signature = self.signature(seq, line)
        upload = Upload(town_id=self.town, device_id=self.tablet, from_seq=seq, lines=[line], signature=signature)
        return await self.appliers.submit(upload)

    async def findings(self) -> list[str]:
        key = memory_signer().public_key
        report = await verify_town(self.evidence, self.town, registry=self.rules, server_key=key)
        return [f"{one.where}: {one.what}" for one in report.findings]


@asynccontextmanager
async def memory_store(rules: Registry = POISONED) -> AsyncIterator[Store]:
    outbox, messages, system = MemoryOutbox(), MemoryMessages(), FailingSystem()
    towns = MemoryTowns(rules, outbox)
    yield Store(
        towns=towns,
        outbox=outbox,
        messages=messages,
        evidence=MemoryEvidence(towns, outbox, messages),
        system=system,
        appliers=Appliers(towns=towns, registry=rules, signer=memory_signer(), system=system),
        rules=rules,
    )


@asynccontextmanager
async def postgres_store(url: str) -> AsyncIterator[Store]:
    async with make_pool(url) as pool:
        towns, system = PostgresTowns(pool), FailingSystem()
        appliers = Appliers(towns=towns, registry=POISONED, signer=memory_signer(), system=system)
        yield Store(
            towns=towns,
            outbox=PostgresOutbox(pool),
            messages=PostgresMessages(pool),
            evidence=PostgresEvidence(pool),
            system=system,
            appliers=appliers,
        )


@asynccontextmanager
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """The kind of store that a fixture is parametrised with, with its town."""
    made = memory_store() if request.param == "memory" else postgres_store(request.getfixturevalue("migrated_database"))
    async with made as one:
        await one.furnish()
        yield one
