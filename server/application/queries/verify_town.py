"""`tallystick verify`: rebuild a town from its journal and compare it with everything that is stored.

Reads one snapshot; safe beside traffic. Every difference is a finding with its place; none means that the journal is
whole, every signature fits, and every table, feed row and checksum is exactly what the journal gives.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from server.application.evidence import EvidenceStore, StoredSet, TownEvidence
from server.application.ports import BucketState
from server.application.queries.side_by_side import side_by_side, streamed
from server.application.queries.verify_histories import compare_histories
from server.application.queries.verify_statements import compare_statements
from server.application.queries.verify_work import compare_work
from server.domain.devices import server_device_id
from sync.engine.feed import BucketSum, encode_body
from sync.engine.rebuilt import InMemory, RebuiltRows, RowsOf
from sync.engine.replay import FeedKey, Finding, KeptLine, Replay, differing_fields
from sync.kernel.module import Registry
from sync.modules.billing.audit import BILLING, audit_rows
from sync.modules.commerce.audit import GOODS, audit_goods_rows
from sync.protocol.codec import parse_line

FINDINGS_MAX = 200
"""A report longer than this says no more than that everything is broken."""


COLLECTIONS = (50_000, 20, 1_000_000)
"""How often Python looks for cycles meanwhile (`gc.set_threshold`): among what is new, and never through everything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What verifying a town gave; no findings means that everything fits.

    `unsigned` names the last lines of devices that no signed head covers. An upload that broke off leaves them until
    the device sends again, so they are no finding; nothing but the chain vouches for them.
    """

    town_id: str
    version: int
    change_sets: int
    rows: int
    feed_rows: int
    findings: tuple[Finding, ...]
    unsigned: tuple[Finding, ...] = ()


async def verify_town(
    store: EvidenceStore,
    town_id: str,
    *,
    registry: Registry,
    server_key: str,
    older_keys: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    room: Callable[[], AbstractContextManager[RebuiltRows]] = lambda: nullcontext(InMemory()),
) -> Report:
    """Rebuild and compare; `progress` is told (versions done, versions in all).

    `older_keys` have signed before `server_key` did. The rows are rebuilt in `room`, which a large town has not in
    memory.
    """
    async with store.evidence(town_id) as evidence:
        with room() as rows:
            replay = Replay(
                registry=registry,
                town=town_id,
                server_device=server_device_id(town_id),
                server_key=server_key,
                older_keys=older_keys,
                rows=rows,
            )
            feed_rows = await _rebuild_and_compare(replay, evidence, registry, progress)
            return Report(
                town_id=town_id,
                version=evidence.head.version,
                change_sets=replay.change_sets,
                rows=replay.rows_made,
                feed_rows=feed_rows,
                findings=tuple(replay.findings[:FINDINGS_MAX]),
                unsigned=tuple(
                    Finding(where=f"device {device}", what=f"no signed head covers its lines from {seq} on")
                    for device, seq in sorted(replay.unsigned.items())
                ),
            )


async def _rebuild_and_compare(
    replay: Replay, evidence: TownEvidence, registry: Registry, progress: Callable[[int, int], None]
) -> int:
    """How many rows the feed must hold, tombstones aside."""
    with _rare_collections():
        async for entry, sets in evidence.journal():
            replay.take(entry, [_read(one, replay.town, registry) for one in sets])
            progress(entry.version, evidence.head.version)
            if len(replay.findings) > FINDINGS_MAX:
                return 0
        return await _compare(replay, evidence, registry)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """What is rebuilt lives until the end and is no cycle: looking through it again and again took a quarter."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _read(one: StoredSet, town_id: str, registry: Registry) -> KeptLine:
    parsed = parse_line(one.line, town=town_id, device=one.device, registry=registry)
    return KeptLine(
        device=one.device,
        seq=one.seq,
        digest=one.digest,
        line=one.line,
        signature=one.signature,
        status=one.status,
        verdict=one.verdict,
        claimed_seq=parsed.claimed_seq,
        claimed_prev=parsed.claimed_prev,
        change_set=parsed.change_set,
    )


async def _compare(replay: Replay, evidence: TownEvidence, registry: Registry) -> int:
    head = evidence.head
    if (head.version, head.journal) != (replay.version, replay.journal):
        _find(replay, "town head", f"it says version {head.version}, the journal ends at version {replay.version}")
    if head.epoch != replay.epoch:
        _find(replay, "town head", f"it says epoch {head.epoch}, the journal ends in epoch {replay.epoch}")
    town = replay.rows["town", head.town]
    if (name := await evidence.name()) != (town and town.fields["name"]):
        _find(replay, "town name", f"the towns are listed with the name {name!r}")
    if strays := await evidence.stray_sets():
        _find(replay, "change sets", f"{strays} are stored that no journal entry names")
    for entity in registry.entities:
        await _compare_rows(replay, evidence, entity)
    feed_rows = await _compare_feed(replay, evidence, sorted(registry.entities))
    heads = await evidence.all_device_heads()
    for device in sorted(heads.keys() | replay.chains.keys()):
        if heads.get(device) != replay.chains.get(device):
            _find(replay, f"device {device}", "the stored head of its chain is not its last line")
    await compare_work(replay, evidence)
    await compare_histories(replay, evidence)
    await compare_statements(replay, evidence)
    _check_stock(replay)
    _check_goods(replay)
    _check_money(replay)
    return feed_rows


async def _compare_rows(replay: Replay, evidence: TownEvidence, entity: str) -> None:
    ours = streamed(((row_id,), stored) for row_id, stored in replay.rows.ordered(entity))
    theirs = (((row_id,), stored) async for row_id, stored in evidence.rows(entity))
    async for (row_id,), expected, stored in side_by_side(ours, theirs):
        where = f"{entity} {row_id}"
        if expected is None:
            _find(replay, where, "no change set has made it")
        elif stored is None:
            _find(replay, where, "missing: the journal has made it")
        elif encode_body(expected.fields) != encode_body(stored.fields):
            _find(replay, where, differing_fields(expected.fields, stored.fields))
        elif expected.version != stored.version:
            _find(replay, where, f"its version is {stored.version}, the journal gives {expected.version}")


async def _compare_feed(replay: Replay, evidence: TownEvidence, entities: Sequence[str]) -> int:
    """Every row is there as the journal gives it; only tombstones up to their bucket's horizon may be gone.

    The buckets' checksums and versions follow from the rows too. Gives how many rows there must be, tombstones aside.
    """
    buckets = await evidence.all_buckets()
    sums: dict[str, BucketSum] = defaultdict(BucketSum)
    newest: dict[str, int] = defaultdict(int)
    ours = streamed(line for entity in entities for line in replay.feed_of(entity))
    async for place, expected, stored in side_by_side(ours, evidence.feed()):
        entity, row_id, bucket = place
        if expected is not None:
            version, body = expected
            newest[bucket] = max(newest[bucket], version)
            sums[bucket] = sums[bucket].with_row(entity, row_id, version) if body is not None else sums[bucket]
            is_kept = body is not None or bucket not in buckets or version > buckets[bucket].horizon
            if stored is None and is_kept:
                _find(replay, _feed_place(place), "missing: the journal gives it")
        if stored is not None and stored != expected:
            _find(replay, _feed_place(place), "it is not what the journal gives")
    for bucket in sorted(buckets.keys() | sums.keys()):
        _compare_bucket(replay, bucket, buckets.get(bucket), sums.get(bucket), newest[bucket])
    return sum(total.rows for total in sums.values())


def _compare_bucket(
    replay: Replay, bucket: str, stored: BucketState | None, total: BucketSum | None, newest: int
) -> None:
    if stored is None or total != stored.total:
        what = f"its checksum is {stored and stored.total}, the journal gives {total}"
        _find(replay, f"bucket {bucket}", what)
    elif stored.version != newest:
        what = f"it says that version {stored.version} changed it last, its rows say {newest}"
        _find(replay, f"bucket {bucket}", what)


def _check_stock(replay: Replay) -> None:
    """The law of stock, by itself: a level is the sum of its movements, and orders and quotas hold what is reserved."""
    moved: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    promised: dict[tuple[str, str], int] = defaultdict(int)
    levels: dict[tuple[str, str], tuple[int, int]] = {}
    for row in RowsOf(replay.rows, "stock_movement").values():
        moved[row["warehouse_id"], row["product_id"]][0] += row["on_hand_delta"]
        moved[row["warehouse_id"], row["product_id"]][1] += row["reserved_delta"]
    for row in RowsOf(replay.rows, "stock_level").values():
        levels[row["warehouse_id"], row["product_id"]] = (row["on_hand"], row["reserved"])
    for row in RowsOf(replay.rows, "order").values():
        for line in row["lines"]:
            promised[row["warehouse_id"], line["product_id"]] += line["reserved"]
    for row in RowsOf(replay.rows, "stock_quota").values():
        promised[row["warehouse_id"], row["product_id"]] += row["granted"] - row["used"] - row["returned"]
    for place in sorted(levels.keys() | moved.keys()):
        on_hand, reserved = levels.get(place, (0, 0))
        if [on_hand, reserved] != moved[place] or reserved != promised[place]:
            where = f"stock of product {place[1]} in warehouse {place[0]}"
            said = f"level {on_hand} on hand, {reserved} reserved; movements give {moved[place]}"
            said += f", orders and quotas reserve {promised[place]}"
            _find(replay, where, said)


def _check_goods(replay: Replay) -> None:
    """The laws of goods, by themselves: they went by ways that there are, and are where the last step led."""
    for where, what in audit_goods_rows({entity: RowsOf(replay.rows, entity) for entity in GOODS}):
        _find(replay, where, what)


def _check_money(replay: Replay) -> None:
    """The laws of money, by themselves: every cent is placed, and what is shown is what the books say."""
    for where, what in audit_rows({entity: RowsOf(replay.rows, entity) for entity in BILLING}):
        _find(replay, where, what)


def _feed_place(key: FeedKey) -> str:
    return f"feed row {key[0]} {key[1]} in bucket {key[2]}"


def _find(replay: Replay, where: str, what: str) -> None:
    replay.findings.append(Finding(where=where, what=what))
