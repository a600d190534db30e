"""What goes down: the buckets a device may hold, the rows that changed in them, a checkpoint.

Each page is read in one short snapshot, so no transaction stays open while a slow device reads, and the final page's
checkpoint is one version of the town: rows that changed between two pages have a higher version and come with a later
one. A page ends at a version, so a cursor is a plain number.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import orjson

from server import metrics
from server.application.ports import BucketState, TownReader, Towns, Unavailable
from sync.engine.chain import encode_bytes
from sync.protocol import limits
from sync.protocol.messages import Hello


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
    towns: Towns,
    town_id: str,
    device_id: str,
    hello: Hello,
    *,
    page_rows: int = limits.PAGE_ROWS,
    page_bytes: int = limits.PAGE_BYTES,
) -> AsyncIterator[Page]:
    """All pages of one exchange, from the device's cursors to a checkpoint that includes what it just sent.

    A page ends with the version in which it reaches `page_rows` rows or `page_bytes` bytes. Raises `Unavailable`.
    """
    cursors: dict[str, int] | None = None
    epoch = hello.epoch
    while True:
        async with towns.reading(town_id) as reader:
            device = await reader.device(device_id)
            if device is None or device.status != "active":
                raise Unavailable
            lines: list[bytes] = []
            if cursors is None:
                is_same_history = epoch in {None, reader.head.epoch}
                cursors = _settle_buckets(hello.cursors, device.buckets, lines, is_same_history=is_same_history)
                epoch = reader.head.epoch
            if set(device.buckets) != set(cursors) or reader.head.epoch != epoch:
                raise Unavailable  # what the device may hold has changed under way: it asks again from where it is
            states = await reader.bucket_states(device.buckets)
            is_complete = await _rows(reader, cursors, states, lines, _Room(rows=page_rows, size=page_bytes))
            lines.append(await _checkpoint(reader, cursors, states, is_complete=is_complete))
        yield Page(lines=lines, is_last=is_complete)
        if is_complete:
            return


async def receipt(towns: Towns, town_id: str) -> Page:
    """The end of an answer to a device that has more to send: its verdicts are signed for, its rows come at the end.

    Deciding everything first saves the device from judging what is still pending once for every request.
    """
    async with towns.reading(town_id) as reader:
        return Page(lines=[await _checkpoint(reader, {}, {}, is_complete=False)], is_last=True)


def _settle_buckets(
    asked: Mapping[str, int], held: tuple[str, ...], lines: list[bytes], *, is_same_history: bool
) -> dict[str, int]:
    cursors = {}
    for bucket in held:
        state = "kept" if bucket in asked else "added"
        if state == "kept" and not is_same_history:
            state = "reset"
        cursors[bucket] = asked[bucket] if state == "kept" else 0
        lines.append(orjson.dumps({"t": "bucket", "b": bucket, "state": state}))
    lines.extend(
        orjson.dumps({"t": "bucket", "b": bucket, "state": "dropped"}) for bucket in sorted(asked.keys() - set(held))
    )
    return cursors


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


async def _checkpoint(
    reader: TownReader, cursors: Mapping[str, int], states: Mapping[str, BucketState], *, is_complete: bool
) -> bytes:
    head = reader.head
    entry = await reader.journal_entry(head.version)
    if entry is None:
        raise Unavailable
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
