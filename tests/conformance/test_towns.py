"""What every store of towns keeps to, in memory and in PostgreSQL alike: one writer, snapshots, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from server.application.batch import FAILURES_MAX
from server.application.commands.work_off_outbox import work_off_outbox
from server.application.ports import Founding, TownUnknown, WriteRejected
from server.domain.requests import KeyedRequest, RequestKey
from sync.engine.chain import encode_bytes, genesis_hash, line_hash
from sync.engine.evidence import TOWN_VERSION
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.catalogue import DefineProduct
from sync.modules.commerce import AdjustStock, CancelOrder, PlaceOrder
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, DeactivateUser, EnrolDevice
from tests.support.town_stores import KINDS, NOWHERE, TEA, Store, memory_store, opened, postgres_store
from tests.support.write_path import POISONS, Poison, Swallow


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened(request) as one:
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
    digest, other = line_hash(b"a line"), line_hash(b"another line")
    counts = [await store.towns.count_failure(store.town, store.tablet, 1, digest) for _ in range(2)]

    async with store.towns.writing(store.town) as writer:
        failures = await writer.failures([(store.tablet, digest), (store.tablet, other), (store.admin, digest)])
    assert (counts, dict(failures)) == ([1, 2], {(store.tablet, digest): 2})


async def test_a_line_is_not_blamed_for_another_one_that_failed_where_it_came_to_be(store: Store) -> None:
    for _ in range(FAILURES_MAX):
        await store.towns.count_failure(store.town, store.tablet, 1, line_hash(b"a line that never got in"))

    [verdict] = await store.submit(1, store.first_line())
    assert orjson.loads(verdict)["status"] == "adjusted"
    assert await store.findings() == []


@pytest.mark.parametrize("how", POISONS)
async def test_what_cannot_be_stored_is_refused_leaves_nothing_and_is_quarantined_in_the_end(
    store: Store, how: Poison
) -> None:
    await store.receive(2)
    level = stock_level_id(store.warehouse, TEA)
    line = store.line(1, genesis_hash("certificate"), Swallow(poison=how, level=level))
    [verdict] = await store.submit(1, line)

    assert orjson.loads(verdict)["status"] == "quarantined"
    async with store.towns.writing(store.town) as writer:
        assert await writer.failures([(store.tablet, line_hash(line))]) == {
            (store.tablet, line_hash(line)): FAILURES_MAX
        }
        stored = (await writer.load([("stock_level", level)]))["stock_level", level]
    assert stored is not None
    assert stored.fields["on_hand"] == 2
    assert await store.findings() == []


async def test_an_id_that_was_looked_for_before_it_was_there_is_taken_afterwards(store: Store) -> None:
    order, payment = derived_id("order", 1), derived_id("payment", 1)
    lines = [OrderLine(product=TEA, quantity=1)]
    placed = PlaceOrder(id=order, number="1", warehouse=store.warehouse, customer_name="Zoë", lines=lines)
    await store.receive(3)
    await store.author(store.admin, placed)
    taken = TakePayment(id=payment, order=order, amount="2.50", currency="GBP")
    first, again = await store.author(store.admin, taken), await store.author(store.admin, taken)

    assert (first["status"], again["status"], again["rule"]) == ("accepted", "refused", "engine.id_taken")


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
