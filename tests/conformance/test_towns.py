"""What every store of towns keeps to, in memory and in PostgreSQL alike: one writer, snapshots, pages, evidence."""

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
from server.application.batch import FAILURES_MAX, Upload
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.found_town import found_town
from server.application.commands.work_off_outbox import work_off_outbox
from server.application.evidence import EvidenceStore
from server.application.history_ports import Halt, KeptAside, NotHalted, ReleasedHead
from server.application.ports import Founding, Messages, Outbox, Towns, TownUnknown, WriteRejected
from server.application.queries.verify_town import verify_town
from server.domain.devices import server_device_id
from server.domain.requests import KeyedRequest, RequestKey
from sync.engine.chain import encode_bytes, genesis_hash, head_message, line_hash, sign
from sync.engine.evidence import TOWN_VERSION
from sync.kernel.changeset import ChangeSet, Operation
from sync.kernel.clock import Hlc, format_time
from sync.kernel.ids import derived_id, make_id
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import AdjustStock, CancelOrder, OpenWarehouse, PlaceOrder, ReceiveStock
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import OrderLine
from sync.modules.histories import ReleaseDevice
from sync.modules.identity import AddUser, DeactivateUser, EnrolDevice
from sync.protocol.codec import encode_change_set
from tests.support.write_path import POISONED, POISONS, Poison, Swallow

TEA = product_id("TEA")
NOWHERE = derived_id("town", "nowhere")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


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
        report = await verify_town(self.evidence, self.town, registry=POISONED, server_key=key)
        return [f"{one.where}: {one.what}" for one in report.findings]


@asynccontextmanager
async def memory_store() -> AsyncIterator[Store]:
    outbox, messages, system = MemoryOutbox(), MemoryMessages(), FailingSystem()
    towns = MemoryTowns(POISONED, outbox)
    appliers = Appliers(towns=towns, registry=POISONED, signer=memory_signer(), system=system)
    evidence = MemoryEvidence(towns, outbox, messages)
    yield Store(towns=towns, outbox=outbox, messages=messages, evidence=evidence, system=system, appliers=appliers)


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


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made = memory_store() if request.param == "memory" else postgres_store(request.getfixturevalue("migrated_database"))
    async with made as one:
        await one.furnish()
        yield one


async def test_a_town_is_listed_and_one_that_is_not_there_is_unknown(store: Store) -> None:
    assert (store.town, "Ashford") in await store.towns.list_towns()
    assert (await store.evidence.towns())[store.town] == "Ashford"
    with pytest.raises(TownUnknown):
        async with store.towns.writing(NOWHERE):
            pass
    with pytest.raises(TownUnknown):
        async with store.towns.reading(NOWHERE):
            pass


async def test_a_town_is_founded_once(store: Store) -> None:
    with pytest.raises(WriteRejected):
        async with store.towns.writing(store.town, founding=Founding(name="Again", epoch=derived_id("epoch", 2))):
            pass


async def test_what_a_transaction_has_written_is_there_after_it_and_not_when_it_failed(store: Store) -> None:
    before = await store.receive(2)
    store.system.is_failing = True
    with pytest.raises(WriteRejected):
        await store.receive(5)
    store.system.is_failing = False
    after = await store.receive(1)

    async with store.towns.reading(store.town) as reader:
        level = ("stock_level", stock_level_id(store.warehouse, TEA))
        stored = (await reader.load([level]))[level]
    assert stored is not None
    assert (stored.fields["on_hand"], stored.version) == (3, after["version"])
    assert after["version"] == before["version"] + 1


async def test_a_reader_sees_the_town_as_it_was_when_it_began(store: Store) -> None:
    level = ("stock_level", stock_level_id(store.warehouse, TEA))
    await store.receive(1)
    async with store.towns.reading(store.town) as reader:
        before = reader.head, await reader.load([level]), await reader.bucket_states(["town"])
        await store.receive(4)
        assert (reader.head, await reader.load([level]), await reader.bucket_states(["town"])) == before
        assert await reader.journal_entry(reader.head.version + 1) is None
    async with store.towns.reading(store.town) as reader:
        assert reader.head.version == before[0].version + 1


async def test_a_line_and_its_verdict_are_stored_as_they_are(store: Store) -> None:
    line = store.first_line()
    [verdict] = await store.submit(1, line)

    async with store.towns.writing(store.town) as writer:
        heads = await writer.device_heads([store.tablet, store.admin])
        stored = await writer.stored_lines([(store.tablet, 1), (store.tablet, 2)])
    assert {device: (head.seq, head.digest) for device, head in heads.items()} == {store.tablet: (1, line_hash(line))}
    assert {place: (one.digest, one.verdict_line) for place, one in stored.items()} == {
        (store.tablet, 1): (line_hash(line), verdict)
    }


async def test_a_request_that_was_answered_is_known_by_its_key(store: Store) -> None:
    request = KeyedRequest(key=RequestKey(principal_id=store.admin, key="one"), digest=bytes(32))
    other = RequestKey(principal_id=store.admin, key="two")
    said = await store.author(
        store.admin, AdjustStock(warehouse=store.warehouse, product=TEA, delta=1), request=request
    )
    again = await store.author(
        store.admin, AdjustStock(warehouse=store.warehouse, product=TEA, delta=1), request=request
    )

    assert again == said
    async with store.towns.writing(store.town) as writer:
        answered = await writer.answered([request.key, other])
    assert {key: one.seq for key, one in answered.items()} == {request.key: said["seq"]}


async def test_failures_of_a_line_are_counted(store: Store) -> None:
    counts = [await store.towns.count_failure(store.town, store.tablet, 1) for _ in range(2)]

    async with store.towns.writing(store.town) as writer:
        failures = await writer.failures([(store.tablet, 1), (store.tablet, 2)])
    assert (counts, dict(failures)) == ([1, 2], {(store.tablet, 1): 2})


@pytest.mark.parametrize("how", POISONS)
async def test_what_cannot_be_stored_is_refused_leaves_nothing_and_is_quarantined_in_the_end(
    store: Store, how: Poison
) -> None:
    await store.receive(2)
    level = stock_level_id(store.warehouse, TEA)
    [verdict] = await store.submit(1, store.line(1, genesis_hash("certificate"), Swallow(poison=how, level=level)))

    assert orjson.loads(verdict)["status"] == "quarantined"
    async with store.towns.writing(store.town) as writer:
        assert await writer.failures([(store.tablet, 1)]) == {(store.tablet, 1): FAILURES_MAX}
        stored = (await writer.load([("stock_level", level)]))["stock_level", level]
    assert stored is not None
    assert stored.fields["on_hand"] == 2
    assert await store.findings() == []


async def test_a_version_is_a_row_for_those_who_name_it(store: Store) -> None:
    said = await store.receive()
    async with store.towns.writing(store.town) as writer:
        keys = [(TOWN_VERSION, str(said["version"])), (TOWN_VERSION, "99999")]
        rows = await writer.load(keys)
    async with store.towns.reading(store.town) as reader:
        entry = await reader.journal_entry(said["version"])
    assert entry is not None
    row = rows[keys[0]]
    assert row is not None
    assert row.fields == {"at": format_time(store.system.now_ms()), "journal": encode_bytes(entry.digest)}
    assert rows[keys[1]] is None


async def test_a_device_is_told_with_its_head_its_buckets_and_what_its_town_has_set(store: Store) -> None:
    await store.submit(1, store.first_line())
    async with store.towns.reading(store.town) as reader:
        device = await reader.device(store.tablet)
        assert await reader.device(NOWHERE) is None
    assert device is not None
    assert (device.status, device.role, device.head.seq, device.certificate) == (
        "active",
        "warehouse_staff",
        1,
        "certificate",
    )
    assert device.buckets == (
        "town",
        f"warehouse:{store.warehouse}",
        "staff:warehouse_staff",
        f"device:{store.tablet}",
    )
    assert device.town_settings == {"payment_units_max": 100_000_000}


async def test_a_driver_who_left_holds_no_jobs_any_more(store: Store) -> None:
    driver, van = derived_id("user", "dan"), derived_id("device", "van")
    await store.author(store.admin, AddUser(id=driver, name="Dan", login="dan", user_roles=["driver"]))
    enrolled = {"name": "van", "role": "driver", "user": driver, "public_key": "key", "certificate": "certificate"}
    await store.author(store.admin, EnrolDevice.model_validate({"id": van, **enrolled}))
    held = []
    for leave in (False, True):
        if leave:
            await store.author(store.admin, DeactivateUser(user=driver))
        async with store.towns.reading(store.town) as reader:
            device = await reader.device(van)
        assert device is not None
        held.append(device.buckets)
    assert held == [("town", f"driver:{driver}", f"device:{van}"), ("town", f"device:{van}")]


@pytest.mark.parametrize(("rows_max", "bytes_max"), [(1, 10**6), (2, 10**6), (100, 1), (100, 10**6), (3, 600)])
async def test_pages_of_the_feed_are_whole_versions_and_all_of_it_together(
    store: Store, rows_max: int, bytes_max: int
) -> None:
    for number in range(5):
        await store.author(
            store.admin, DefineProduct(sku=f"P{number}", name="x" * 100), DefineProduct(sku=f"Q{number}", name="y")
        )
    async with store.towns.reading(store.town) as reader:
        pages, cursor, seen = 0, 0, []
        while (page := await reader.feed_page("town", cursor, rows_max, bytes_max)).last_version is not None:
            rows = [row for line in page.lines for row in orjson.loads(line)["put"]]
            assert {row[1] for row in rows} <= set(range(cursor + 1, page.last_version + 1))
            seen += [row[0] for row in rows]
            pages, cursor = pages + 1, page.last_version
        whole = await reader.feed_page("town", 0, 10**6, 10**9)
    assert sorted(seen) == sorted(row[0] for line in whole.lines for row in orjson.loads(line)["put"])
    assert len(seen) == len(set(seen)) == whole.rows
    assert pages > 1 or rows_max == 100


async def test_two_stores_say_the_same_bytes_of_the_same_acts(migrated_database: str) -> None:
    said = []
    for made in (memory_store(), postgres_store(migrated_database)):
        async with made as store:
            await store.furnish()
            order = derived_id("order", 1)
            lines = [OrderLine(product=TEA, quantity=2)]
            await store.submit(1, store.first_line())
            placed = PlaceOrder(id=order, number="1", warehouse=store.warehouse, customer_name="Zoë", lines=lines)
            await store.author(store.admin, placed)
            await store.author(store.admin, CancelOrder(order=order))
            async with store.towns.reading(store.town) as reader:
                buckets = ("town", f"warehouse:{store.warehouse}")
                pages = [(await reader.feed_page(bucket, 0, 1000, 10**6)) for bucket in buckets]
                said.append((reader.head, pages, await reader.bucket_states(buckets), await reader.journal_entry(3)))
    assert said[0] == said[1]


async def test_what_a_commit_asks_for_is_worked_off_and_verifies(store: Store) -> None:
    order = derived_id("order", 1)
    lines = [OrderLine(product=TEA, quantity=1)]
    placed = PlaceOrder(id=order, number="1", warehouse=store.warehouse, customer_name="Zoë", lines=lines)
    await store.receive(3)
    await store.author(store.admin, placed)
    await store.author(store.admin, CancelOrder(order=order))
    before = await store.findings()
    done = await work_off_outbox(store.town, outbox=store.outbox, messages=store.messages, system=store.system)

    assert (before, done.done > 0, done.failed) == ([], True, 0)
    assert await store.findings() == []


async def test_a_halted_town_says_so_until_an_epoch_begins(store: Store) -> None:
    histories = store.towns.histories
    with pytest.raises(NotHalted):
        await histories.resume(store.town, "why", format_time(store.system.now_ms()))
    halt = Halt(
        id=make_id(store.system.now_ms(), bytes(10)),
        device_id=store.tablet,
        epoch=derived_id("epoch", 9),
        version=99,
        journal=bytes(32),
        signature="",
        head_version=1,
        halted_at=format_time(store.system.now_ms()),
    )
    await histories.halt(store.town, halt)
    async with store.towns.reading(store.town) as reader:
        assert reader.is_halted
        assert await reader.halts() == [halt]
    epoch = await store.appliers.begin_epoch(store.town, "restored")
    async with store.towns.reading(store.town) as reader:
        assert (reader.is_halted, reader.head.epoch) == (False, epoch)
        assert [one.ended for one in await reader.halts()] == [epoch]
        assert [one.epoch for one in await reader.epochs()] == [epoch]
    assert await histories.epochs(store.town) == await _epochs(store)


async def _epochs(store: Store) -> Sequence[Any]:
    async with store.evidence.evidence(store.town) as evidence:
        return await evidence.epochs()


async def test_a_halt_that_is_resumed_is_over(store: Store) -> None:
    histories, at = store.towns.histories, format_time(store.system.now_ms())
    halt = Halt(
        id=derived_id("halt", 1),
        device_id=store.tablet,
        epoch=derived_id("epoch", 9),
        version=99,
        journal=bytes(32),
        signature="",
        head_version=1,
        halted_at=at,
    )
    await histories.halt(store.town, halt)
    assert await histories.resume(store.town, "why", at) == 1
    assert [one.ended for one in await histories.halts(store.town)] == ["resumed"]
    async with store.towns.reading(store.town) as reader:
        assert not reader.is_halted


async def test_lines_beside_the_chain_are_kept_once_until_something_becomes_of_them(store: Store) -> None:
    histories, line, at = store.towns.histories, store.first_line(), format_time(store.system.now_ms())
    other = store.line(2, line_hash(line), ReceiveStock(warehouse=store.warehouse, product=TEA, quantity=1))
    signature = store.signature(2, other)
    for _ in range(2):
        await histories.keep_lines(store.town, store.tablet, 1, [line, other], signature=signature, at=at)
    first = KeptAside(seq=1, line=line, received_at=at, signature=None)
    second = KeptAside(seq=2, line=other, received_at=at, signature=signature)

    assert await histories.kept_lines(store.town, store.tablet) == [first, second]
    assert await histories.kept_lines(store.town, store.admin) == []
    await store.submit(1, line)
    assert await histories.kept_lines(store.town, store.tablet) == [second]


async def test_a_released_devices_head_is_told_for_lines_that_were_kept_before(store: Store) -> None:
    histories, line, at = store.towns.histories, store.first_line(), format_time(store.system.now_ms())
    other = store.line(1, genesis_hash("certificate"), ReceiveStock(warehouse=store.warehouse, product=TEA, quantity=9))
    await store.submit(1, line)
    assert await histories.released_head(store.town, store.tablet, None) is None
    await store.author(store.admin, ReleaseDevice(device=store.tablet, reason="found"))
    async with store.towns.reading(store.town) as reader:
        epoch = reader.head.epoch
    head = ReleasedHead(line=line, signature=store.signature(1, line), epoch=epoch)

    assert await histories.released_head(store.town, store.tablet, None) == head
    assert await histories.released_head(store.town, store.tablet, other) is None
    await histories.keep_lines(store.town, store.tablet, 1, [other], signature="", at=at)
    assert await histories.released_head(store.town, store.tablet, other) == head
    late = other.replace(b"stock.receive", b"stock.Receive")
    store.system.advance(60)
    now = format_time(store.system.now_ms())
    await histories.keep_lines(store.town, store.tablet, 1, [late], signature="", at=now)
    assert await histories.released_head(store.town, store.tablet, late) is None
