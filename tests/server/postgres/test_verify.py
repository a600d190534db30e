"""Whoever changes what is stored is found out: `verify` names the place, and finds nothing where nothing was changed.

Tampering is done as a superuser with all triggers off, each time on a fresh copy of the same traded town.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import psycopg
import pytest

from server.adapters.memory import memory_signer
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.evidence import PostgresEvidence
from server.adapters.rebuilt import rebuilt_in_file
from server.application.commands.work_off_outbox import work_off_outbox
from server.application.ports import Signer
from server.application.queries.verify_town import Report, verify_town
from server.domain.devices import server_device_id
from server.embedded import EmbeddedPostgres
from sync.engine.chain import encode_bytes, journal_hash, journal_message
from sync.kernel.clock import format_time
from sync.modules.commerce import AssignDispatch, CancelOrder, CompletePack, PickLine, PlaceOrder, ReassignDispatch
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser
from tests.support.real_town import PRODUCT, RealDevice, RealTown, real_town
from tests.support.stack import database_from, tamper
from tests.support.write_path import POISONED, other_appliers, poison, receive, stored

NOBODY = "00000000-0000-7000-8000-000000000001"
OTHER_KEY_SEED = 2
ROOM = partial(rebuilt_in_file, 30)
"""So little that most of what is compared has been in the file."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A traded town in a database that is copied for each test, and the names of what tests change."""

    database: str
    names: dict[str, str]
    versions: int


@pytest.fixture(scope="module")
def kept(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[Kept]:
    with database_from(postgres, migrated_template) as url:
        names, versions = asyncio.run(_trade(url))
        yield Kept(database=url.rpartition("/")[2], names=names, versions=versions)


@pytest.fixture
def copy(postgres: EmbeddedPostgres, kept: Kept) -> Iterator[str]:
    with database_from(postgres, kept.database) as url:
        yield url


async def _trade(url: str) -> tuple[dict[str, str], int]:
    """Three kinds of device history: accepted work, a quarantined line, an order that has changed vans."""
    async with real_town(url) as town:
        town.appliers = other_appliers(town, rules=POISONED)
        tablet, other_driver = await town.enrol("warehouse_staff"), town.new_id()
        await town.author(AddUser(id=other_driver, name="Eve", login="eve", user_roles=["driver"]))
        order, last = await _place_and_pack(tablet)
        await town.author(AssignDispatch(order=order, driver=town.driver_id))
        await town.author(ReassignDispatch(order=order, driver=other_driver))
        await town.appliers.author(town.id, town.admin_id, [CancelOrder(order=order)])
        await work_off_outbox(town.id, outbox=town.outbox, messages=town.messages, system=town.system)
        at = format_time(town.system.now_ms())
        await town.towns.histories.keep_lines(town.id, tablet.id, 2, [b"another line"], signature="", at=at)
        sick = await town.enrol("warehouse_staff")
        await sick.send(sick.line(poison(town, "a rule that raises")), sick.line(receive(town)))
        async with town.towns.reading(town.id) as reader:
            versions = reader.head.version
        return {
            "town": town.id,
            "tablet": tablet.id,
            "sick": sick.id,
            "server": server_device_id(town.id),
            "order": order,
            "level": stock_level_id(town.warehouse_id, PRODUCT),
            "shelf": f"warehouse:{town.warehouse_id}",
            "van": f"driver:{town.driver_id}",
            "nobody": NOBODY,
            "work": (await stored(town, "SELECT id FROM outbox"))[0][0],
            "last_of_tablet": str(last),
            "head": str(versions),
            "beyond": str(versions + 1),
        }, versions


async def _place_and_pack(tablet: RealDevice) -> tuple[str, int]:
    """An order that one upload has placed, picked and packed, lines 1 to 3 of the tablet; the version of its line 4."""
    town: RealTown = tablet.town
    order = town.new_id()
    lines = [OrderLine(product=PRODUCT, quantity=3)]
    await tablet.send(
        tablet.line(PlaceOrder(id=order, number="A1", warehouse=town.warehouse_id, customer_name="Grace", lines=lines)),
        tablet.line(PickLine(order=order, product=PRODUCT, quantity=3)),
        tablet.line(CompletePack(order=order)),
    )
    (verdict,) = await tablet.send(tablet.line(receive(town)))
    return order, verdict["version"]


def verified(url: str, town_id: str) -> Report:
    """The report on the town."""

    async def run() -> Report:
        async with make_pool(url) as pool:
            evidence = PostgresEvidence(pool)
            key = memory_signer().public_key
            return await verify_town(evidence, town_id, registry=POISONED, server_key=key, room=ROOM)

    return asyncio.run(run())


def places(report: Report) -> list[str]:
    """Where the findings are, in the order in which they were made."""
    return list(dict.fromkeys(finding.where for finding in report.findings))


def test_nothing_is_found_in_a_town_that_nobody_has_touched(copy: str, kept: Kept) -> None:
    report = verified(copy, kept.names["town"])
    assert report.findings == ()
    assert report.version == kept.versions


HISTORY = {
    "a byte of a line": (
        (
            "UPDATE change_sets SET line = set_byte(line, 9, get_byte(line, 9) # 1) "
            "WHERE device_id = '{tablet}' AND seq = 2"
        ),
        "change set 2 of device {tablet}",
    ),
    "a quantity in a line and its hash": (
        (
            "UPDATE change_sets SET line = convert_to(replace(convert_from(line, 'UTF8'), '\"quantity\":3', "
            "'\"quantity\":2'), 'UTF8') WHERE device_id = '{tablet}' AND seq = 2; "
            "UPDATE change_sets SET hash = sha256('\\x01'::bytea || line) WHERE device_id = '{tablet}' AND seq = 2"
        ),
        "change set 2 of device {tablet}",
    ),
    "the kept hash of a line": (
        "UPDATE change_sets SET hash = sha256(hash) WHERE device_id = '{tablet}' AND seq = 1",
        "change set 1 of device {tablet}",
    ),
    "two verdicts, swapped": (
        (
            "UPDATE change_sets a SET verdict = b.verdict FROM change_sets b WHERE a.device_id = '{tablet}' "
            "AND b.device_id = a.device_id AND (a.seq, b.seq) IN ((1, 2), (2, 1))"
        ),
        "change set 1 of device {tablet}",
    ),
    "a status beside its verdict": (
        "UPDATE change_sets SET status = 'refused' WHERE device_id = '{tablet}' AND seq = 1",
        "change set 1 of device {tablet}",
    ),
    "the verdict of a quarantined line": (
        """UPDATE change_sets SET verdict = '{{"rule":"engine.rule_failed"}}' WHERE device_id = '{sick}' AND seq = 1""",
        "change set 1 of device {sick}",
    ),
    "the signature of a device": (
        (
            "UPDATE change_sets a SET signature = b.signature FROM change_sets b "
            "WHERE a.device_id = '{tablet}' AND a.seq = 3 AND b.device_id = a.device_id AND b.seq = 4"
        ),
        "change set 3 of device {tablet}",
    ),
    "the signature of the server under its own line": (
        "UPDATE change_sets SET signature = NULL WHERE device_id = '{server}' AND seq = 2",
        "change set 2 of device {server}",
    ),
    "a change set, removed": (
        "DELETE FROM change_sets WHERE device_id = '{tablet}' AND seq = 2",
        "change set 2 of device {tablet}",
    ),
    "a change set, moved to another version": (
        "UPDATE change_sets SET version = version + 1 WHERE device_id = '{tablet}' AND seq = 4",
        "change set 4 of device {tablet}",
    ),
    "a change set, slipped into a version": (
        (
            "INSERT INTO change_sets SELECT town_id, device_id, 5, version, hash, line, signature, status, verdict "
            "FROM change_sets WHERE device_id = '{tablet}' AND seq = 4"
        ),
        "journal version {last_of_tablet}",
    ),
    "a journal entry, removed": ("DELETE FROM journal WHERE version = 4", "journal version 4"),
    "the first journal entry, removed": ("DELETE FROM journal WHERE version = 1", "journal version 1"),
    "a byte of a journal entry": (
        "UPDATE journal SET body = set_byte(body, 9, get_byte(body, 9) # 1) WHERE version = 3",
        "journal version 3",
    ),
    "the signature of a journal entry": (
        "UPDATE journal SET signature = (SELECT signature FROM journal WHERE version = 2) WHERE version = 3",
        "journal version 3",
    ),
    "the hash of a journal entry": ("UPDATE journal SET hash = sha256(hash) WHERE version = 3", "journal version 3"),
    "a journal entry, made unreadable": ("UPDATE journal SET body = '[' WHERE version = 3", "journal version 3"),
    "the shape of a journal entry": (
        (
            "UPDATE journal SET body = convert_to(regexp_replace(convert_from(body, 'UTF8'), '\"sets\":.*', "
            "'\"sets\":[7]}}'), 'UTF8') WHERE version = 3"
        ),
        "journal version 3",
    ),
}
"""What, how, and the place of the first finding: the rest of the history no longer follows from a changed past."""

_FAILURES = "failures of change set 1 of device {sick}"
TABLES = {
    "a change set that no entry names": (
        (
            "INSERT INTO change_sets SELECT town_id, device_id, 5, {beyond}, hash, line, signature, status, verdict "
            "FROM change_sets WHERE device_id = '{tablet}' AND seq = 4"
        ),
        "change sets",
    ),
    "a stock level": ("UPDATE stock_levels SET on_hand = on_hand + 1", "stock_level {level}"),
    "the version of a row": ("UPDATE orders SET version = version - 1", "order {order}"),
    "a JSON value of a row": ("UPDATE orders SET lines = lines || lines", "order {order}"),
    "a row, removed": ("DELETE FROM orders", "order {order}"),
    "a row, added": (
        "INSERT INTO warehouses SELECT town_id, '{nobody}', version, name FROM warehouses",
        "warehouse {nobody}",
    ),
    "a byte of a feed row": (
        "UPDATE feed SET body = replace(body, 'Grace', 'Grade') WHERE id = '{order}' AND bucket = '{shelf}'",
        "feed row order {order} in bucket {shelf}",
    ),
    "the version of a feed row": (
        "UPDATE feed SET version = version - 1 WHERE id = '{level}'",
        "feed row stock_level {level} in bucket {shelf}",
    ),
    "a feed row, removed": ("DELETE FROM feed WHERE id = '{level}'", "feed row stock_level {level} in bucket {shelf}"),
    "a feed row, added": (
        "INSERT INTO feed SELECT town_id, bucket, entity, '{nobody}', version, body FROM feed WHERE id = '{level}'",
        "feed row stock_level {nobody} in bucket {shelf}",
    ),
    "a tombstone, raised": (
        "UPDATE feed SET body = '{{}}' WHERE id = '{order}' AND bucket = '{van}' AND body IS NULL",
        "feed row order {order} in bucket {van}",
    ),
    "a tombstone, removed": (
        "DELETE FROM feed WHERE id = '{order}' AND bucket = '{van}' AND body IS NULL",
        "feed row order {order} in bucket {van}",
    ),
    "a bucket's checksum": ("UPDATE buckets SET total = total - 1 WHERE bucket = '{shelf}'", "bucket {shelf}"),
    "a bucket's count": ("UPDATE buckets SET rows = rows + 1 WHERE bucket = '{shelf}'", "bucket {shelf}"),
    "a bucket's version": ("UPDATE buckets SET version = version - 1 WHERE bucket = '{shelf}'", "bucket {shelf}"),
    "a bucket, removed": ("DELETE FROM buckets WHERE bucket = '{shelf}'", "bucket {shelf}"),
    "a bucket, added": ("INSERT INTO buckets VALUES ('{town}', 'ghost', 1, 0, 0)", "bucket ghost"),
    "the head of a device, moved back": (
        "UPDATE device_heads SET seq = seq - 1 WHERE device_id = '{tablet}'",
        "device {tablet}",
    ),
    "the hash of a device's head": (
        "UPDATE device_heads SET hash = sha256(hash) WHERE device_id = '{tablet}'",
        "device {tablet}",
    ),
    "the head of a device, removed": ("DELETE FROM device_heads WHERE device_id = '{tablet}'", "device {tablet}"),
    "the head of a device, added": (
        "INSERT INTO device_heads SELECT town_id, '{nobody}', seq, hash FROM device_heads WHERE device_id = '{tablet}'",
        "device {nobody}",
    ),
    "the version of the town's head": ("UPDATE town_heads SET version = version - 1", "town head"),
    "the epoch of the town's head": ("UPDATE town_heads SET epoch = '{nobody}'", "town head"),
    "the name of the town": ("UPDATE town_names SET name = 'Elsewhere'", "town name"),
    "the name of the town, removed": ("DELETE FROM town_names", "town name"),
    "a number in JSON, made a fraction": (
        "UPDATE orders SET lines = replace(lines::text, '\"short\": 0', '\"short\": 0.0')::jsonb",
        "order {order}",
    ),
    "a number in JSON, made a truth value": (
        "UPDATE orders SET lines = replace(lines::text, '\"short\": 0', '\"short\": false')::jsonb",
        "order {order}",
    ),
    "work of the outbox": ("UPDATE outbox SET data = '{{}}'", "outbox {work}"),
    "the kind of work of the outbox": ("UPDATE outbox SET kind = 'other'", "outbox {work}"),
    "the version of work of the outbox": ("UPDATE outbox SET version = version - 1", "outbox {work}"),
    "work of the outbox, removed": ("DELETE FROM outbox", "outbox {work}"),
    "work of the outbox, added": (
        "INSERT INTO outbox SELECT town_id, '{nobody}', kind, data, version, due_at, 0, NULL FROM outbox",
        "outbox {nobody}",
    ),
    "what a customer was told": ("UPDATE messages SET text = 'Pay again.'", "message {work}"),
    "what a customer was told, removed": ("DELETE FROM messages", "message {work}"),
    "what a customer was told, added": (
        "INSERT INTO messages SELECT town_id, '{nobody}', order_id, text, written_at FROM messages",
        "message {nobody}",
    ),
    "the bytes of a forked line": (
        "UPDATE fork_lines SET line = 'yet another line'",
        "forked line 2 of device {tablet}",
    ),
    "the failures of a quarantined line": ("UPDATE failed_lines SET failures = 1", _FAILURES),
    "those failures, removed": ("WITH gone AS (DELETE FROM failed_lines) DELETE FROM line_failures", _FAILURES),
    "the hash of the town's head": ("UPDATE town_heads SET journal_hash = sha256(journal_hash)", "town head"),
}
"""What, how, and the only place with a finding."""


@pytest.mark.parametrize(("statements", "place"), HISTORY.values(), ids=HISTORY)
def test_a_changed_history_is_found_where_it_was_changed(copy: str, kept: Kept, statements: str, place: str) -> None:
    tamper(copy, *statements.format(**kept.names).split("; "))
    assert places(verified(copy, kept.names["town"]))[0] == place.format(**kept.names)


@pytest.mark.parametrize(("statement", "place"), TABLES.values(), ids=TABLES)
def test_a_changed_table_is_found_where_it_was_changed_and_nowhere_else(
    copy: str, kept: Kept, statement: str, place: str
) -> None:
    tamper(copy, statement.format(**kept.names))
    assert places(verified(copy, kept.names["town"])) == [place.format(**kept.names)]


def test_the_last_journal_entry_is_missed_although_nothing_follows_it(copy: str, kept: Kept) -> None:
    tamper(copy, "DELETE FROM journal WHERE version = {head}".format(**kept.names))
    assert {"town head", "change sets"} <= set(places(verified(copy, kept.names["town"])))


def test_lines_that_no_signed_head_covers_are_reported(copy: str, kept: Kept) -> None:
    assert verified(copy, kept.names["town"]).unsigned == ()
    tamper(copy, "UPDATE change_sets SET signature = NULL WHERE device_id = '{tablet}'".format(**kept.names))
    said = [(tail.where, tail.what) for tail in verified(copy, kept.names["town"]).unsigned]
    assert said == [("device {tablet}".format(**kept.names), "no signed head covers its lines from 1 on")]


def test_failures_that_the_release_before_has_counted_by_their_place_are_enough(copy: str, kept: Kept) -> None:
    tamper(copy, "DELETE FROM failed_lines")
    assert places(verified(copy, kept.names["town"])) == []


def test_a_town_is_verified_though_its_name_was_removed(copy: str, kept: Kept) -> None:
    async def listed() -> Mapping[str, str]:
        async with make_pool(copy) as pool:
            return await PostgresEvidence(pool).towns()

    assert asyncio.run(listed()) == {kept.names["town"]: "Ashford"}
    orphan = "INSERT INTO device_keys VALUES ('a key', '{town}', '{tablet}')".format(**kept.names)
    tamper(copy, "DELETE FROM town_names", orphan)
    assert asyncio.run(listed()) == {kept.names["town"]: kept.names["town"]}


def test_a_journal_chained_anew_without_the_servers_key_is_found_at_each_entry(copy: str, kept: Kept) -> None:
    first = 6
    _chain_anew(copy, kept, first, memory_signer(OTHER_KEY_SEED))
    report = verified(copy, kept.names["town"])
    unsigned = [finding.where for finding in report.findings if "signature is not the server's" in finding.what]
    assert unsigned == [f"journal version {version}" for version in range(first, kept.versions + 1)]
    assert places(report)[0] == f"journal version {first}"


def test_even_the_servers_key_cannot_drop_a_change_set_from_a_devices_chain(copy: str, kept: Kept) -> None:
    dropped = "DELETE FROM change_sets WHERE device_id = '{tablet}' AND seq = 2"
    tamper(copy, dropped.format(**kept.names))
    _chain_anew(copy, kept, 1, memory_signer(), without=[kept.names["tablet"], 2])
    found = [(finding.where, finding.what) for finding in verified(copy, kept.names["town"]).findings]
    assert found[0] == ("change set 3 of device {tablet}".format(**kept.names), "it follows position 1")


def _chain_anew(url: str, kept: Kept, first: int, signer: Signer, without: Sequence[Any] | None = None) -> None:
    """Rewrite the journal from version `first` on: every hash fits, and every signature is by `signer`."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET search_path = tallystick")
        entries = connection.execute("SELECT version, body, hash FROM journal ORDER BY version").fetchall()
        before = bytes(32) if first == 1 else entries[first - 2][2]
        for version, body, _ in entries[first - 1 :]:
            said = orjson.loads(body) | {"prev": encode_bytes(before)}
            if without:
                said["sets"] = [one for one in said["sets"] if one[:2] != without]
            elif version == first:
                said["at"] = "2026-11-21T07:00:00.000Z"
            written = orjson.dumps(said)
            before = journal_hash(written)
            signature = signer.sign(journal_message(kept.names["town"], said["epoch"], version, before))
            connection.execute(
                "UPDATE journal SET body = %s, hash = %s, signature = %s WHERE version = %s",
                [written, before, signature, version],
            )
        connection.execute("UPDATE town_heads SET journal_hash = %s", [before])
