"""The proof: each check holds what this run has left behind against what must be so, and says it with its figures.

Nothing is taken from the code that is to be proven: tables are read by plain SQL, replicas from their files, hashes are
made anew, and what people really did comes from the tally. A check gets values and returns a value, so that each can be
shown to fail.
"""

from __future__ import annotations

import base64
import hashlib
import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.cli.demo import script
from server.cli.demo.day import PowerCut
from server.cli.demo.reconnect import Arrival, Return
from server.cli.demo.result import Message, OrderNow, Shelf, Till, Told
from server.cli.demo.telling import counted, money
from server.cli.demo.world import Cash
from sync.kernel.module import Registry

RowKey = tuple[str, str]
HASH_SHOWN_CHARACTERS = 12
WRONG_SHOWN_MAX = 3
KILLED = -signal.SIGKILL
SCANS = script.SCANS_BEFORE_POWER_CUT
JOURNAL_PREFIX = b"\x02"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the proof."""

    name: str
    is_good: bool
    said: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A bucket as one side holds it: (version, fields) by (entity, id), and the kept checksum over it."""

    rows: Mapping[RowKey, tuple[int, Mapping[str, Any]]]
    count: int
    total: int


EMPTY = Bucket(rows={}, count=0, total=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Half:
    """A device's half: its buckets, its chain as (line, status) by position, what its own check finds, what it saw.

    `witness` is the journal head it was last shown: version and hash.
    """

    name: str
    buckets: Mapping[str, Bucket]
    chain: Mapping[int, tuple[bytes, str]]
    pending: int
    findings: Sequence[str]
    witness: tuple[int, str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """An entry of the town's journal as it is stored."""

    version: int
    body: bytes
    digest: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifySaid:
    """What `tallystick verify --json` ended with and said of the town."""

    exit_code: int
    town: Mapping[str, Any]


def convergence(halves: Sequence[Half], served: Mapping[str, Bucket]) -> Check:
    """Every replica holds its buckets row for row, its checksums are the server's, and nothing waits.

    A bucket that nothing was ever put into is not in `served`.
    """
    wrong = [
        f"{half.name}: {bucket}"
        for half in halves
        for bucket, held in half.buckets.items()
        if held != served.get(bucket, EMPTY)
    ]
    wrong += [f"{half.name}: {finding}" for half in halves for finding in half.findings]
    wrong += [f"{half.name}: {counted(half.pending, 'change set')} waiting" for half in halves if half.pending]
    wrong += [f"{half.name}: it holds nothing" for half in halves if not half.buckets]
    rows = sum(bucket.count for half in halves for bucket in half.buckets.values())
    buckets = sum(len(half.buckets) for half in halves)
    return checked(
        "replicas",
        f"{len(halves)} equal the server: {counted(rows, 'row')} in {counted(buckets, 'bucket')}, "
        "every row, every checksum",
        wrong,
    )


def newcomer(halves: Sequence[Half], new: str, like: str) -> Check:
    """A device that knows nothing of the day holds the same shared rows as one that lived through it."""
    found = {half.name: half.buckets for half in halves}
    shared = [name for name in found[new] if not name.startswith("device:")]
    wrong = [f"{name} differs" for name in shared if found[new][name] != found[like].get(name)]
    rows = sum(found[new][name].count for name in shared)
    said = f"{new}, enrolled last, holds the same {counted(rows, 'row')} as {like}"
    return checked("newcomer", said, wrong if shared else ["it holds nothing"])


def accidents(arrived: Sequence[Arrival], power_cut: PowerCut) -> Check:
    """The lost answer, the killed server, the killed device and the power cut were really that."""
    wrong = [f"{one.device}: {one.accident} did not happen so" for one in arrived if not one.is_as_told]
    if (power_cut.status, power_cut.said, power_cut.kept) != (KILLED, SCANS, SCANS):
        wrong.append(f"the power cut: ended with {power_cut.status}, {power_cut.said} said, {power_cut.kept} kept")
    hit = sum(not (one.shall_commit and one.shall_answer) for one in arrived)
    return checked("accidents", f"a power cut, and {hit} more on the way back: each did what is told above", wrong)


def change_sets(
    returns: Sequence[Return],
    halves: Sequence[Half],
    stored: Mapping[str, Mapping[int, Any]],
    recorded: Mapping[str, int],
) -> Check:
    """What was recorded is in the journal once, the same bytes on both sides, with the verdict that the device has.

    `recorded` is the demo's own count at the end of the day, by device.
    """
    wrong = [
        f"{one.arrival.device}: {one.recorded} recorded, {one.after.in_journal} in the journal"
        for one in returns
        if one.lost or one.doubled
    ]
    wrong += [f"{half.name}: the two halves differ" for half in halves if half.chain != stored.get(half.name, {})]
    total, there = sum(recorded.values()), sum(len(half.chain) for half in halves)
    if total != there:
        wrong.append(f"{total} recorded, {there} in the journal")
    lost, doubled = sum(one.lost for one in returns), sum(one.doubled for one in returns)
    said = f"{total} on {counted(len(returns), 'device')}, {there} in the journal, the same bytes"
    return checked("change sets", f"{said}; {lost} lost, {doubled} doubled", wrong)


def decisions(told: Sequence[Told], orders: Sequence[OrderNow], registry: Registry) -> Check:
    """Exactly the adjustments of the script were made, each conflict left its task, each order is where it must be."""
    expected = Counter((rule, beat.order) for beat in script.BEATS for rule in beat.rules)
    found = Counter((one.rule, one.order) for one in told)
    wrong = [f"{rule} of order {order} is missing" for rule, order in (expected - found).elements()]
    wrong += [f"{rule} of order {order} was not expected" for rule, order in (found - expected).elements()]
    for one in told:
        case = registry.cases.get(one.rule)
        if case is None or (case.conflict or "") != one.conflict or bool(case.task) != bool(one.task):
            wrong.append(
                f"{one.rule} of order {one.order} left {one.conflict or 'no conflict'}, {one.task or 'no task'}"
            )
    for order in orders:
        axes = script.ENDINGS.get(order.number, script.WAITING)
        if order.axes != axes:
            wrong.append(f"order {order.number} is {'/'.join(order.axes)}, not {'/'.join(axes)}")
    conflicts = sum(bool(one.conflict) for one in told)
    said = f"{counted(len(told), 'adjustment')}, {counted(conflicts, 'conflict')}, {counted(len(orders), 'order')}"
    return checked("decisions", f"{said}: as the rules demand", wrong)


def deltas(levels: Mapping[str, int], now: Mapping[str, int]) -> Check:
    """What two tablets booked apart from each other adds up, and both show it."""
    base = levels["this morning"]
    expected = base + script.PIECES_RECEIVED - script.PIECES_BROKEN
    wrong = [f"{name} shows {level}, not {expected}" for name, level in now.items() if level != expected]
    said = f"{base} + {script.PIECES_RECEIVED} - {script.PIECES_BROKEN} = {expected} on every tablet"
    return checked("deltas", said, wrong if now else ["nobody shows it"])


def stock(shelves: Sequence[Shelf], products: int) -> Check:
    """No piece is made or lost: opening, what was booked and what was handed over give what is on hand."""
    wrong = [f"{counted(len(shelves), 'product')} of {products}"] if len(shelves) != products else []
    for shelf in shelves:
        there = shelf.opening + shelf.booked - shelf.handed_over
        if not there == shelf.on_hand == shelf.moved:
            wrong.append(f"{shelf.sku}: {there} must be there, {shelf.on_hand} on hand, movements give {shelf.moved}")
        if shelf.reserved != shelf.reserved_by_orders:
            wrong.append(f"{shelf.sku}: {shelf.reserved} reserved, orders hold {shelf.reserved_by_orders}")
    opening, booked, handed_over, on_hand = (
        sum(getattr(shelf, name) for shelf in shelves) for name in ("opening", "booked", "handed_over", "on_hand")
    )
    return checked(
        "stock",
        f"{counted(len(shelves), 'product')}: {opening:,} {'+' if booked >= 0 else '-'} {abs(booked):,} booked "
        f"- {handed_over:,} handed over = {on_hand:,} on hand",
        wrong,
    )


def cash(
    taken: Iterable[Cash], booked: Iterable[Cash], tills: Sequence[Till], orders: Sequence[OrderNow], phoned: int
) -> Check:
    """Every payment is booked once, the phones agree, and orders hold exactly that money as paid or credit.

    `phoned` is what was paid for orders by telephone, in pence.
    """
    before, after = Counter(taken), Counter(booked)
    wrong = [f"{money(one.pence)} for order {one.order} is missing" for one in (before - after).elements()]
    wrong += [f"{money(one.pence)} for order {one.order} is there too often" for one in (after - before).elements()]
    wrong += [
        f"{till.device}: {money(till.taken_pence)} taken, {money(till.phone_pence)} on the phone, "
        f"{money(till.booked_pence)} booked"
        for till in tills
        if not till.taken_pence == till.phone_pence == till.booked_pence
    ]
    total = sum(one.pence for one in before.elements())
    paid, credit = sum(order.paid_pence for order in orders), sum(order.credit_pence for order in orders)
    if paid + credit != total + phoned:
        wrong.append(f"{money(total + phoned)} taken, orders hold {money(paid + credit)}")
    return checked(
        "cash",
        f"{money(total)} taken + {money(phoned)} by telephone = {money(paid)} paid + {money(credit)} credit",
        wrong if before else ["nobody took any"],
    )


def messages(sent: Sequence[Message]) -> Check:
    """Each effect of a change was worked off: the customer has exactly that message."""
    wrong = [f"order {one.order}: {one.asked!r} became {one.written!r}" for one in sent if one.asked != one.written]
    said = f"{counted(len(sent), 'customer')} told by the worker, once each"
    return checked("messages", said, wrong if sent else ["nobody was told anything"])


def journal(entries: Sequence[JournalEntry], head: tuple[int, bytes], sets: int, halves: Sequence[Half]) -> Check:
    """Versions are dense, each entry is what its hash says and names the one before, and devices saw parts of it."""
    wrong, previous, named = [], bytes(32), 0
    digests = {}
    for version, entry in enumerate(entries, start=1):
        body = orjson.loads(entry.body)
        named += len(body["sets"])
        if (entry.version, body["version"]) != (version, version):
            wrong.append(f"version {version} is missing")
        if body["prev"] != _text(previous):
            wrong.append(f"version {entry.version} does not follow on from the one before")
        previous = hashlib.sha256(JOURNAL_PREFIX + entry.body).digest()
        digests[entry.version] = _text(previous)
        if previous != entry.digest:
            wrong.append(f"version {entry.version} is not what its hash says")
    if head != (len(entries), previous):
        wrong.append(f"the head is version {head[0]}, and the chain ends elsewhere")
    if named != sets:
        wrong.append(f"{sets} change sets are stored, the journal names {named}")
    wrong += [
        f"{half.name} was shown another journal"
        for half in halves
        if half.witness is None or digests.get(half.witness[0]) != half.witness[1]
    ]
    return checked(
        "journal",
        f"{counted(len(entries), 'version')}, {counted(sets, 'change set')}, one chain to "
        f"{previous.hex()[:HASH_SHOWN_CHARACTERS]} that {counted(len(halves), 'device')} know",
        wrong if entries else ["it is empty"],
    )


def verify(said: VerifySaid, versions: int, sets: int) -> Check:
    """The audit of the product itself agrees, and speaks of the same town."""
    town = said.town
    wrong = [f"{finding['where']}: {finding['what']}" for finding in town.get("findings", ())]
    if said.exit_code or not town.get("good"):
        wrong.append(f"it ended with {said.exit_code}")
    if (town.get("version"), town.get("change_sets")) != (versions, sets):
        wrong.append(f"it saw {town.get('change_sets')} change sets in {town.get('version')} versions")
    return checked(
        "tallystick verify",
        f"{town.get('rows', 0):,} rows and {town.get('feed_rows', 0):,} feed rows rebuilt from the journal, "
        "0 differences",
        wrong,
    )


def checked(name: str, said: str, wrong: Sequence[str]) -> Check:
    """The check: what it has to say, or the first of what is wrong."""
    more = len(wrong) - WRONG_SHOWN_MAX
    shown = [*wrong[:WRONG_SHOWN_MAX], *([f"and {more} more"] if more > 0 else [])]
    return Check(name=name, is_good=not wrong, said="; ".join(shown) if wrong else said)


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
