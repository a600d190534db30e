"""`tallystick verify`: rebuild a town from its journal and compare it with everything that is stored.

Reads one snapshot; safe beside traffic. Every difference is a finding with its place; none means that the journal is
whole, every signature fits, and every table, feed row and checksum is exactly what the journal gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from server.application.evidence import EvidenceStore, StoredSet, TownEvidence
from server.application.ports import BucketState
from server.application.queries.verify_histories import compare_histories
from server.application.queries.verify_statements import compare_statements
from server.application.queries.verify_work import compare_work
from server.domain.devices import server_device_id
from sync.engine.feed import BucketSum, encode_body
from sync.engine.replay import FeedKey, Finding, KeptLine, Replay, differing_fields
from sync.kernel.module import Registry
from sync.modules.billing.audit import audit
from sync.protocol.codec import parse_line

FINDINGS_MAX = 200
"""A report longer than this says no more than that everything is broken."""


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
) -> Report:
    """Rebuild and compare; `progress` is told (versions done, versions in all).

    `older_keys` have signed before `server_key` did.
    """
    async with store.evidence(town_id) as evidence:
        replay = Replay(
            registry=registry,
            town=town_id,
            server_device=server_device_id(town_id),
            server_key=server_key,
            older_keys=older_keys,
        )
        async for entry, sets in evidence.journal():
            replay.take(entry, [_read(one, town_id, registry) for one in sets])
            progress(entry.version, evidence.head.version)
            if len(replay.findings) > FINDINGS_MAX:
                break
        else:
            await _compare(replay, evidence, registry)
        return Report(
            town_id=town_id,
            version=evidence.head.version,
            change_sets=replay.change_sets,
            rows=len(replay.rows),
            feed_rows=sum(body is not None for _, body in replay.feed.values()),
            findings=tuple(replay.findings[:FINDINGS_MAX]),
            unsigned=tuple(
                Finding(where=f"device {device}", what=f"no signed head covers its lines from {seq} on")
                for device, seq in sorted(replay.unsigned.items())
            ),
        )


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


async def _compare(replay: Replay, evidence: TownEvidence, registry: Registry) -> None:
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
    await _compare_feed(replay, evidence)
    _compare_buckets(replay, await evidence.all_buckets())
    heads = await evidence.all_device_heads()
    for device in sorted(heads.keys() | replay.chains.keys()):
        if heads.get(device) != replay.chains.get(device):
            _find(replay, f"device {device}", "the stored head of its chain is not its last line")
    await compare_work(replay, evidence)
    await compare_histories(replay, evidence)
    await compare_statements(replay, evidence)
    _check_stock(replay)
    _check_money(replay)


async def _compare_rows(replay: Replay, evidence: TownEvidence, entity: str) -> None:
    missing = {row_id for name, row_id in replay.rows if name == entity}
    async for row_id, stored in evidence.rows(entity):
        missing.discard(row_id)
        expected = replay.rows[entity, row_id]
        where = f"{entity} {row_id}"
        if expected is None:
            _find(replay, where, "no change set has made it")
        elif encode_body(expected.fields) != encode_body(stored.fields):
            _find(replay, where, differing_fields(expected.fields, stored.fields))
        elif expected.version != stored.version:
            _find(replay, where, f"its version is {stored.version}, the journal gives {expected.version}")
    for row_id in sorted(missing):
        _find(replay, f"{entity} {row_id}", "missing: the journal has made it")


async def _compare_feed(replay: Replay, evidence: TownEvidence) -> None:
    """Every row is there as the journal gives it; only tombstones up to their bucket's horizon may be gone."""
    horizons = {bucket: state.horizon for bucket, state in (await evidence.all_buckets()).items()}
    missing = set(replay.feed)
    async for key, version, body in evidence.feed():
        missing.discard(key)
        if replay.feed.get(key) != (version, body):
            _find(replay, _feed_place(key), "it is not what the journal gives")
    for key in sorted(missing):
        version, body = replay.feed[key]
        if body is not None or version > horizons.get(key[0], 0):
            _find(replay, _feed_place(key), "missing: the journal gives it")


def _compare_buckets(replay: Replay, stored: Mapping[str, BucketState]) -> None:
    for bucket in sorted(stored.keys() | replay.sums.keys()):
        expected, actual = replay.sums.get(bucket), stored.get(bucket)
        if actual is None or expected != actual.total:
            _find(
                replay, f"bucket {bucket}", f"its checksum is {actual and actual.total}, the journal gives {expected}"
            )
    recomputed: dict[str, BucketSum] = {}
    newest: dict[str, int] = defaultdict(int)
    for (bucket, entity, row_id), (version, body) in replay.feed.items():
        newest[bucket] = max(newest[bucket], version)
        total = recomputed.setdefault(bucket, BucketSum())
        if body is not None:
            recomputed[bucket] = total.with_row(entity, row_id, version)
    for bucket in sorted(recomputed):
        if recomputed[bucket] != replay.sums[bucket]:
            _find(replay, f"bucket {bucket}", "its kept checksum is not the sum over its rows")
    for bucket in sorted(newest.keys() & stored.keys()):
        if stored[bucket].version != newest[bucket]:
            what = f"it says that version {stored[bucket].version} changed it last, its rows say {newest[bucket]}"
            _find(replay, f"bucket {bucket}", what)


def _check_stock(replay: Replay) -> None:
    """The law of stock, by itself: a level is the sum of its movements, and orders and quotas hold what is reserved."""
    moved: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    promised: dict[tuple[str, str], int] = defaultdict(int)
    levels: dict[tuple[str, str], tuple[int, int]] = {}
    for (entity, _), stored in replay.rows.items():
        if stored is None:
            continue
        row = stored.fields
        if entity == "stock_movement":
            moved[row["warehouse_id"], row["product_id"]][0] += row["on_hand_delta"]
            moved[row["warehouse_id"], row["product_id"]][1] += row["reserved_delta"]
        elif entity == "stock_level":
            levels[row["warehouse_id"], row["product_id"]] = (row["on_hand"], row["reserved"])
        elif entity == "order":
            for line in row["lines"]:
                promised[row["warehouse_id"], line["product_id"]] += line["reserved"]
        elif entity == "stock_quota":
            promised[row["warehouse_id"], row["product_id"]] += row["granted"] - row["used"] - row["returned"]
    for place in sorted(levels.keys() | moved.keys()):
        on_hand, reserved = levels.get(place, (0, 0))
        if [on_hand, reserved] != moved[place] or reserved != promised[place]:
            where = f"stock of product {place[1]} in warehouse {place[0]}"
            said = f"level {on_hand} on hand, {reserved} reserved; movements give {moved[place]}"
            said += f", orders and quotas reserve {promised[place]}"
            _find(replay, where, said)


def _check_money(replay: Replay) -> None:
    """The laws of money, by themselves: every cent is placed, and what is shown is what the books say."""
    for where, what in audit((key, stored.fields) for key, stored in replay.rows.items() if stored is not None):
        _find(replay, where, what)


def _feed_place(key: FeedKey) -> str:
    return f"feed row {key[1]} {key[2]} in bucket {key[0]}"


def _find(replay: Replay, where: str, what: str) -> None:
    replay.findings.append(Finding(where=where, what=what))
