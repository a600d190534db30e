"""What this process knows of its towns without asking: where each stands, who may hold what, and what changed last.

Every step that this process has committed is remembered with its feed rows, beside what answers had to read anyway. A
device that is only a few versions behind is then answered after one look at the town's head, which those who ask at the
same time share; a device that has just sent something, whose commit told the head, without one. Hints would save the
look, but they come late: whoever syncs after another device has synced must see what that one sent.

What is remembered of a town holds at one head. A step of another process makes it useless, and it begins again there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from server.application.feed_lines import FeedLineRow, cut_page, line_row
from server.application.history_ports import EpochRecord, Halt
from server.application.ports import BucketState, DeviceRecord, FeedPage, JournalEntry, Towns
from server.application.snapshot_ports import Snapshot
from sync.engine.chain import ChainHead
from sync.engine.feed import BucketSum, FeedRow
from sync.engine.town import Step, TownHead
from sync.kernel.changeset import RowKey
from sync.protocol.messages import Hello, SignedHead

TOWN_BYTES_MAX = 4 * 1024 * 1024
"""Feed rows of one town's last steps that are kept, by the size of their bodies."""

ALL_BYTES_MAX = 32 * 1024 * 1024
"""The same for all towns together; the town that was asked for longest ago gives way."""

DEVICES_MAX = 1_000
"""Devices of one town that are remembered; beyond them all are forgotten and come again."""

PAGES_MAX = 8
"""Pages of one town that are kept for those who ask the same; each may be as large as what is kept of the town."""

_ROW_BYTES = 300  # what a row takes in memory beside its body
_DECIDING = frozenset({"device", "user", "town"})  # what a device may do and hold follows from these rows

Standing = tuple[TownHead, bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What an answer has read in one snapshot: the head's entry, a device, and its buckets, None for empty ones."""

    head: TownHead
    entry: JournalEntry
    device: DeviceRecord
    states: Mapping[str, BucketState | None]


@dataclass(kw_only=True, slots=True)
class _Past:
    """One version: its entry, and what it changed in the feed."""

    entry: JournalEntry
    feed: Mapping[str, Sequence[FeedLineRow]]
    size: int


@dataclass(kw_only=True, slots=True)
class RecentTown:
    """What is remembered of a town at `head`, and of every version after the first in `past`: a `TownReader`.

    `checked` are the heads of devices whose signature was found good, `pages` those cut for this head. A step
    `is_moving` it when one of this process is on its way; a halted town is never asked for here.
    """

    head: TownHead
    past: deque[_Past]
    devices: dict[str, DeviceRecord] = field(default_factory=dict)
    states: dict[str, BucketState | None] = field(default_factory=dict)
    size: int = 0
    pages: dict[tuple[str, int, int, int], FeedPage] = field(default_factory=dict)

    checked: dict[str, SignedHead] = field(default_factory=dict)
    is_halted: bool = False
    is_moving: bool = False

    @property
    def base(self) -> int:
        """The oldest version whose journal entry is here; what came after it in the feed is here too."""
        return self.past[0].entry.version

    async def journal_entry(self, version: int) -> JournalEntry | None:
        """The entry of a version from `base` on."""
        return self.past[version - self.base].entry if self.base <= version <= self.head.version else None

    async def epochs(self) -> Sequence[EpochRecord]:
        """Not asked of a device that is in the town's epoch."""
        raise NotImplementedError

    async def halts(self) -> Sequence[Halt]:
        """Not asked of a device that is in the town's epoch."""
        raise NotImplementedError

    async def device(self, device_id: str) -> DeviceRecord | None:
        """A device that was seen since."""
        return self.devices.get(device_id)

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, None]:
        """Not asked for an answer."""
        raise NotImplementedError

    async def bucket_states(self, buckets: Sequence[str]) -> Mapping[str, BucketState]:
        """The checksums at the head."""
        return {bucket: state for bucket in buckets if (state := self.states[bucket])}

    async def offers(self, buckets: Sequence[str]) -> Mapping[str, Snapshot]:
        """Not asked by a device that has something of every bucket."""
        raise NotImplementedError

    async def feed_page(self, bucket: str, after: int, rows_max: int, bytes_max: int) -> FeedPage:
        """As the feed itself gives it; devices that stand at the same version share the work."""
        asked = (bucket, after, rows_max, bytes_max)
        if asked not in self.pages:
            if len(self.pages) >= PAGES_MAX:
                self.pages.clear()
            self.pages[asked] = cut_page(bucket, self._rows(bucket, after), rows_max, bytes_max)
        return self.pages[asked]

    def _rows(self, bucket: str, after: int) -> list[FeedLineRow]:
        """The bucket's rows that changed after a version, each as its last change left it, oldest first."""
        last: dict[RowKey, FeedLineRow] = {}
        for past in islice(self.past, after - self.base + 1, None):
            for row in past.feed.get(bucket, ()):
                last.pop(row.key, None)
                last[row.key] = row
        return list(last.values())


class RecentTowns:
    """The towns that this process knows something of. For one event loop."""

    def __init__(
        self, towns: Towns, *, town_bytes_max: int = TOWN_BYTES_MAX, all_bytes_max: int = ALL_BYTES_MAX
    ) -> None:
        self._stored = towns
        self._town_bytes_max = town_bytes_max
        self._all_bytes_max = all_bytes_max
        self._known: OrderedDict[str, RecentTown] = OrderedDict()
        self._size = 0
        self._looking: dict[str, asyncio.Task[Standing]] = {}
        self._next: dict[str, asyncio.Task[Standing]] = {}

    async def current(self, town_id: str, device_id: str, hello: Hello) -> RecentTown | None:
        """The town, when it is enough to answer this device, and stands where it is known to stand, not halted.

        Raises `Unavailable`.
        """
        if self.known(town_id, device_id, hello) is None:
            return None
        standing = await self._standing(town_id)
        town = self.known(town_id, device_id, hello)
        return town if town and standing == (town.head, False) else None

    def known(self, town_id: str, device_id: str, hello: Hello) -> RecentTown | None:
        """The town, when it is enough to answer this device: for who has just heard from the store where it stands."""
        town = self._known.get(town_id)
        if town is None or hello.epoch != town.head.epoch or hello.witness is None:
            return None
        device = town.devices.get(device_id)
        if device is None or device.status != "active" or not town.states.keys() >= set(device.buckets):
            return None
        told = (*hello.cursors.values(), hello.witness.version)
        if (
            hello.cursors.keys() != set(device.buckets)
            or min(told) < max(1, town.base)
            or max(told) > town.head.version
        ):
            return None
        self._known.move_to_end(town_id)
        return town

    def saw(self, seen: Seen) -> None:
        """Remember what was read, at the same head or a later one."""
        head = seen.head
        town = self._known.get(head.town)
        if town is None or (not town.is_moving and _is_before(town.head, head)):
            self.forget(head.town)
            town = self._known[head.town] = RecentTown(head=head, past=deque())
            self._append(town, seen.entry, ())
        if town.head == head:
            if len(town.devices) >= DEVICES_MAX:
                town.devices.clear()
            town.devices[seen.device.device_id] = seen.device
            town.states.update(seen.states)

    def stands(self, head: TownHead) -> None:
        """Under the town's lock, before a step: forget what was remembered of another head."""
        town = self._known.get(head.town)
        if town and town.head != head:
            self.forget(head.town)
        elif town:
            town.is_moving = True

    def wrote(self, step: Step, entry: JournalEntry) -> None:
        """Remember a step that is committed."""
        head = step.head
        town = self._known.get(head.town)
        if town is None:
            return
        if (town.head.epoch, town.head.version + 1) != (head.epoch, head.version):
            self.forget(head.town)
            return
        town.head, town.is_moving = head, False
        town.pages.clear()
        self._append(town, entry, step.feed)
        _follow(town, step)
        while town.size > self._town_bytes_max and len(town.past) > 1:
            self._move_base(town)
        while self._size > self._all_bytes_max and len(self._known) > 1:
            self.forget(next(iter(self._known)))

    def forget(self, town_id: str) -> None:
        """Know nothing of this town any more."""
        if town := self._known.pop(town_id, None):
            self._size -= town.size

    def _append(self, town: RecentTown, entry: JournalEntry, feed: Sequence[FeedRow]) -> None:
        by_bucket = defaultdict(list)
        for row in feed:
            by_bucket[row.bucket].append(line_row(row))
        size = len(entry.body) + sum(len(row.said) + _ROW_BYTES for rows in by_bucket.values() for row in rows)
        town.past.append(_Past(entry=entry, feed=by_bucket, size=size))
        self._resize(town, size)

    def _move_base(self, town: RecentTown) -> None:
        """Forget the oldest version, and of the next one what led to it."""
        self._resize(town, -town.past.popleft().size)
        base = town.past[0]
        self._resize(town, len(base.entry.body) - base.size)
        base.feed, base.size = {}, len(base.entry.body)

    def _resize(self, town: RecentTown, by: int) -> None:
        town.size += by
        self._size += by

    async def _standing(self, town_id: str) -> Standing:
        """Where the town stands at some moment after the call, and whether it is halted.

        A look that is under way may have seen too little; the next one is shared by all who wait for it.
        """
        look = self._next.get(town_id)
        if look is None:
            look = self._next[town_id] = asyncio.create_task(self._look(town_id, self._looking.get(town_id)))
            look.add_done_callback(_heard)
        return await asyncio.shield(look)

    async def _look(self, town_id: str, before: asyncio.Task[Standing] | None) -> Standing:
        if before is not None:
            await asyncio.wait([before])
        look = self._looking[town_id] = self._next.pop(town_id)
        try:
            async with self._stored.reading(town_id) as reader:
                return reader.head, reader.is_halted
        finally:
            if self._looking.get(town_id) is look:
                del self._looking[town_id]


def _follow(town: RecentTown, step: Step) -> None:
    """Move what is remembered of devices and buckets to the step's version."""
    for row in step.rows:
        if row.entity in _DECIDING:
            town.devices.clear()
    for answer in step.answered:
        line = answer.submitted
        if line.device in town.devices:
            head = ChainHead(seq=line.seq, digest=line.digest)
            town.devices[line.device] = replace(town.devices[line.device], head=head)
    for bucket, change in step.sums.items():
        if bucket in town.states:
            before = town.states[bucket] or BucketState(version=0, total=BucketSum())
            town.states[bucket] = replace(before, version=step.head.version, total=before.total + change)


def _is_before(known: TownHead, head: TownHead) -> bool:
    return known.epoch != head.epoch or known.version < head.version


def _heard(look: asyncio.Task[Standing]) -> None:
    """A fault of a look is told to those who wait; when all of them have gone, nobody needs to hear it."""
    if not look.cancelled():
        look.exception()
