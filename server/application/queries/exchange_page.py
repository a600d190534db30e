"""What goes down: the buckets a device may hold, the rows that changed in them, a checkpoint.

Each page is read in one short snapshot, so no transaction stays open while a slow device reads, and the final page's
checkpoint is one version of the town: rows that changed between two pages have a higher version and come with a later
one. A page ends at a version, so a cursor is a plain number.

A device that asks for snapshots and has nothing of a bucket hears where its rows are as a file, and nothing else: it
fetches the file and goes on from its version with the next exchange, so no answer waits for a download.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import orjson

from server import metrics
from server.application.ports import BucketState, JournalEntry, TownReader, Unavailable
from server.application.recent import Seen
from server.application.snapshot_ports import Snapshot
from sync.engine.chain import encode_bytes
from sync.engine.town import TownHead
from sync.protocol import limits
from sync.protocol.messages import Hello

Reading = Callable[[], AbstractAsyncContextManager[TownReader]]
"""Opens a snapshot of one town."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Finished lines without newlines; the last one is the checkpoint, and `is_last` tells that no page follows."""

    lines: list[bytes]
    is_last: bool


@dataclass(kw_only=True, slots=True)
class _Room:
    """What a page may still take; `size` is in bytes."""

    rows: int
    size: int


async def pages(
    reading: Reading,
    device_id: str,
    hello: Hello,
    *,
    page_rows: int = limits.PAGE_ROWS,
    page_bytes: int = limits.PAGE_BYTES,
    saw: Callable[[Seen], None] = lambda _: None,
) -> AsyncIterator[Page]:
    """All pages of one exchange, from the device's cursors to a checkpoint that includes what it just sent.

    `reading` opens a snapshot of the town for each. A page ends with the version in which it reaches `page_rows` rows
    or `page_bytes` bytes. `saw` is told what the checkpoint says. Raises `Unavailable`.
    """
    cursors: dict[str, int] | None = None
    epoch = hello.epoch
    offers: Mapping[str, Snapshot] = {}
    ended: Mapping[str, int] | None = None
    while True:
        async with reading() as reader:
            device = await reader.device(device_id)
            if device is None or device.status != "active":
                raise Unavailable
            lines: list[bytes] = []
            if cursors is None:
                states = await reader.bucket_states(device.buckets)
                known = hello.cursors if epoch in {None, reader.head.epoch} else {}
                cursors = _settle_buckets(known, hello.cursors, device.buckets, states, lines)
                epoch = reader.head.epoch
                if hello.snapshots and (whole := [bucket for bucket, cursor in cursors.items() if not cursor]):
                    offers = await reader.offers(whole)
                    _offer(offers, reader.head.town, cursors, lines)
            if set(device.buckets) != set(cursors) or reader.head.epoch != epoch:
                raise Unavailable  # what the device may hold has changed under way: it asks again from where it is
            states = await reader.bucket_states(device.buckets)
            if ended is not None and any(state.horizon != ended.get(bucket, 0) for bucket, state in states.items()):
                raise Unavailable  # tombstones have ended under way, perhaps some that this answer was to bring
            ended = {bucket: state.horizon for bucket, state in states.items()}
            is_complete = not offers and await _rows(
                reader, cursors, states, lines, _Room(rows=page_rows, size=page_bytes)
            )
            entry = await _entry(reader)
            lines.append(_checkpoint(reader.head, entry, cursors, states, is_complete=is_complete))
            held = {bucket: states.get(bucket) for bucket in device.buckets}
            saw(Seen(head=reader.head, entry=entry, device=device, states=held))
        yield Page(lines=lines, is_last=is_complete or bool(offers))
        if is_complete or offers:
            return


async def receipt(reading: Reading) -> Page:
    """The end of an answer to a device that has more to send: its verdicts are signed for, its rows come at the end.

    Deciding everything first saves the device from judging what is still pending once for every request.
    """
    async with reading() as reader:
        entry = await _entry(reader)
        return Page(lines=[_checkpoint(reader.head, entry, {}, {}, is_complete=False)], is_last=True)


def _settle_buckets(
    known: Mapping[str, int],
    asked: Mapping[str, int],
    held: tuple[str, ...],
    states: Mapping[str, BucketState],
    lines: list[bytes],
) -> dict[str, int]:
    """The cursors to go on from: those that are `known` in this history, unless the bucket's tombstones end later.

    Who has nothing needs none of the tombstones that are gone.
    """
    cursors = {bucket: known.get(bucket, 0) for bucket in held}
    for bucket in held:
        state = "added" if bucket not in asked else "kept" if bucket in known else "reset"
        if bucket in states and 0 < cursors[bucket] < states[bucket].horizon:
            state, cursors[bucket] = "reset", 0
        lines.append(_told(bucket, state))
    lines.extend(_told(bucket, "dropped") for bucket in sorted(asked.keys() - set(held)))
    return cursors


def _told(bucket: str, state: str) -> bytes:
    return orjson.dumps({"t": "bucket", "b": bucket, "state": state})


def _offer(offers: Mapping[str, Snapshot], town_id: str, cursors: dict[str, int], lines: list[bytes]) -> None:
    """Say where the rows of these buckets are as files, and move the cursors to their versions."""
    for bucket, snapshot in offers.items():
        said = {
            "t": "snapshot",
            "b": bucket,
            "version": snapshot.version,
            "url": f"/v1/towns/{town_id}/snapshots/{snapshot.sha256}",
            "rows": snapshot.rows,
            "bytes": snapshot.bytes,
            "sha256": snapshot.sha256,
        }
        lines.append(orjson.dumps(said))
        cursors[bucket] = snapshot.version


async def _rows(
    reader: TownReader, cursors: dict[str, int], states: Mapping[str, BucketState], lines: list[bytes], room: _Room
) -> bool:
    """Add rows until every bucket is at the head or the page has no more room; moves the cursors."""
    for bucket in sorted(cursors):
        if bucket in states and states[bucket].version > cursors[bucket]:
            page = await reader.feed_page(bucket, cursors[bucket], room.rows, room.size)
            lines.extend(page.lines)
            metrics.count_feed(page.rows, page.lines)
            if page.last_version is not None and page.last_version < states[bucket].version:
                cursors[bucket] = page.last_version
                return False
            room.rows -= page.rows
            room.size -= sum(map(len, page.lines))
        cursors[bucket] = reader.head.version
        if min(room.rows, room.size) <= 0 and any(
            bucket in states and states[bucket].version > cursor for bucket, cursor in cursors.items()
        ):
            return False
    return True


async def _entry(reader: TownReader) -> JournalEntry:
    entry = await reader.journal_entry(reader.head.version)
    if entry is None:
        raise Unavailable
    return entry


def _checkpoint(
    head: TownHead,
    entry: JournalEntry,
    cursors: Mapping[str, int],
    states: Mapping[str, BucketState],
    *,
    is_complete: bool,
) -> bytes:
    marks: dict[str, dict[str, int | str]] = {bucket: {"version": cursor} for bucket, cursor in cursors.items()}
    if is_complete:
        for bucket, mark in marks.items():
            total = states[bucket].total if bucket in states else None
            mark["rows"] = total.rows if total else 0
            mark["sum"] = f"{total.total if total else 0:016x}"
    return orjson.dumps(
        {
            "t": "checkpoint",
            "epoch": head.epoch,
            "version": head.version,
            "buckets": marks,
            "journal": {"version": head.version, "hash": encode_bytes(entry.digest), "sig": entry.signature},
            "more": not is_complete,
        }
    )
