"""The `Snapshots` port in memory: which snapshots there are, which are due, the rows of a bucket to make one of.

Which there are is part of a town's state, so it is in its backups; the files are elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from server.adapters.memory_histories import States
from server.adapters.memory_town import MadeSnapshot, TownState
from server.application.snapshot_ports import Snapshot
from sync.protocol import limits


class MemorySnapshots:
    """The port. Smaller pages than `page_rows` are for who wants to be interrupted."""

    def __init__(self, states: States, *, page_rows: int = limits.PAGE_ROWS) -> None:
        self._states = states
        self._page_rows = page_rows

    async def due(self, town_id: str, *, rows_min: int, changed_percent: int) -> Sequence[str]:
        """Large buckets without a snapshot, and those that have changed much since."""
        state = self._states.shared(town_id)
        offered = offers_of(state, list(state.buckets))
        found = []
        for bucket, held in sorted(state.buckets.items()):
            since = offered[bucket].version if bucket in offered else None
            changed = sum(since is not None and version > since for version, _ in state.feed.get(bucket, {}).values())
            is_old = since is None or changed * 100 >= held.total.rows * changed_percent
            if held.total.rows >= rows_min and is_old:
                found.append(bucket)
        return found

    @asynccontextmanager
    async def bucket(self, town_id: str, bucket: str) -> AsyncIterator[MemoryBucketRows]:
        """The bucket as it stands now, however long it is looked at."""
        yield MemoryBucketRows(self._states.shared(town_id), bucket, self._page_rows)

    async def add(self, town_id: str, made: Snapshot, at: str) -> None:
        """The same rows again at another version are the same file."""
        self._states.owned(town_id).snapshots[made.bucket, made.sha256] = MadeSnapshot(snapshot=made, at=at)

    async def find(self, town_id: str, sha256: str, buckets: Sequence[str]) -> Snapshot | None:
        """By its hash, if it is of one of these buckets."""
        made = self._states.shared(town_id).snapshots
        return next((made[bucket, sha256].snapshot for bucket in buckets if (bucket, sha256) in made), None)

    async def forget_replaced(self, town_id: str, made_before: str) -> None:
        """What is old and was made anew since."""
        state = self._states.owned(town_id)
        newest = {bucket: max(one for one in _ages(state) if one[0] == bucket) for bucket, _, _ in _ages(state)}
        for bucket, at, sha256 in _ages(state):
            if at < made_before and (bucket, at, sha256) < newest[bucket]:
                del state.snapshots[bucket, sha256]

    async def forget(self, town_id: str, sha256: str) -> None:
        """Its bucket is due again."""
        state = self._states.owned(town_id)
        state.snapshots = {key: made for key, made in state.snapshots.items() if key[1] != sha256}

    async def named(self, town_id: str) -> Sequence[str]:
        """Of snapshots; papers are not kept in memory."""
        return await self.known(town_id)

    async def known(self, town_id: str) -> Sequence[str]:
        """The hashes of all snapshots of a town."""
        return [sha256 for _, sha256 in self._states.shared(town_id).snapshots]


class MemoryBucketRows:
    """The rows of one bucket as they stood."""

    def __init__(self, state: TownState, bucket: str, page_rows: int) -> None:
        self._state = state
        self._bucket = bucket
        self._page_rows = page_rows
        self.epoch = state.head.epoch
        self.version = state.head.version

    async def pages(self) -> AsyncIterator[tuple[int, Sequence[bytes]]]:
        """One page after the other, without tombstones."""
        after: int | None = 0
        while after is not None:
            page = self._state.feed_page(self._bucket, after, self._page_rows, limits.PAGE_BYTES, is_live=True)
            if page.lines:
                yield page.rows, page.lines
            after = page.last_version


def offers_of(state: TownState, buckets: Sequence[str]) -> Mapping[str, Snapshot]:
    """The newest snapshot of each of these buckets that the feed can be gone on with."""
    found: dict[str, Snapshot] = {}
    for made in state.snapshots.values():
        one = made.snapshot
        horizon = state.buckets[one.bucket].horizon if one.bucket in state.buckets else 0
        is_of_now = one.epoch == state.head.epoch and horizon <= one.version <= state.head.version
        if one.bucket in buckets and is_of_now and (one.bucket not in found or found[one.bucket].version < one.version):
            found[one.bucket] = one
    return found


def _ages(state: TownState) -> list[tuple[str, str, str]]:
    """(bucket, when it was made, hash) of each."""
    return [(bucket, made.at, sha256) for (bucket, sha256), made in state.snapshots.items()]
